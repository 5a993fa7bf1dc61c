//! What a station may send to its router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC, Scene};
use wire::MacAddr;

use crate::frames::*;
use crate::stage::Expect::{Asked, Engine, Forwarded, Heard, LetIn, Told};
use crate::stage::{Expect, MARKER, Stage};
use crate::underlay::{STRANGER, Side, stranger};
use crate::wires::Fault;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL_4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);
const LINK_LOCAL_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
const MAPPED: Ipv6Addr = Ipv4Addr::new(198, 18, 2, 10).to_ipv6_mapped();

/// DHCP that is none, or that no server is configured for.
const DHCP_REFUSED: Expect = Heard("dhcp", Some("dhcp_refused"));

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
        side.add_inner_packet(&name, &packet, DHCP_REFUSED);
        let flooded = ethernet(MacAddr::BROADCAST, side.station_mac, ethertype(destination), &packet);
        side.add_inner(&format!("{name}, flooded"), &flooded, DHCP_REFUSED);
    }
}

/// Destination addresses that are not in the outer network.
pub(crate) fn destinations(side: &mut Side<'_>, family: Family) {
    let router_link_local = match family {
        Family::V4 => None,
        Family::V6 => {
            let address = IpAddr::V6(ROUTER_MAC.link_local());
            Some(("the router's link-local address", address, Told("to_router", Fault::NoPort)))
        }
    };
    let mapped = match family {
        Family::V4 => ("everybody", IpAddr::V4(Ipv4Addr::BROADCAST)),
        Family::V6 => ("an IPv4-mapped address", IpAddr::V6(MAPPED)),
    };
    let prohibited = Told("between_overlays", Fault::Prohibited);
    let destinations = [
        ("another overlay's station", side.other.address(family, Scene::STATION), prohibited),
        ("another overlay's router", side.other.address(family, 1), prohibited),
        ("nobody in another overlay", side.other.address(family, 77), prohibited),
        ("an address of no overlay", nobodys(family), Told("no_route", Fault::NoRoute)),
        ("nobody in its own overlay", side.site.address(family, 77), Asked),
        ("itself", side.site.address(family, Scene::STATION), Forwarded("across")),
        ("the router", side.site.address(family, 1), Told("to_router", Fault::NoPort)),
        ("the gateway's VTEP address", side.stage.vteps(family).0, Engine("to_host")),
        ("the gateway's uplink address", Stage::uplink_address(family), Engine("to_host")),
        ("loopback", loopback(family), Engine("bad_destination")),
        ("a group", group(family), Engine("bad_destination")),
        ("no address", any(family), Engine("bad_destination")),
        ("a link-local address", link_local(family), Engine("link_local")),
        (mapped.0, mapped.1, Engine("bad_destination")),
    ];
    for (name, destination, expect) in destinations.into_iter().chain(router_link_local) {
        let packet = Flow { destination, ..side.flow(family) }.udp(MARKER);
        side.add_inner_packet(&format!("{family:?} to {name}"), &packet, expect);
    }
    if family == Family::V4 {
        for (name, number) in [("network", 0), ("broadcast", 255)] {
            let destination = side.site.address(family, number);
            let packet = Flow { destination, ..side.flow(family) }.udp(MARKER);
            let name = format!("{family:?} to its overlay's {name} address");
            side.add_inner_packet(&name, &packet, Engine("directed_broadcast"));
        }
    }
    // To come back as another endpoint.
    let (vtep, endpoint) = side.stage.vteps(family);
    let nested =
        Flow::new(endpoint, vtep).ports(50_000, VXLAN_PORT).udp(&vxlan(side.other.vni.value(), MARKER));
    side.add_inner_packet(&format!("{family:?}: VXLAN in VXLAN"), &nested, Engine("spoofed_source"));
    for ttl in [0, 1] {
        let packet = side.flow(family).ttl(ttl).udp(MARKER);
        let expect = Told("ttl_exceeded", Fault::TimeExceeded);
        side.add_inner_packet(&format!("{family:?} with TTL {ttl}"), &packet, expect);
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
        ("for another station", arp(1, mac, own, side.site.address(Family::V4, 77)), None),
        ("for another overlay's router", arp(1, mac, own, side.other.address(Family::V4, 1)), None),
        ("for the outer host", arp(1, mac, own, side.stage.scene.outer_address(Family::V4)), None),
        ("from another overlay", arp(1, mac, foreign, router), Some("bad_neighbour")),
        ("with a sender that is not its source", arp(1, STRANGER, own, router), Some("bad_neighbour")),
        ("that announces the router's address", arp(1, mac, router, router), Some("router_address_claimed")),
        ("that answers nobody", arp(2, mac, own, router), None),
        ("of an unknown kind", arp(7, mac, own, router), None),
        ("for another protocol", patched(arp(1, mac, own, router), 2, &[0x86, 0xdd]), Some("bad_neighbour")),
        ("with lying lengths", patched(arp(1, mac, own, router), 4, &[255, 255]), Some("bad_neighbour")),
        ("cut off", arp(1, mac, own, router)[..27].to_vec(), Some("bad_neighbour")),
        ("without content", Vec::new(), Some("bad_neighbour")),
    ];
    for (name, request, deed) in requests {
        for to in [MacAddr::BROADCAST, ROUTER_MAC] {
            let frame = ethernet(to, mac, ARP, &request);
            side.add_inner(&format!("ARP {name} to {to}"), &frame, Heard("arp", deed));
        }
    }
    // For somebody else than the router, which would answer.
    let (visitor, nobody) = (stranger(10), side.site.address(Family::V4, 77));
    let frame = ethernet(MacAddr::BROADCAST, visitor, ARP, &arp(1, visitor, own, nobody));
    side.add_inner("ARP of an unknown station", &frame, LetIn("arp"));

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
        (
            "a solicitation that a router passed on",
            ask(own).ttl(254).icmpv6(135, &body(router)),
            Some("bad_neighbour"),
        ),
        ("a solicitation with a wrong checksum", spoilt, Some("bad_neighbour")),
        ("a solicitation for another overlay's router", ask(own).icmpv6(135, &body(foreign_router)), None),
        ("a solicitation for a group", ask(own).icmpv6(135, &body(ALL_NODES)), Some("bad_neighbour")),
        (
            "a solicitation from another overlay",
            ask(foreign).icmpv6(135, &body(router)),
            Some("bad_neighbour"),
        ),
        (
            "a solicitation from the router",
            ask(router).icmpv6(135, &body(router)),
            Some("router_address_claimed"),
        ),
        ("a solicitation cut off", ask(own).icmpv6(135, &body(router)[..12]), Some("bad_neighbour")),
        (
            "a solicitation with an option of length 0",
            ask(own).icmpv6(135, &patched(body(router), 21, &[0])),
            Some("bad_neighbour"),
        ),
        (
            "a solicitation with an option too long",
            ask(own).icmpv6(135, &patched(body(router), 21, &[9])),
            Some("bad_neighbour"),
        ),
        (
            "an advertisement of the router's address",
            ask(own).icmpv6(136, &body(router)),
            Some("router_address_claimed"),
        ),
        (
            "a router advertisement",
            ask(own).icmpv6(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
            Some("rogue_advertisement"),
        ),
        ("a redirect", ask(own).icmpv6(137, &redirect), Some("redirect")),
        ("a redirect without content", ask(own).icmpv6(137, &[]), Some("redirect")),
    ];
    for (name, message, deed) in messages {
        side.add_inner_packet(&format!("ND: {name}"), &message, Heard("ndp", deed));
    }
    let short = ask(own).ip(ICMPV6, &[135, 0]);
    side.add_inner_packet("ND: two bytes of a solicitation", &short, Heard("to_router", Some("not_served")));
    let out = Flow { ttl: 255, ..side.flow(Family::V6) }.icmpv6(137, &redirect);
    side.add_inner_packet("ND: a redirect to the outer host", &out, Heard("ndp", Some("redirect")));
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
