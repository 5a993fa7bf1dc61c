//! For whom the router answers.

use super::*;

/// An address of overlay 100 that nobody has.
const UNKNOWN: [&str; 2] = ["10.0.1.99", "fd00:0:0:1::99"];

fn proxy(proxy: Proxy) -> Harness {
    let mut gateway = with_policy(|policy| policy.proxy = proxy);
    for own in NEWCOMER {
        say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, own));
    }
    gateway
}

/// The MAC address that a station which asks for `target` is told.
#[track_caller]
fn told(gateway: &mut Harness, source: &str, target: &str) -> Option<MacAddr> {
    let out = heard(&say(gateway, ENDPOINT_V4, &asks(STATION_MAC, source, target)));
    let [answer] = &out[..] else {
        assert_eq!(out, []);
        return None;
    };
    assert_eq!((answer.endpoint, answer.vni), (address(ENDPOINT_V4), 100), "where it was asked");
    let Message::Answer { target: of, mac, to, flags } = answer.message else { panic!("{answer:?}") };
    assert_eq!(of, address(target));
    if address(source).is_unspecified() {
        assert_eq!(to, address(if target.contains(':') { "ff02::1" } else { source }));
    } else {
        assert_eq!((to, answer.macs), (address(source), (ROUTER_MAC, STATION_MAC)));
    }
    // What is said for another is no router, and displaces nothing that one says itself.
    let own = if address(source).is_unspecified() { 0 } else { SOLICITED_FLAG };
    let expected = match (target.contains(':'), ROUTER.contains(&target)) {
        (true, true) => own | ROUTER_FLAG | OVERRIDE_FLAG,
        (true, false) => own,
        (false, _) => 0,
    };
    assert_eq!(flags, expected);
    Some(mac)
}

#[test]
fn own_answers_for_the_router_alone() {
    let mut gateway = proxy(Proxy::Own);
    for family in BOTH {
        assert_eq!(told(&mut gateway, STATION[family], ROUTER[family]), Some(ROUTER_MAC));
        for target in [NEWCOMER, UNKNOWN, STATION] {
            assert_eq!(told(&mut gateway, STATION[family], target[family]), None);
        }
    }
}

#[test]
fn known_answers_for_stations_whose_address_is_certain() {
    let mut gateway = proxy(Proxy::Known);
    for family in BOTH {
        assert_eq!(told(&mut gateway, STATION[family], ROUTER[family]), Some(ROUTER_MAC));
        assert_eq!(told(&mut gateway, STATION[family], NEWCOMER[family]), Some(NEWCOMER_MAC));
        assert_eq!(told(&mut gateway, STATION[family], UNKNOWN[family]), None);
        assert_eq!(told(&mut gateway, STATION[family], STATION[family]), None, "its own");
        // A configured one is certain.
        let out = say(&mut gateway, ENDPOINT_V6, &asks(NEWCOMER_MAC, NEWCOMER[family], STATION[family]));
        let [Heard { message: Message::Answer { mac, .. }, .. }] = &heard(&out)[..] else {
            panic!("{out:?}")
        };
        assert_eq!(*mac, STATION_MAC);
    }
    assert_eq!(gateway.done(Deed::SolicitationSent), 0, "nobody is asked for a station's sake");
    // In doubt: it is being asked itself.
    at(&mut gateway, Instant::now() + Duration::from_secs(460));
    for family in BOTH {
        assert_eq!(state(&mut gateway, NEWCOMER[family]).unwrap().0, NeighbourState::Probe);
        assert_eq!(told(&mut gateway, STATION[family], NEWCOMER[family]), None);
    }
}

#[test]
fn isolate_answers_for_all_of_the_subnet_with_the_routers_mac() {
    let mut gateway = proxy(Proxy::Isolate);
    for family in BOTH {
        for target in [ROUTER, NEWCOMER, UNKNOWN] {
            assert_eq!(told(&mut gateway, STATION[family], target[family]), Some(ROUTER_MAC));
        }
        assert_eq!(told(&mut gateway, STATION[family], STATION[family]), None, "its own");
    }
    for target in ["10.0.1.0", "10.0.1.255", "10.0.2.10", "203.0.113.5"] {
        assert_eq!(told(&mut gateway, STATION[0], target), None, "{target}");
    }
    for target in ["fd00:0:0:1::", "fd00:0:0:2::10", "2001:db8::5", "fe80::77"] {
        assert_eq!(told(&mut gateway, STATION[1], target), None, "{target}");
    }
    // Which is what they talk by.
    for family in BOTH {
        let udp = Udp::from_station(STATION[family], NEWCOMER[family]);
        let out = say(&mut gateway, ENDPOINT_V4, &udp.frame());
        assert_eq!(to_newcomer(&out, family), [udp.payload[0]]);
    }
}

#[test]
fn duplicate_address_detection_hears_of_the_router_alone() {
    for how in [Proxy::Own, Proxy::Known, Proxy::Isolate] {
        let mut gateway = proxy(how);
        let before = known(&mut gateway, None).len();
        for family in BOTH {
            assert_eq!(told(&mut gateway, NOBODY[family], ROUTER[family]), Some(ROUTER_MAC), "{how:?}");
            for target in [NEWCOMER, UNKNOWN, STATION] {
                assert_eq!(told(&mut gateway, NOBODY[family], target[family]), None, "{how:?}");
            }
        }
        assert_eq!(known(&mut gateway, None).len(), before, "nor is anything learned of it");
        assert_eq!(gateway.done(Deed::BadNeighbour), 0, "it is no claim");
    }
}

/// A question is not answered if its sender cannot have its address, were it the router's own.
#[test]
fn who_lies_is_not_answered() {
    for how in [Proxy::Own, Proxy::Known, Proxy::Isolate] {
        let mut gateway = proxy(how);
        for family in BOTH {
            for source in [["10.0.2.10", "fd00:0:0:2::10"], ROUTER, ["10.0.1.255", "fd00:0:0:1::"]] {
                for target in [ROUTER, NEWCOMER, UNKNOWN].map(|target| target[family]) {
                    if source[family] != target {
                        assert_eq!(told(&mut gateway, source[family], target), None, "{source:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn who_does_not_own_the_overlay_answers_for_nobody() {
    for how in [Proxy::Own, Proxy::Known, Proxy::Isolate] {
        let mut gateway = gateway_with(|config| {
            config.overlays[0].owner = false;
            config.overlays[0].own_mac = Some(MacAddr([2, 0, 0x5e, 0, 1, 1]));
            config.overlays[0].policy = OverlayPolicy { proxy: how, ..OverlayPolicy::default() }.into();
        });
        for family in BOTH {
            say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, NEWCOMER[family]));
            for target in [ROUTER, NEWCOMER, UNKNOWN] {
                for source in [STATION[family], NOBODY[family]] {
                    let asked = asks(STATION_MAC, source, target[family]);
                    assert_eq!(say(&mut gateway, ENDPOINT_V4, &asked), [], "{how:?} {target:?}");
                }
            }
        }
        assert_eq!(gateway.done(Deed::ArpAnswered) + gateway.done(Deed::NdpAnswered), 0);
    }
}
