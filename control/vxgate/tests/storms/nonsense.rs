//! ICMP that no host may be answered about: smurf, martian sources, errors about errors and about fragments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC, Scene, Site, Topology};
use wire::IpProtocol;

use crate::effect::Effect;
use crate::frames::{EXPERIMENT, Flow, ethernet, last_fragment};
use crate::stage::{Attack, From, RATE, Stage};

/// Sources that no host has (RFC 6890).
const MARTIANS: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::BROADCAST),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv4Addr::new(198, 18, 2, 10).to_ipv6_mapped()),
];

/// ICMP errors, with a packet that they could be about, and a redirect.
fn errors(flow: Flow) -> Vec<Vec<u8>> {
    let about = Flow { from: flow.to, to: flow.from, ttl: 64 }.packet(IpProtocol::Udp, &[0; 8]);
    let body = [&[0; 4][..], &about].concat();
    let kinds: &[u8] = if flow.from.is_ipv4() { &[3, 5, 11, 12] } else { &[1, 2, 3, 4] };
    kinds.iter().map(|kind| flow.icmp(*kind, 0, &body)).collect()
}

/// What must not be answered, because it is used up or leads nowhere: errors, and last fragments of IPv4.
fn untold(flow: Flow) -> Vec<Vec<u8>> {
    let mut packets = errors(flow);
    if flow.from.is_ipv4() {
        packets.push(last_fragment(flow.packet(EXPERIMENT, &[0; 64])));
    }
    packets
}

/// The broadcast and the network address of an IPv4 subnet, and the network address of an IPv6 one.
fn edges(site: &Site) -> [IpAddr; 3] {
    [site.v4.broadcast().into(), site.v4.network().into(), site.v6.network().into()]
}

pub(crate) fn from_the_uplink(stage: &mut Stage) -> Effect {
    let site = stage.hostile[0].site;
    let station = |family| stage.scene.stations[0].address(family);
    let outside = |family| Topology::UPLINK.address(family, Scene::NEIGHBOUR);
    let mut packets: Vec<Vec<u8>> = edges(&site)
        .into_iter()
        .flat_map(|edge| {
            let victim = stage.scene.outer_address(Family::of(edge));
            [Flow::new(victim, edge).echo(), Flow::new(victim, edge).ttl(1).echo()]
        })
        .collect();
    packets.extend(MARTIANS.map(|source| Flow::new(source, station(Family::of(source))).echo()));
    packets.extend(MARTIANS.map(|source| Flow::new(source, site.address(Family::of(source), 1)).echo()));
    for family in Family::BOTH {
        let router = site.address(family, 1);
        // In the name of a station of another overlay, and of the router.
        packets.push(Flow::new(stage.scene.stations[2].address(family), station(family)).echo());
        packets.push(Flow::new(router, router).echo());
        packets.extend(untold(Flow::new(outside(family), station(family)).ttl(1)));
        packets.extend(errors(Flow::new(outside(family), router)));
    }
    let (to, from) = (stage.scene.topology.uplink0.mac, stage.scene.neighbour.nic.mac);
    let frames = packets.iter().map(|packet| ethernet(to, from, packet)).collect();
    let effect = stage.play(Attack {
        name: "smurf and nonsense from outside",
        from: From::Uplink,
        rate: RATE,
        frames,
    });
    silent(effect).counted_all(&["martian_source", "overlay_source", "ttl_exceeded"])
}

pub(crate) fn from_a_station(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let mut packets = Vec::new();
    // In IPv6 the first address of another overlay's subnet is one like others: it may be said that it is out of reach.
    let [broadcast, network, _] = edges(&stage.scene.stations[2].site);
    for edge in edges(&hostile.site).into_iter().chain([broadcast, network]) {
        packets.push(Flow::new(hostile.address(Family::of(edge)), edge).echo());
    }
    packets.push(Flow::new(hostile.ipv4(), Ipv4Addr::BROADCAST).echo());
    // From the broadcast address to the router, which would answer all.
    for edge in edges(&hostile.site) {
        packets.push(Flow::new(edge, hostile.site.address(Family::of(edge), 1)).echo());
    }
    packets
        .extend(MARTIANS.map(|source| Flow::new(source, hostile.site.address(Family::of(source), 1)).echo()));
    for family in Family::BOTH {
        let outside = Flow::new(hostile.address(family), stage.scene.outer_address(family));
        packets.extend(untold(outside.ttl(1)));
        packets.extend(untold(Flow { to: Site::numbered(99).address(family, 1), ..outside }));
        packets.extend(untold(Flow { to: stage.scene.stations[2].address(family), ..outside }));
        packets.extend(errors(Flow { to: hostile.site.address(family, 1), ..outside }));
    }
    let frames = packets.iter().map(|packet| hostile.send(ROUTER_MAC, packet)).collect();
    let name = "smurf and nonsense of a station";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V4), rate: RATE, frames });
    silent(effect).counted_all(&["spoofed_source", "between_overlays", "no_route", "bad_destination"])
}

/// Nobody was answered.
fn silent(effect: Effect) -> Effect {
    effect
        .limited("error")
        .limited("host")
        .counted_all(&["directed_broadcast", "error_suppressed", "not_served"])
        .counted_none(&["echo_answered", "error_sent", "learned"])
        .unanswered()
}
