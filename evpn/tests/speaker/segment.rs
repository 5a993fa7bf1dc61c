//! The Ethernet segment of a cluster: who is of it, and that we say so.

use std::net::IpAddr;

use evpn::{Change, EthernetSegment, Identity, Rejection};
use rustbgpd_wire::{
    EthernetSegmentIdentifier, EvpnEs, EvpnRoute, ExtendedCommunity, Message, PathAttribute,
    RouteDistinguisher,
};

use crate::support::scripted::{OWN, PEER, Scripted, evpn_update, withdraw};

const CLUSTER: u16 = 0x0102;

/// A type 4 route of this VTEP, with an ES-Import route target.
fn segment_route(rd: u8, esi: [u8; 10], vtep: IpAddr) -> EvpnRoute {
    let rd = RouteDistinguisher([0, 1, 10, 0, 0, rd, 0, 0]);
    EvpnRoute::Es(EvpnEs { rd, esi: EthernetSegmentIdentifier(esi), originator_ip: vtep })
}

#[test]
fn gateways_of_the_cluster_are_found_and_strangers_to_it_are_not() {
    let own = [0, 0x76, 0x78, 0x67, 0x77, 1, 2, 0, 0, 0];
    let other = [0, 0x76, 0x78, 0x67, 0x77, 1, 3, 0, 0, 0];
    let target = |esi: [u8; 10]| ExtendedCommunity::es_import_rt(*esi[1..].first_chunk().unwrap());
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let segment = Some(EthernetSegment::of_cluster(CLUSTER));
    scripted.speaker.set_identity(Identity { vteps: [OWN.into()].into(), segment, ..Identity::default() });
    let vtep = |number: u8| IpAddr::from([10, 0, 0, number]);
    let mut say = |route: EvpnRoute, target| {
        scripted.changes.clear();
        scripted.update(&evpn_update(PEER.into(), vec![route], vec![target]));
        (std::mem::take(&mut scripted.changes), scripted.rejections().last().copied())
    };
    let member = |number| vec![Change::Member { vtep: vtep(number) }];
    assert_eq!(say(segment_route(7, own, vtep(7)), target(own)), (member(7), None));
    // Whatever its route distinguisher.
    assert_eq!(say(segment_route(8, own, vtep(7)), target(own)), (vec![], None));
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    assert_eq!(say(segment_route(7, own, v6), target(own)).0, [Change::Member { vtep: v6 }]);
    // Of another cluster, and what says that it is both.
    assert_eq!(say(segment_route(9, other, vtep(9)), target(other)), (vec![], None));
    assert_eq!(say(segment_route(9, own, vtep(9)), target(other)), (vec![], None));
    // What cannot be.
    assert_eq!(say(segment_route(9, own, OWN.into()), target(own)), (vec![], Some(Rejection::OwnVtep)));
    let nobody = [224, 0, 0, 1].into();
    assert_eq!(say(segment_route(9, own, nobody), target(own)), (vec![], Some(Rejection::NoVtep)));

    // It is gone with its last route.
    scripted.update(&withdraw(vec![segment_route(7, own, vtep(7))]));
    assert_eq!(scripted.changes, []);
    scripted.update(&withdraw(vec![segment_route(8, own, vtep(7))]));
    assert_eq!(scripted.changes, [Change::MemberGone { vtep: vtep(7) }]);
    scripted.changes.clear();
    scripted.lose_connection();
    scripted.follow();
    assert_eq!(scripted.changes, [Change::MemberGone { vtep: v6 }]);
}

#[test]
fn a_gateway_says_that_it_is_of_its_cluster() {
    let segment = EthernetSegment::of_cluster(CLUSTER);
    for takes_ipv6 in [false, true] {
        let mut scripted = Scripted::up(|peer| peer.announce_ipv6_vtep = takes_ipv6, |_| {});
        scripted.heard();
        scripted.speaker.join_segment(segment, OWN.into());
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        scripted.speaker.join_segment(segment, v6);
        let mut routes = Vec::new();
        for message in scripted.heard() {
            let Message::Update(update) = message else { panic!("{message:?}") };
            let parsed = update.parse(true, false, &[]).unwrap();
            for attribute in parsed.attributes {
                match attribute {
                    PathAttribute::MpReachNlri(reach) => routes.extend(reach.evpn_announced),
                    PathAttribute::ExtendedCommunities(communities) => {
                        let target = ExtendedCommunity::es_import_rt([0x76, 0x78, 0x67, 0x77, 1, 2]);
                        assert_eq!(communities, [target], "discovery alone");
                    }
                    _ => {}
                }
            }
        }
        let [a, b, c, d] = OWN.octets();
        let rd = RouteDistinguisher([0, 1, a, b, c, d, 0, 0]);
        let esi = EthernetSegmentIdentifier([0, 0x76, 0x78, 0x67, 0x77, 1, 2, 0, 0, 0]);
        let route = |originator_ip| EvpnRoute::Es(EvpnEs { rd, esi, originator_ip });
        let expected = [route(OWN.into()), route(v6)];
        // FRR 8 ends the session when it reads an IPv6 originator.
        assert_eq!(routes, expected[..1 + usize::from(takes_ipv6)]);
    }
}
