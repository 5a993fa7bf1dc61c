//! Questions to overlays of very many endpoints.

use super::*;
use crate::slowpath::RING;
use crate::slowpath::link::BACKLOG;

/// More than the ring to a worker holds.
const ENDPOINTS: u32 = 1000;

fn endpoint(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc612_0400 + number).into()
}

/// Overlay 100 has all of them.
fn large_gateway() -> Harness {
    let mut gateway =
        gateway_with(|config| config.overlays[0].endpoints = (0..ENDPOINTS).map(endpoint).collect());
    gateway.apply((0..ENDPOINTS).flat_map(|number| {
        let next_hop = NextHop { port: UNDERLAY, address: endpoint(number) };
        [
            Update::Endpoint { address: next_hop.address, paths: [Path::via(next_hop)].into() },
            Update::Neighbour { next_hop, mac: Some(ENDPOINT_MAC) },
        ]
    }));
    gateway
}

#[test]
fn all_endpoints_of_a_large_overlay_are_asked() {
    for family in BOTH {
        let mut gateway = large_gateway();
        let mut asked = Vec::new();
        let mut out = call(&mut gateway, NEWCOMER[family], 1);
        while !out.is_empty() {
            asked.extend(heard(&out).into_iter().map(|heard| heard.endpoint));
            out = at(&mut gateway, Instant::now());
        }
        assert_eq!(asked, (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(), "each once, in order");
        assert_eq!(gateway.done(Deed::AnswerFull), 0);
    }
}

#[test]
fn what_no_worker_takes_is_bounded() {
    let mut gateway = large_gateway();
    for host in 0..10 {
        let udp = Udp::new(FROM_OUTSIDE, OUTSIDE[0], &format!("10.0.1.{}", 100 + host));
        assert!(gateway.wires[1].deliver(&udp.frame()));
        gateway.worker.round();
    }
    // Ten thousand frames at once.
    gateway.slow_path.take_punts();
    let room = (RING + BACKLOG) as u64;
    assert_eq!(gateway.done(Deed::AnswerFull), 10 * u64::from(ENDPOINTS) - room);
}
