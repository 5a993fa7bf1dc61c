//! ARP and neighbour discovery of a station that does not stop, or lies.

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC};
use wire::arp::ArpOperation::{Reply, Request};
use wire::{MacAddr, ndp};

use crate::effect::Effect;
use crate::frames::{Flow, advertisement, arp, link_layer, solicitation};
use crate::stage::{Attack, FLOOD, From, Hostile, RATE, Stage, v4, v6};

/// Addresses that are learned of a station.
const ADDRESSES_PER_STATION: usize = 16;

/// An option that means nothing to anybody, of 8 bytes.
const UNKNOWN_OPTION: [u8; 8] = [253, 1, 0, 0, 0, 0, 0, 0];

impl Hostile {
    fn arp(
        &self,
        to: MacAddr,
        operation: wire::arp::ArpOperation,
        sender: Ipv4Addr,
        target: Ipv4Addr,
    ) -> Vec<u8> {
        self.tunnel.frame(&arp(to, self.mac, operation, sender, target))
    }

    /// A solicitation to the group of its target, with its MAC address and more options.
    fn solicit(&self, from: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        self.solicit_at(ndp::solicited_node(target), from, target, ndp::HOP_LIMIT, options)
    }

    fn solicit_at(&self, to: Ipv6Addr, from: Ipv6Addr, target: Ipv6Addr, ttl: u8, options: &[u8]) -> Vec<u8> {
        let options = [&link_layer(1, self.mac), options].concat();
        let flow = Flow::new(from, to).ttl(ttl);
        let packet = flow.icmp(ndp::NEIGHBOUR_SOLICITATION, 0, &solicitation(target, &options));
        self.send(ndp::multicast_mac(to), &packet)
    }

    /// An advertisement to all nodes that overrides what they know.
    fn advertise(&self, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let flow = Flow::new(from, ndp::ALL_NODES).ttl(ndp::HOP_LIMIT);
        let packet = flow.icmp(ndp::NEIGHBOUR_ADVERTISEMENT, 0, &advertisement(target, self.mac));
        self.send(ndp::multicast_mac(ndp::ALL_NODES), &packet)
    }

    fn routers(&self) -> (Ipv4Addr, Ipv6Addr) {
        let [router_v4, router_v6] = self.site.routers();
        (v4(router_v4), v6(router_v6))
    }
}

/// ARP for the router and for others, and announcements.
pub(crate) fn arp_storm(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let (own, (router, _)) = (hostile.ipv4(), hostile.routers());
    let others = (0..16).map(|n| hostile.arp(MacAddr::BROADCAST, Request, own, Ipv4Addr::new(10, 1, n, 77)));
    let frames = [
        hostile.arp(MacAddr::BROADCAST, Request, own, router),
        hostile.arp(ROUTER_MAC, Request, own, router),
        hostile.arp(MacAddr::BROADCAST, Request, own, own),
        hostile.arp(MacAddr::BROADCAST, Reply, own, own),
    ];
    let frames = frames.into_iter().chain(others).collect();
    let effect = stage.play(Attack { name: "ARP", from: From::Endpoint(Family::V4), rate: FLOOD, frames });
    let most = effect.rise("neighbour handed over");
    effect
        .limited("neighbour")
        .counted("arp_answered", 1..=most)
        .counted("slow_path", 1..=most)
        .counted("learned", 1..=1)
}

/// Solicitations for the router and for others, some with a hundred options, and advertisements.
pub(crate) fn discovery_storm(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[1];
    let (own, (_, router)) = (hostile.ipv6(), hostile.routers());
    let base = hostile.site.v6.network().to_bits();
    let others = (0..16).map(|n| hostile.solicit(own, Ipv6Addr::from_bits(base + 7000 + n), &[]));
    let frames = [
        hostile.solicit(own, router, &[]),
        hostile.solicit_at(router, own, router, ndp::HOP_LIMIT, &[]),
        hostile.solicit(own, router, &UNKNOWN_OPTION.repeat(100)),
        hostile.solicit(own, ROUTER_MAC.link_local(), &[]),
        hostile.advertise(own, own),
    ];
    let frames = frames.into_iter().chain(others).collect();
    let name = "neighbour discovery";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V6), rate: FLOOD, frames });
    let most = effect.rise("neighbour handed over");
    effect
        .limited("neighbour")
        .counted("ndp_answered", 1..=most)
        .counted("slow_path", 1..=most)
        .counted("learned", 1..=1)
}

