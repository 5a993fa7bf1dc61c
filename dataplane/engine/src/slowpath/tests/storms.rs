//! Storms: what they take is bounded, and other overlays have what they need meanwhile.

use super::*;

/// A subnet of overlay 100 with 65 536 addresses.
const LARGE: &str = "10.7.0.0/16";

fn large_gateway() -> Harness {
    gateway_with(|config| {
        let subnet = Subnet { prefix: LARGE.parse().unwrap(), router: address("10.7.0.1") };
        config.overlays[0].subnets.push(subnet);
        let vni = config.overlays[1].vni;
        let endpoint = address(ENDPOINT_V6);
        config.stations.push(Station { vni, mac: NEWCOMER_MAC, endpoint, addresses: Vec::new() });
    })
}

fn scanned(family: usize, number: u32) -> String {
    match family {
        0 => Ipv4Addr::from_bits(0x0a07_0000 + number).to_string(),
        _ => format!("fd00:0:0:1::7:{number:x}"),
    }
}

/// One of overlay 200's addresses is asked for, answers and is reached; the questions of overlay 100 are left out.
#[track_caller]
fn resolve_elsewhere(gateway: &mut Harness, family: usize) {
    let own = ["10.0.2.77", "fd00:0:0:2::77"][family];
    let of_200 = |out: Vec<(PortIndex, Vec<u8>)>| {
        let (_, into): (Vec<_>, Vec<_>) = out.into_iter().partition(|(port, _)| *port == UPLINK);
        heard(&into).into_iter().filter(|heard| heard.vni == 200).collect::<Vec<_>>()
    };
    let asked = of_200(call(gateway, own, 1));
    assert!(matches!(asked[..], [Heard { message: Message::Question { .. }, .. }]), "{asked:?}");
    let asker = ["10.0.2.1".to_owned(), ROUTER_MAC.link_local().to_string()];
    let answer = answers(NEWCOMER_MAC, own, (ROUTER_MAC, &asker[family]));
    let mut out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 200, &answer));
    out.extend(settle(gateway));
    let released = of_200(out);
    assert!(matches!(released[..], [Heard { message: Message::Packet { .. }, .. }]), "{released:?}");
}

/// 100 000 packets a second to one overlay's addresses, each once, while time passes.
#[test]
fn a_scan_of_65_536_addresses_is_bounded() {
    for family in BOTH {
        let mut gateway = large_gateway();
        let start = Instant::now();
        let mut errors = 0;
        for number in 0..65_536_u32 {
            let udp = Udp::new(FROM_OUTSIDE, OUTSIDE[family], &scanned(family, number));
            assert!(gateway.wires[1].deliver(&udp.frame()));
            if number % 32 < 31 {
                continue;
            }
            // 32 in 1.6 ms: three and a half seconds in all.
            gateway.slow_path.poll(start + Duration::from_micros(54) * number);
            errors += settle(&mut gateway).iter().filter(|(port, _)| *port == UPLINK).count();
            if number % 4096 == 4095 {
                let now = statistics(&mut gateway);
                assert!(now.incomplete + now.failed <= 256 && now.waiting <= 64, "{now:?}");
            }
            if number == 32_767 {
                resolve_elsewhere(&mut gateway, family);
            }
        }
        let now = statistics(&mut gateway);
        assert!(now.refused_by_overlay > 60_000, "{now:?}");
        assert!((1..=128).contains(&errors), "those that waited: {errors}");
        // 256 in three seconds, three times each.
        assert!(gateway.done(Deed::SolicitationSent) <= 3 * 2 * 256 + 1);
        // All is forgotten in the end.
        for second in 4..120 {
            at(&mut gateway, start + Duration::from_secs(second));
        }
        let now = statistics(&mut gateway);
        assert_eq!((now.incomplete, now.failed, now.waiting), (0, 0, 0));
    }
}

/// With the limits of punts as they are by default, most never get to the slow path.
#[test]
fn a_storm_spends_the_limits_of_its_own_overlay() {
    for family in BOTH {
        let mut gateway = gateway_with(|config| {
            config.punt_limits = PuntLimits::default();
            let vni = config.overlays[1].vni;
            let endpoint = address(ENDPOINT_V6);
            config.stations.push(Station { vni, mac: NEWCOMER_MAC, endpoint, addresses: Vec::new() });
        });
        for number in 0..10_000_u32 {
            let to = [format!("10.0.1.{}", 20 + number % 200), scanned(1, number)];
            let udp = Udp::new(FROM_OUTSIDE, OUTSIDE[family], &to[family]);
            assert!(gateway.wires[1].deliver(&udp.frame()));
            if number % 32 == 31 {
                settle(&mut gateway);
            }
        }
        assert!(gateway.count(Reason::Policed) > 5_000, "{}", gateway.count(Reason::Policed));
        resolve_elsewhere(&mut gateway, family);
    }
}
