//! A station that plays router and DHCP server.

use std::net::{Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC};
use wire::{MacAddr, dhcpv4, dhcpv6, ndp};

use crate::dhcp::{message_v4, message_v6};
use crate::effect::Effect;
use crate::frames::{Flow, link_layer};
use crate::stage::{Attack, From, RATE, Stage};

/// DHCPv4 message types (RFC 2132 §9.6).
const OFFER: u8 = 2;
const ACK: u8 = 5;
/// DHCPv6 message types (RFC 8415 §7.3).
const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

/// Router advertisements, redirects, and what only DHCP servers say.
pub(crate) fn play(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[1];
    let (own_v4, link_local, router_link_local) =
        (hostile.ipv4(), hostile.mac.link_local(), ROUTER_MAC.link_local());
    let [router_v4, _] = hostile.site.routers();
    let station = &stage.scene.stations[1];
    let station_mac = station.host.nic.mac;

    // Hop limit, flags, lifetimes of 30 minutes; the prefix of another overlay, for addresses to be made of.
    let lifetimes = [&[64, 0xc0, 7, 8][..], &[0; 8]].concat();
    let prefix =
        [&[3, 4, 64, 0xc0][..], &[0xff; 8], &[0; 4], &stage.hostile[0].site.v6.network().octets()].concat();
    let advertisement = [&lifetimes[..], &link_layer(1, hostile.mac), &prefix].concat();
    let to_all = Flow::new(link_local, ndp::ALL_NODES).ttl(ndp::HOP_LIMIT);
    let all_nodes = ndp::multicast_mac(ndp::ALL_NODES);
    let advertisement = to_all.icmp(ndp::ROUTER_ADVERTISEMENT, 0, &advertisement);

    let redirect = [&[0; 4][..], &link_local.octets(), &Ipv6Addr::LOCALHOST.octets()].concat();
    let from_router = Flow::new(router_link_local, ndp::ALL_NODES).ttl(ndp::HOP_LIMIT);
    let redirects = [
        (all_nodes, to_all.icmp(ndp::REDIRECT, 0, &redirect)),
        (ROUTER_MAC, Flow { to: router_link_local.into(), ..to_all }.icmp(ndp::REDIRECT, 0, &redirect)),
        (
            station_mac,
            Flow { to: station.address(Family::V6), ..from_router }.icmp(ndp::REDIRECT, 0, &redirect),
        ),
        (ROUTER_MAC, Flow::new(own_v4, router_v4).icmp(5, 1, &own_v4.octets())),
    ];

    let (server_v4, client_v4) = (dhcpv4::SERVER_PORT, dhcpv4::CLIENT_PORT);
    let (server_v6, client_v6) = (dhcpv6::SERVER_PORT, dhcpv6::CLIENT_PORT);
    let offers = [OFFER, ACK].into_iter().flat_map(|kind| {
        let message = message_v4(2, station_mac, &[53, 1, kind, 255]);
        [
            (MacAddr::BROADCAST, Flow::new(own_v4, Ipv4Addr::BROADCAST).udp(server_v4, client_v4, &message)),
            (ROUTER_MAC, Flow::new(own_v4, router_v4).udp(server_v4, client_v4, &message)),
            (ROUTER_MAC, Flow::new(own_v4, router_v4).udp(server_v4, server_v4, &message)),
        ]
    });
    let replies = [ADVERTISE, REPLY].into_iter().flat_map(|kind| {
        let message = message_v6(kind, &[]);
        let to_router = Flow::new(link_local, router_link_local);
        let to_station = Flow::new(link_local, station_mac.link_local());
        [
            (station_mac, to_station.udp(server_v6, client_v6, &message)),
            (ROUTER_MAC, to_router.udp(server_v6, client_v6, &message)),
            (ROUTER_MAC, to_router.udp(server_v6, server_v6, &message)),
        ]
    });

    let packets = [(all_nodes, advertisement.clone()), (ROUTER_MAC, advertisement)];
    let packets = packets.into_iter().chain(redirects).chain(offers).chain(replies);
    let frames = packets.map(|(to, packet)| hostile.send(to, &packet)).collect();
    let name = "a station plays router and server";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V6), rate: RATE, frames });
    effect
        .limited("neighbour")
        .limited("host")
        .counted_all(&["rogue_advertisement", "redirect", "dhcp_refused", "not_served", "not_for_router"])
        .counted_none(&["dhcp_relayed", "dhcp_replied", "learned"])
        .unanswered()
}