/// Announcements, answers, questions and solicitations in the router's name, and in another station's.
pub(crate) fn claims_to_be_another(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let (own, (router_v4, router_v6)) = (hostile.ipv6(), hostile.routers());
    let station = v4(stage.scene.stations[0].address(Family::V4));
    let station_v6 = v6(stage.scene.stations[0].address(Family::V6));
    let link_local = ROUTER_MAC.link_local();
    let frames = vec![
        hostile.arp(MacAddr::BROADCAST, Request, router_v4, router_v4),
        hostile.arp(MacAddr::BROADCAST, Reply, router_v4, router_v4),
        hostile.arp(ROUTER_MAC, Reply, router_v4, station),
        hostile.arp(MacAddr::BROADCAST, Request, router_v4, station),
        hostile.advertise(own, router_v6),
        hostile.advertise(own, link_local),
        hostile.advertise(router_v6, router_v6),
        hostile.advertise(link_local, link_local),
        hostile.solicit(router_v6, own, &[]),
        hostile.solicit(link_local, own, &[]),
        hostile.arp(MacAddr::BROADCAST, Request, station, station),
        hostile.advertise(own, station_v6),
        hostile.solicit(station_v6, own, &[]),
    ];
    let name = "claims to others' addresses";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V4), rate: RATE, frames });
    let routers = [router_v4.to_string(), router_v6.to_string(), link_local.to_string()];
    let believed = stage.neighbours(|row| routers.iter().any(|router| row["address"] == router.as_str()));
    let all = effect.rise("neighbour handed over");
    let refused = effect.rise("router_address_claimed") + effect.rise("address_conflict");
    effect
        .check(believed == 0, format_args!("{believed} neighbours with the router's addresses"))
        .check(refused == all, format_args!("{refused} of {all} were refused"))
        .limited("neighbour")
        .counted_all(&["router_address_claimed", "address_conflict"])
        .counted_none(&["learned", "forgotten"])
        .unanswered()
}

/// Solicitations with options of no length or too great a one, from afar, or for a group.
pub(crate) fn absurd_solicitations(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[1];
    let (own, (_, router)) = (hostile.ipv6(), hostile.routers());
    let options: [&[u8]; 6] = [
        &[253, 0, 0, 0, 0, 0, 0, 0],
        &[253, 2, 0, 0, 0, 0, 0, 0],
        &[253, 255, 0, 0, 0, 0, 0, 0],
        &[1],
        &[1, 0],
        // The last of a hundred.
        &[&UNKNOWN_OPTION.repeat(99)[..], &[253, 0, 0, 0, 0, 0, 0, 0]].concat(),
    ];
    let frames = options.into_iter().map(|options| hostile.solicit(own, router, options)).chain([
        hostile.solicit_at(ndp::solicited_node(router), own, router, ndp::HOP_LIMIT - 1, &[]),
        hostile.solicit_at(ndp::ALL_NODES, own, ndp::ALL_NODES, ndp::HOP_LIMIT, &[]),
    ]);
    let name = "absurd solicitations";
    let frames = frames.collect();
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V6), rate: RATE, frames });
    let all = effect.rise("neighbour handed over");
    effect.limited("neighbour").counted("bad_neighbour", all..=all).counted_none(&["learned"]).unanswered()
}

/// One station with ten thousand addresses.
pub(crate) fn many_addresses(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let (router_v4, router_v6) = hostile.routers();
    let (v4_base, v6_base) = (hostile.site.v4.network().to_bits(), hostile.site.v6.network().to_bits());
    let frames = (0..5000_u32).flat_map(|number| {
        let own_v4 = Ipv4Addr::from_bits(v4_base + 1000 + number);
        let own_v6 = Ipv6Addr::from_bits(v6_base + 1000 + u128::from(number));
        let said = if number % 2 == 0 {
            hostile.solicit(own_v6, router_v6, &[])
        } else {
            hostile.advertise(own_v6, own_v6)
        };
        [hostile.arp(MacAddr::BROADCAST, Request, own_v4, router_v4), said]
    });
    let frames = frames.collect();
    let name = "10 000 addresses of a station";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V4), rate: RATE, frames });
    let mac = hostile.mac.to_string();
    let kept = stage.neighbours(|row| row["mac"] == mac.as_str());
    let learned = effect.rise("learned");
    effect
        .check(kept == ADDRESSES_PER_STATION, format_args!("{kept} addresses are kept"))
        .limited("neighbour")
        .counted("learned", ADDRESSES_PER_STATION as u64 + 1..)
        .counted("forgotten", learned.saturating_sub(ADDRESSES_PER_STATION as u64)..=learned)
}
