//! A cluster with shards: by which addresses overlays are reached, and from which they are sent to.

use super::*;
use crate::api::Responsibility;
use crate::testing::shards::{OWN_MAC, UPLINKS, VTEPS, gateway, own, vxlan_to_shard};

const OTHER_STATION: [&str; 2] = ["10.0.2.10", "fd00:0:0:2::10"];

/// That a frame ends in exactly one counter, for the property test.
pub(super) fn is_counted_once(gateway: &mut Harness, port: PortIndex, frame: &[u8]) {
    let before = gateway.total();
    gateway.send(port, frame);
    while gateway.slow_path.take_punts() {
        gateway.sent();
    }
    assert_eq!(gateway.total(), before + 1);
}

fn out(family: usize) -> Vec<u8> {
    Udp::from_station(STATION[family], OUTSIDE[family]).frame()
}

#[test]
fn an_overlay_is_reached_by_its_shards_address_and_the_gateways_own() {
    let mut gateway = gateway();
    for family in 0..2 {
        let frame = vxlan_to_shard(0, ENDPOINT_V4, 100, &out(family));
        assert!(matches!(gateway.send(UNDERLAY, &frame).as_slice(), [(UPLINK, _)]));
        let frame = vxlan(ENDPOINT_V4, 100, &out(family));
        assert!(matches!(gateway.send(UNDERLAY, &frame).as_slice(), [(UPLINK, _)]));
        // Over IPv6 too, from behind another endpoint.
        let frame = vxlan_to_shard(0, ENDPOINT_V6, 100, &out(family));
        assert!(matches!(gateway.send(UNDERLAY, &frame).as_slice(), [(UPLINK, _)]));
        for endpoint in ENDPOINTS {
            let frame = vxlan_to_shard(1, endpoint, 100, &out(family));
            gateway.assert_drop("another shard's", UNDERLAY, &frame, Reason::ForeignVtep);
            let stranger = Udp::from_station(STATION[family], OUTSIDE[family]);
            let stranger = stranger.macs(MacAddr([2, 9, 9, 9, 9, 9]), ROUTER_MAC).frame();
            let frame = vxlan_to_shard(1, endpoint, 100, &stranger);
            gateway.assert_drop("a stranger's", UNDERLAY, &frame, Reason::ForeignVtep);
        }
        let mut nobodys = vxlan_to_shard(0, ENDPOINT_V4, 100, &out(family));
        nobodys[33] = 102;
        nobodys[24..26].fill(0);
        let check = wire::checksum::finish(wire::checksum::ones_sum(&nobodys[14..34], 0));
        nobodys[24..26].copy_from_slice(&check.to_be_bytes());
        gateway.assert_drop("no shard's", UNDERLAY, &nobodys, Reason::NotVxlan);
        for address in [VTEPS[1][family], UPLINKS[1][family]] {
            let frame = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[family], address).frame());
            gateway.assert_drop("to a shard's address", UNDERLAY, &frame, Reason::ToHost);
        }
    }
    assert_eq!((gateway.count(Reason::Egress), gateway.count(Reason::EgressElsewhere)), (4, 2));
}

/// Outer source and inner source MAC address are the shard's and the shared one, whoever sends: frames of two gateways
/// during a change are the same.
#[test]
fn a_station_hears_from_its_shard() {
    let mut gateway = gateway();
    for responsibility in [Responsibility::Owner, Responsibility::Other] {
        gateway.apply([own(0, responsibility), own(1, responsibility)]);
        for family in 0..2 {
            let stations = [(STATION[family], ENDPOINT_V4), (OTHER_STATION[family], ENDPOINT_V6)];
            for (shard, (station, endpoint)) in stations.into_iter().enumerate() {
                // An odd length: the last byte of the UDP checksum's data counts too.
                let udp = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], station).payload(101);
                let out = gateway.send(UPLINK, &udp.frame());
                let [(UNDERLAY, frame)] = out.as_slice() else { panic!("{out:?}") };
                let (_, _, source, destination, _, _, vxlan) = decode(frame);
                assert_eq!(source, VTEPS[shard][shard].parse::<IpAddr>().unwrap());
                assert_eq!(destination, endpoint.parse::<IpAddr>().unwrap());
                let (source_mac, _, source, _, _, _, payload) = decode(&vxlan[8..]);
                assert_eq!((source_mac, source, payload), (ROUTER_MAC, udp.source, udp.payload));
            }
        }
    }
    let counts = [Reason::Ingress, Reason::IngressForOwner].map(|reason| gateway.count(reason));
    assert_eq!((counts, gateway.total()), ([4, 4], 8));
}

/// What was sent to a shard's address has come to no other gateway, and goes on.
#[test]
fn what_reaches_a_gateway_for_anothers_shard_goes_on() {
    let mut gateway = gateway();
    gateway.apply([own(0, Responsibility::Other)]);
    for family in 0..2 {
        let frame = vxlan_to_shard(0, ENDPOINT_V4, 100, &out(family));
        assert!(matches!(gateway.send(UNDERLAY, &frame).as_slice(), [(UPLINK, _)]));
        let to_self = Udp::from_station(STATION[family], OUTSIDE[family]).macs(STATION_MAC, OWN_MAC).frame();
        let frame = vxlan(ENDPOINT_V4, 100, &to_self);
        assert!(matches!(gateway.send(UNDERLAY, &frame).as_slice(), [(UPLINK, _)]));
    }
    assert_eq!((gateway.count(Reason::EgressForOwner), gateway.count(Reason::Egress)), (2, 2));
}
