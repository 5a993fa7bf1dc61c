//! What a station may send to its router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC, Scene};
use wire::MacAddr;

use crate::frames::*;
use crate::stage::Expect::{Engine, Forwarded};
use crate::stage::{Expect, MARKER, Stage};
use crate::underlay::{STRANGER, Side};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL_4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);
const LINK_LOCAL_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
const MAPPED: Ipv6Addr = Ipv4Addr::new(198, 18, 2, 10).to_ipv6_mapped();

fn any(family: Family) -> IpAddr {
    if family == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn loopback(family: Family) -> IpAddr {
    if family == Family::V4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn group(family: Family) -> IpAddr {
    if family == Family::V4 { Ipv4Addr::new(224, 0, 1, 1).into() } else { ALL_NODES.into() }
}

fn link_local(family: Family) -> IpAddr {
    if family == Family::V4 { LINK_LOCAL_4.into() } else { LINK_LOCAL_6.into() }
}

/// An address in a block, and in no overlay.
pub(crate) fn nobodys(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 200, 0, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 200, 0, 0, 0, 1).into(),
    }
}

/// Source addresses that the station does not have.
pub(crate) fn senders(side: &mut Side<'_>, family: Family) {
    let sources = [
        ("another overlay's address", side.other.address(family, Scene::STATION), "spoofed_source"),
        ("an address of no overlay", nobodys(family), "spoofed_source"),
        ("the outer host's address", side.stage.scene.outer_address(family), "spoofed_source"),
        ("the gateway's VTEP address", side.stage.vteps(family).0, "spoofed_source"),
        ("the endpoint's address", side.stage.vteps(family).1, "spoofed_source"),
        ("the router's address", side.site.address(family, 1), "spoofed_source"),
        ("loopback", loopback(family), "spoofed_source"),
        ("a group", group(family), "spoofed_source"),
        ("no address", any(family), "link_local"),
        ("a link-local address", link_local(family), "link_local"),
    ];
    for (name, source, counter) in sources {
        let packet = Flow { source, ..side.flow(family) }.udp(MARKER);
        side.add_inner_packet(&format!("{family:?} from {name}"), &packet, Engine(counter));
    }
    // A request for an address never leaves, to whatever address it goes.
    let (from, to) = if family == Family::V4 { (68, 67) } else { (546, 547) };
    let servers = [("the outer host", side.flow(family).destination), ("all", group(family))];
    for (name, destination) in servers {
        let packet = Flow::new(link_local(family), destination).ports(from, to).udp(MARKER);
        let name = format!("DHCP over {family:?} to {name}");
        side.add_inner_packet(&name, &packet, Engine("to_router"));
        let flooded = ethernet(MacAddr::BROADCAST, side.station_mac, ethertype(destination), &packet);
        side.add_inner(&format!("{name}, flooded"), &flooded, Engine("to_router"));
    }
}

