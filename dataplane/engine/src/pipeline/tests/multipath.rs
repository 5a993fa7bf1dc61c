//! Several ports a role: flows are spread, each keeps to its path, and nothing is lost while one path lives.

use super::*;
use crate::api::{Paths, PortConfig, Route};
use crate::testing::multipath::*;

/// Flows each way and family.
const FLOWS: u16 = 200;

fn outward(family: usize, flow: u16) -> Udp {
    Udp::from_station(STATION[family], OUTSIDE[family]).ports(1024 + flow, 5000)
}

fn inward(port: PortIndex, family: usize, flow: u16) -> Udp {
    let udp = Udp::new((neighbour_mac(port), port_mac(port)), OUTSIDE[family], STATION[family]);
    udp.ports(1024 + flow, 5000)
}

/// Sends a packet of each flow, in at one port after the other. The ports that they left by, all to that port's neighbour.
#[track_caller]
fn ports_of_flows(gateway: &mut Harness) -> Vec<PortIndex> {
    let mut ports = Vec::new();
    for family in 0..2 {
        for flow in 0..FLOWS {
            let [underlay, uplink] = [UNDERLAYS, UPLINKS].map(|ports| ports[usize::from(flow % 2)]);
            let mut out = vxlan(ENDPOINT_V4, 100, &outward(family, flow).frame());
            out[..6].copy_from_slice(&port_mac(underlay).0);
            for (port, frame) in [(underlay, out), (uplink, inward(uplink, family, flow).frame())] {
                let sent = gateway.send(port, &frame);
                let [(port, frame)] = sent.as_slice() else { panic!("flow {flow} at {port:?}: {sent:?}") };
                assert_eq!(frame[..6], neighbour_mac(*port).0);
                assert_eq!(frame[6..12], port_mac(*port).0);
                ports.push(*port);
            }
        }
    }
    ports
}

#[track_caller]
fn assert_spread(ports: &[PortIndex], over: &[PortIndex]) {
    for port in over {
        let count = ports.iter().filter(|of_flow| *of_flow == port).count();
        let expected = ports.len() / 2 / (over.len() / 2);
        assert!(count.abs_diff(expected) < expected / 4, "{count} of {} by {port:?}", ports.len());
    }
}

#[test]
fn flows_are_spread_and_keep_to_their_paths() {
    let mut gateway = gateway();
    let ports = ports_of_flows(&mut gateway);
    assert_spread(&ports, &[UNDERLAYS, UPLINKS].concat());
    assert_eq!(ports_of_flows(&mut gateway), ports);
    assert_eq!(gateway.total(), 2 * ports.len() as u64);
}

#[test]
fn what_is_dead_is_passed_over_and_comes_back() {
    let dead: [fn(&mut Harness, PortIndex, bool); 3] = [
        |gateway, port, is_dead| gateway.apply([Update::PortState { port, is_up: !is_dead }]),
        |gateway, port, is_dead| {
            let mac = (!is_dead).then(|| neighbour_mac(port));
            gateway.apply([Update::Neighbour { next_hop: neighbour(port), mac }]);
        },
        // As routes do when the kernel has marked the hop.
        |gateway, port, is_dead| {
            let without = |ports: &[PortIndex]| -> Paths {
                let ports: Vec<_> = ports.iter().copied().filter(|of| !is_dead || *of != port).collect();
                paths(&ports)
            };
            let route = |prefix: &str| Route { prefix: prefix.parse().unwrap(), paths: without(&UPLINKS) };
            gateway.apply([Update::Routes(vec![route("0.0.0.0/0"), route("::/0")])]);
            let endpoint = |address: &str| Update::Endpoint {
                address: address.parse().unwrap(),
                paths: without(&UNDERLAYS),
            };
            gateway.apply(ENDPOINTS.map(endpoint));
            if is_dead {
                gateway.apply([Update::Neighbour { next_hop: neighbour(port), mac: None }]);
            } else {
                let mac = Some(neighbour_mac(port));
                gateway.apply([Update::Neighbour { next_hop: neighbour(port), mac }]);
            }
        },
    ];
    let mut gateway = gateway();
    let before = ports_of_flows(&mut gateway);
    for dead in dead {
        for port in UNDERLAYS.into_iter().chain(UPLINKS) {
            dead(&mut gateway, port, true);
            for (before, after) in before.iter().zip(ports_of_flows(&mut gateway)) {
                assert_eq!(*before != after, *before == port, "the flows of {port:?} alone move");
            }
            dead(&mut gateway, port, false);
            assert_eq!(ports_of_flows(&mut gateway), before);
        }
    }
    for port in UNDERLAYS {
        gateway.apply([Update::PortState { port, is_up: false }]);
    }
    gateway.assert_drop("no port is up", UPLINK, &inward(UPLINK, 0, 0).frame(), Reason::NoNeighbour);
    for port in UPLINKS {
        gateway.apply([Update::Neighbour { next_hop: neighbour(port), mac: None }]);
    }
    let out = vxlan(ENDPOINT_V4, 100, &outward(0, 0).frame());
    gateway.assert_drop("no router is known", UNDERLAY, &out, Reason::NoNeighbour);
}

