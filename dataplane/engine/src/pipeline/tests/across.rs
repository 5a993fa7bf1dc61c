//! From one overlay into another, or back into the same.

use super::*;
use crate::api::{OverlayPolicy, RateLimit};

/// What comes in by one tunnel and goes out by another is marked there as it is inside then (RFC 6040 §4.1).
#[test]
fn congestion_is_told_from_one_tunnel_to_the_next() {
    let mut gateway = Harness::new();
    let inner = Udp::from_station("fd00:0:0:1::99", STATION[1]).frame();
    let mut frame = vxlan(ENDPOINT_V6, 100, &inner);
    // Congestion experienced outside, capable of it inside (ECT(0)); a traffic class is in no checksum.
    frame[15] |= 0b11 << 4;
    frame[70 + 15] |= 0b10 << 4;
    let out = gateway.send(UNDERLAY, &frame);
    let [(UNDERLAY, frame)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(gateway.count(Reason::Across), 1);
    assert_eq!((frame[15] & 0b11, frame[50 + 15] >> 4 & 0b11), (0b11, 0b11), "outside, inside");
}

/// An overlay that sends more than it may to another one must not use up what may enter that.
#[test]
fn what_is_above_one_overlays_limit_takes_nothing_from_anothers() {
    let mut config = config();
    let one = RateLimit { bits: None, packets: Some(1) };
    config.overlays[0].policy = OverlayPolicy { egress_limit: one, ..OverlayPolicy::default() }.into();
    config.overlays[1].policy = OverlayPolicy { ingress_limit: one, ..OverlayPolicy::default() }.into();
    config.rules = vec![allow_all()];
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    let out = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    let across = Udp::from_station(STATION[0], "10.0.2.10").frame();
    for (frame, sent) in [(out, 1), (across, 0)] {
        assert_eq!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).len(), sent);
    }
    let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[0], "10.0.2.10").frame();
    for sent in [1, 0] {
        assert_eq!(gateway.send(UPLINK, &inward).len(), sent);
    }
    let counted = [Reason::Egress, Reason::Ingress, Reason::OverLimit].map(|reason| gateway.count(reason));
    assert_eq!(counted, [1, 1, 2]);
}

/// Errors about what one overlay sends to another must not use up those that the other one's stations may be told.
#[test]
fn errors_are_limited_with_the_overlay_that_causes_them() {
    let mut config = config();
    config.rules = vec![allow_all()];
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    // To a station, and to an address that nobody is known to have.
    for destination in ["10.0.2.10", "10.0.2.99"] {
        let expired = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[0], destination).ttl(1).frame());
        for _ in 0..500 {
            gateway.send(UNDERLAY, &expired);
        }
    }
    assert_eq!(gateway.count(Reason::TtlExceeded), 1000);
    let before = gateway.done(Deed::ErrorSent);
    assert!(before < 900, "most were above the limit");
    let macs = (OTHER_STATION_MAC, ROUTER_MAC);
    for _ in 0..10 {
        let own = Udp::new(macs, "10.0.2.10", OUTSIDE[0]).ttl(1).frame();
        gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 200, &own));
    }
    assert_eq!(gateway.done(Deed::ErrorSent), before + 10);
}
