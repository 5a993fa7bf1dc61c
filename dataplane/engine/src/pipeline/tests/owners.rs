//! Several gateways without shards: all have what endpoints flood for the shared MAC address, and only one forwards it.

use wire::Vni;

use super::*;
use crate::api::{Group, Responsibility};
use crate::testing::shards::OWN_MAC;

fn gateway() -> Harness {
    let mut config = config();
    for overlay in &mut config.overlays {
        overlay.own_mac = Some(OWN_MAC);
    }
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

fn say(responsibility: Responsibility) -> Update {
    Update::Responsibility(vec![(Group::Overlay(Vni::new(100).unwrap()), responsibility)])
}

fn out(family: usize) -> Udp {
    Udp::from_station(STATION[family], OUTSIDE[family])
}

#[test]
fn a_former_owner_forwards_for_a_while() {
    for family in 0..2 {
        let mut gateway = gateway();
        let frame = vxlan(ENDPOINTS[family], 100, &out(family).frame());
        let expected = [Reason::Egress, Reason::EgressElsewhere][family];
        assert_eq!(gateway.send(UNDERLAY, &frame).len(), 1);
        assert_eq!(gateway.count(expected), 1);
        gateway.apply([say(Responsibility::Former)]);
        assert_eq!(gateway.send(UNDERLAY, &frame).len(), 1);
        assert_eq!((gateway.count(expected), gateway.count(Reason::EgressForOwner)), (1, 1));
        gateway.apply([say(Responsibility::Other)]);
        gateway.assert_drop("another's", UNDERLAY, &frame, Reason::NotOwner);
        // It was not the owner: there is nothing to go on with.
        gateway.apply([say(Responsibility::Former)]);
        gateway.assert_drop("another's still", UNDERLAY, &frame, Reason::NotOwner);
        gateway.apply([say(Responsibility::Owner)]);
        assert_eq!(gateway.send(UNDERLAY, &frame).len(), 1);
        assert_eq!(gateway.count(expected), 2);
    }
}

/// Neither what is for the router itself nor what it would tell a sender about: all gateways would.
#[test]
fn nothing_for_the_shared_mac_is_taken_from_the_owner() {
    let mut gateway = gateway();
    gateway.apply([say(Responsibility::Other)]);
    for family in 0..2 {
        let router = ["10.0.1.1", "fd00:0:0:1::1"][family];
        for udp in [out(family).ttl(1), Udp::from_station(STATION[family], router), out(family).payload(1600)]
        {
            let frame = vxlan(ENDPOINT_V4, 100, &udp.frame());
            gateway.assert_drop("for the owner", UNDERLAY, &frame, Reason::NotOwner);
        }
        let stranger = out(family).macs(MacAddr([2, 9, 9, 9, 9, 9]), ROUTER_MAC).frame();
        gateway.assert_drop("a stranger's", UNDERLAY, &vxlan(ENDPOINT_V4, 100, &stranger), Reason::NotOwner);
        // Its own address is its own, whoever is the owner.
        let own = out(family).macs(STATION_MAC, OWN_MAC).frame();
        assert_eq!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &own)).len(), 1);
    }
    assert_eq!(gateway.count(Reason::Egress), 2);
    // The other overlay is a group of its own.
    let other = Udp::new((OTHER_STATION_MAC, ROUTER_MAC), "10.0.2.10", OUTSIDE[0]).frame();
    assert_eq!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 200, &other)).len(), 1);
}

/// What comes from outside goes on, but as from this gateway, so that stations' endpoints don't look for the shared MAC
/// address here.
#[test]
fn into_an_overlay_of_another_owner() {
    let mut gateway = gateway();
    for family in 0..2 {
        let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], STATION[family]).frame();
        for (responsibility, mac, reason) in [
            (Responsibility::Owner, ROUTER_MAC, Reason::Ingress),
            (Responsibility::Former, OWN_MAC, Reason::IngressForOwner),
            (Responsibility::Other, OWN_MAC, Reason::IngressForOwner),
        ] {
            let before = gateway.count(reason);
            gateway.apply([say(responsibility)]);
            let out = gateway.send(UPLINK, &inward);
            let [(UNDERLAY, frame)] = out.as_slice() else { panic!("{out:?}") };
            let (_, _, source, _, _, _, vxlan) = decode(frame);
            assert_eq!(source, "198.18.0.1".parse::<IpAddr>().unwrap());
            assert_eq!((decode(&vxlan[8..]).0, gateway.count(reason)), (mac, before + 1));
        }
    }
}