/// Destination addresses that are not in the outer network.
pub(crate) fn destinations(side: &mut Side<'_>, family: Family) {
    let router_link_local = match family {
        Family::V4 => None,
        Family::V6 => {
            Some(("the router's link-local address", IpAddr::V6(ROUTER_MAC.link_local()), "to_router"))
        }
    };
    let mapped = match family {
        Family::V4 => ("everybody", IpAddr::V4(Ipv4Addr::BROADCAST), "bad_destination"),
        Family::V6 => ("an IPv4-mapped address", IpAddr::V6(MAPPED), "bad_destination"),
    };
    let destinations = [
        ("another overlay's station", side.other.address(family, Scene::STATION), "between_overlays"),
        ("another overlay's router", side.other.address(family, 1), "between_overlays"),
        ("an address of no overlay", nobodys(family), "between_overlays"),
        ("its own overlay", side.site.address(family, 77), "same_overlay"),
        ("itself", side.site.address(family, Scene::STATION), "same_overlay"),
        ("the router", side.site.address(family, 1), "to_router"),
        ("the gateway's VTEP address", side.stage.vteps(family).0, "to_host"),
        ("the gateway's uplink address", Stage::uplink_address(family), "to_host"),
        ("loopback", loopback(family), "bad_destination"),
        ("a group", group(family), "bad_destination"),
        ("no address", any(family), "bad_destination"),
        ("a link-local address", link_local(family), "link_local"),
        mapped,
    ];
    for (name, destination, counter) in destinations.into_iter().chain(router_link_local) {
        let packet = Flow { destination, ..side.flow(family) }.udp(MARKER);
        side.add_inner_packet(&format!("{family:?} to {name}"), &packet, Engine(counter));
    }
    // To come back as another endpoint.
    let (vtep, endpoint) = side.stage.vteps(family);
    let nested =
        Flow::new(endpoint, vtep).ports(50_000, VXLAN_PORT).udp(&vxlan(side.other.vni.value(), MARKER));
    side.add_inner_packet(&format!("{family:?}: VXLAN in VXLAN"), &nested, Engine("spoofed_source"));
    for ttl in [0, 1] {
        let packet = side.flow(family).ttl(ttl).udp(MARKER);
        side.add_inner_packet(&format!("{family:?} with TTL {ttl}"), &packet, Engine("ttl_exceeded"));
    }
}

/// Options and the checksum of IPv4.
pub(crate) fn ipv4(side: &mut Side<'_>) {
    let good = side.flow(Family::V4).udp(MARKER);
    for (name, options, expect) in options("egress") {
        side.add_inner_packet(&format!("IPv4 with {name}"), &with_options(&good, options), expect);
    }
    let wrong = patched(good.clone(), 10, &[good[10] ^ 1]);
    side.add_inner_packet("IPv4 with a wrong header checksum", &wrong, Engine("bad_checksum"));
    // Inside overlays fragments are allowed: only the receiver puts them together.
    let long = side.flow(Family::V4).udp(&[MARKER; 3].concat());
    side.add_inner_packet("a first IPv4 fragment", &fragment(&long, 0, 32, true), Forwarded("egress"));
    side.add_inner_packet("a last IPv4 fragment", &fragment(&long, 8, 48, false), Forwarded("egress"));
}

/// IPv4 options, and what becomes of packets with them. (What lies about its own length is the receiver's business.)
pub(crate) fn options(forwarded: &'static str) -> [(&'static str, &'static [u8], Expect); 6] {
    [
        ("no-operations", &[1, 1, 1, 0], Forwarded(forwarded)),
        ("a router alert", &[0x94, 4, 0, 0], Forwarded(forwarded)),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], Forwarded(forwarded)),
        ("a loose source route", &[0x83, 7, 4, 198, 18, 2, 10, 0], Engine("source_route")),
        ("a strict source route", &[0x89, 7, 4, 198, 18, 2, 10, 0], Engine("source_route")),
        ("a source route behind others", &[1, 0x94, 4, 0, 0, 0x83, 3, 4], Engine("source_route")),
    ]
}