#[test]
fn fragments_stay_together() {
    let mut gateway = gateway();
    for host in 1..50 {
        let destination = format!("203.0.113.{host}");
        let whole = Udp::from_station(STATION[0], &destination).frame();
        let mut ports = Vec::new();
        for (flags, body) in [([0x20, 0], 1), ([0x20, 2], 2), ([0, 4], 3)] {
            let mut inner = whole.clone();
            inner[20..22].copy_from_slice(&flags);
            // Of a later fragment these are no ports.
            inner[34..38].fill(body);
            inner[24..26].fill(0);
            let check = wire::checksum::finish(wire::checksum::ones_sum(&inner[14..34], 0));
            inner[24..26].copy_from_slice(&check.to_be_bytes());
            let sent = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &inner));
            let [(port, _)] = sent.as_slice() else { panic!("{sent:?}") };
            ports.push(*port);
        }
        assert_eq!(ports, [ports[0]; 3]);
    }
}

#[test]
fn a_packet_must_fit_its_own_path() {
    let mut config = config();
    for (of, mac) in [(0, port_mac(UNDERLAY_1)), (1, port_mac(UPLINK_1))] {
        let like = config.ports[of].clone();
        config.ports.push(PortConfig { mac, mtu: like.mtu - 300, ..like });
    }
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    for port in UNDERLAYS.into_iter().chain(UPLINKS) {
        let mac = Some(neighbour_mac(port));
        gateway.apply([Update::Neighbour { next_hop: neighbour(port), mac }]);
    }
    let default = Route { prefix: "0.0.0.0/0".parse().unwrap(), paths: paths(&UPLINKS) };
    gateway.apply([
        Update::Routes(vec![default]),
        Update::Endpoint { address: ENDPOINT_V4.parse().unwrap(), paths: paths(&UNDERLAYS) },
    ]);
    let (mut forwarded, mut refused) = (0, 0);
    for flow in 0..FLOWS {
        let long = |udp: Udp| udp.payload(1400 - 28).frame();
        for (port, frame, wide) in [
            (UNDERLAY, vxlan(ENDPOINT_V4, 100, &long(outward(0, flow))), UPLINK),
            (UPLINK, long(inward(UPLINK, 0, flow)), UNDERLAY),
        ] {
            let short = if port == UNDERLAY {
                vxlan(ENDPOINT_V4, 100, &outward(0, flow).frame())
            } else {
                inward(UPLINK, 0, flow).frame()
            };
            let by = gateway.send(port, &short)[0].0;
            let too_big = gateway.count(Reason::TooBig) + gateway.count(Reason::Fragmented);
            let sent = gateway.send(port, &frame);
            let too_big = gateway.count(Reason::TooBig) + gateway.count(Reason::Fragmented) - too_big;
            if by == wide {
                assert_eq!((sent.len(), too_big), (1, 0));
                forwarded += 1;
            } else {
                assert_eq!(too_big, 1, "flow {flow} by {by:?}");
                refused += 1;
            }
        }
    }
    assert!(forwarded > 100 && refused > 100, "{forwarded} and {refused}");
}

#[test]
fn a_host_on_several_links_is_asked_for_and_reached_where_it_answers() {
    let mut gateway = gateway();
    let mut asked = std::collections::HashSet::new();
    for number in 2..30 {
        let host = format!("198.18.1.{number}");
        let frame = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[0], &host).frame());
        assert!(gateway.send(UNDERLAY, &frame).is_empty());
        let Some(Event::Resolve(next_hop)) = gateway.events.lock().unwrap().pop() else { panic!("{host}") };
        asked.insert(next_hop.port);
        let mac = MacAddr([2, 0, 0, 0, 1, number]);
        gateway.apply([Update::Neighbour { next_hop, mac: Some(mac) }]);
        let sent = [gateway.sent(), gateway.send(UNDERLAY, &frame)].concat();
        assert_eq!(sent.len(), 2, "what waited, and the next");
        assert!(sent.iter().all(|(port, frame)| *port == next_hop.port && frame[..6] == mac.0));
        // Known on the other link alone.
        let other = UPLINKS.into_iter().find(|port| *port != next_hop.port).unwrap();
        gateway.apply([
            Update::Neighbour { next_hop, mac: None },
            Update::Neighbour { next_hop: NextHop { port: other, ..next_hop }, mac: Some(mac) },
        ]);
        let sent = gateway.send(UNDERLAY, &frame);
        assert!(matches!(sent[..], [(port, _)] if port == other), "{sent:?}");
    }
    assert_eq!(asked.len(), 2);
}

#[test]
fn an_error_comes_from_the_uplink_that_its_packet_came_to() {
    let mut config = config();
    let mut second = config.ports[1].clone();
    second.mac = port_mac(PortIndex(2));
    second.addresses = ["198.18.7.1", "2001:db8:0:7::1"].map(|address| address.parse().unwrap()).to_vec();
    config.ports.push(second);
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    for (port, from) in [(UPLINK, "198.18.1.1"), (PortIndex(2), "198.18.7.1")] {
        let udp = Udp::new((OUTER_ROUTER_MAC, port_mac(port)), OUTSIDE[0], STATION[0]).ttl(1);
        let sent = gateway.send(port, &udp.frame());
        let [(_, error)] = sent.as_slice() else { panic!("{sent:?}") };
        let source: [u8; 4] = error[26..30].try_into().unwrap();
        assert_eq!(IpAddr::from(source), from.parse::<IpAddr>().unwrap());
    }
}