/// ARP and neighbour discovery that nobody may believe: it reaches the slow path, and is not answered.
pub(crate) fn neighbour_protocols(side: &mut Side<'_>) {
    let (own, router) = (side.site.address(Family::V4, Scene::STATION), side.site.address(Family::V4, 1));
    let foreign = side.other.address(Family::V4, Scene::STATION);
    let mac = side.station_mac;
    let requests = [
        ("for another station", arp(1, mac, own, side.site.address(Family::V4, 77))),
        ("for another overlay's router", arp(1, mac, own, side.other.address(Family::V4, 1))),
        ("for the outer host", arp(1, mac, own, side.stage.scene.outer_address(Family::V4))),
        ("from another overlay", arp(1, mac, foreign, router)),
        ("with a sender that is not its source", arp(1, STRANGER, own, router)),
        ("that announces the router's address", arp(1, mac, router, router)),
        ("that answers nobody", arp(2, mac, own, router)),
        ("of an unknown kind", arp(7, mac, own, router)),
        ("for another protocol", patched(arp(1, mac, own, router), 2, &[0x86, 0xdd])),
        ("with lying lengths", patched(arp(1, mac, own, router), 4, &[255, 255])),
        ("cut off", arp(1, mac, own, router)[..27].to_vec()),
        ("without content", Vec::new()),
    ];
    for (name, request) in requests {
        for to in [MacAddr::BROADCAST, ROUTER_MAC] {
            let frame = ethernet(to, mac, ARP, &request);
            side.add_inner(&format!("ARP {name} to {to}"), &frame, Engine("arp"));
        }
    }
    let frame = ethernet(MacAddr::BROADCAST, STRANGER, ARP, &arp(1, STRANGER, own, router));
    side.add_inner("ARP of an unknown station", &frame, Engine("unknown_station"));

    let own = ipv6(side.site.address(Family::V6, Scene::STATION));
    let router = ipv6(side.site.address(Family::V6, 1));
    let foreign = ipv6(side.other.address(Family::V6, Scene::STATION));
    let foreign_router = ipv6(side.other.address(Family::V6, 1));
    let ask = |source: Ipv6Addr| Flow::new(source.into(), router.into()).ttl(255);
    // Reserved (4 bytes), target, source link-layer address.
    let body = |target: Ipv6Addr| [&[0; 4][..], &target.octets(), &[1, 1], &mac.0].concat();
    let good = ask(own).icmpv6(135, &body(router));
    let redirect = [&[0; 4][..], &own.octets(), &foreign.octets()].concat();
    let spoilt = patched(good.clone(), 42, &[good[42] ^ 1]);
    let messages = [
        ("a solicitation that a router passed on", ask(own).ttl(254).icmpv6(135, &body(router))),
        ("a solicitation with a wrong checksum", spoilt),
        ("a solicitation for another overlay's router", ask(own).icmpv6(135, &body(foreign_router))),
        ("a solicitation for a group", ask(own).icmpv6(135, &body(ALL_NODES))),
        ("a solicitation from another overlay", ask(foreign).icmpv6(135, &body(router))),
        ("a solicitation from the router", ask(router).icmpv6(135, &body(router))),
        ("a solicitation cut off", ask(own).icmpv6(135, &body(router)[..12])),
        ("a solicitation with an option of length 0", ask(own).icmpv6(135, &patched(body(router), 21, &[0]))),
        ("a solicitation with an option too long", ask(own).icmpv6(135, &patched(body(router), 21, &[9]))),
        ("an advertisement of the router's address", ask(own).icmpv6(136, &body(router))),
        ("a router advertisement", ask(own).icmpv6(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a redirect", ask(own).icmpv6(137, &redirect)),
        ("a redirect without content", ask(own).icmpv6(137, &[])),
    ];
    for (name, message) in messages {
        side.add_inner_packet(&format!("ND: {name}"), &message, Engine("ndp"));
    }
    let short = ask(own).ip(ICMPV6, &[135, 0]);
    side.add_inner_packet("ND: two bytes of a solicitation", &short, Engine("to_router"));
    let out = Flow { ttl: 255, ..side.flow(Family::V6) }.icmpv6(137, &redirect);
    side.add_inner_packet("ND: a redirect to the outer host", &out, Engine("ndp"));
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("{address} is no IPv6 address"),
    }
}

/// An ARP packet for IPv4 over Ethernet.
fn arp(operation: u16, mac: MacAddr, sender: IpAddr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (sender, target) else { panic!("ARP for IPv6") };
    let header = [0, 1, 8, 0, 6, 4];
    let parts = [&header[..], &operation.to_be_bytes(), &mac.0, &sender.octets(), &[0; 6], &target.octets()];
    parts.concat()
}
