//! What an endpoint, or one who claims to be one, may send to the underlay port.

use std::net::IpAddr;

use lab::{Family, ROUTER_MAC, Scene, Site};
use wire::MacAddr;

use crate::frames::*;
use crate::stage::Expect::{Engine, Forwarded, LetIn, Told, Xdp};
use crate::stage::{Case, Expect, FAMILIES, From, MARKER, Stage};
use crate::wires::Fault;

/// MAC address that nobody has.
pub(crate) const STRANGER: MacAddr = MacAddr([2, 0, 0xba, 0xd0, 0xba, 0xd0]);

/// MAC address of a station that no configuration names: one for each case, since it is a stranger only once.
pub(crate) const fn stranger(number: u8) -> MacAddr {
    MacAddr([2, 0, 0xba, 0xd0, 0xba, number])
}

const MULTICAST_MAC: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);

/// One endpoint and its overlay, as they look from outside: what bad frames are made of.
pub(crate) struct Side<'a> {
    pub(crate) stage: &'a Stage,
    /// Family of the outer headers.
    pub(crate) family: Family,
    pub(crate) gateway_mac: MacAddr,
    pub(crate) endpoint_mac: MacAddr,
    /// From the endpoint to the gateway's VTEP.
    pub(crate) outer: Flow,
    pub(crate) site: Site,
    pub(crate) other: Site,
    pub(crate) station_mac: MacAddr,
    pub(crate) other_mac: MacAddr,
    cases: Vec<Case>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(stage: &'a Stage, family: Family) -> Self {
        let scene = &stage.scene;
        let (vtep, endpoint) = stage.vteps(family);
        let (own, other) = match family {
            Family::V4 => (0, 1),
            Family::V6 => (1, 0),
        };
        Self {
            stage,
            family,
            gateway_mac: scene.topology.underlay0.mac,
            endpoint_mac: scene.endpoints[own].nic.mac,
            outer: Flow::new(endpoint, vtep).ports(50_000, VXLAN_PORT),
            site: scene.stations[own].site,
            other: scene.stations[other].site,
            station_mac: scene.stations[own].host.nic.mac,
            other_mac: scene.stations[other].host.nic.mac,
            cases: Vec::new(),
        }
    }

    /// All cases of this endpoint.
    pub(crate) fn cases(mut self) -> Vec<Case> {
        self.outer_frames();
        self.outer_lengths();
        self.outer_fragments();
        self.vxlan_headers();
        for family in FAMILIES {
            self.inner_lengths(family);
            self.inner_frames(family);
            crate::overlay::senders(&mut self, family);
            crate::overlay::destinations(&mut self, family);
        }
        crate::overlay::ipv4(&mut self);
        crate::overlay::neighbour_protocols(&mut self);
        self.cases
    }

    /// Adds a case, whole frame given.
    pub(crate) fn add(&mut self, name: &str, frame: Vec<u8>, expect: Expect) {
        let name = format!("over {:?}: {name}", self.family);
        self.cases.push(Case { name, from: From::Endpoint(self.family), frame, expect });
    }

    /// Adds a case, packet from the outer IP header on given.
    fn add_packet(&mut self, name: &str, packet: &[u8], expect: Expect) {
        let kind = ethertype(self.outer.source);
        self.add(name, ethernet(self.gateway_mac, self.endpoint_mac, kind, packet), expect);
    }

    /// Adds a case, inner frame given.
    pub(crate) fn add_inner(&mut self, name: &str, inner: &[u8], expect: Expect) {
        let packet = self.outer.udp(&vxlan(self.site.vni.value(), inner));
        self.add_packet(name, &packet, expect);
    }

    /// Adds a case, packet from the station to the router given.
    pub(crate) fn add_inner_packet(&mut self, name: &str, packet: &[u8], expect: Expect) {
        let kind = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
        self.add_inner(name, &ethernet(ROUTER_MAC, self.station_mac, kind, packet), expect);
    }

    /// From the station to the outer host.
    pub(crate) fn flow(&self, family: Family) -> Flow {
        let station = self.site.address(family, Scene::STATION);
        Flow::new(station, self.stage.scene.outer_address(family))
    }

    fn inner(&self, family: Family) -> Vec<u8> {
        let packet = self.flow(family).udp(MARKER);
        let kind = ethertype(self.flow(family).source);
        ethernet(ROUTER_MAC, self.station_mac, kind, &packet)
    }

    /// A good packet from the outer IP header on.
    fn packet(&self) -> Vec<u8> {
        self.outer.udp(&vxlan(self.site.vni.value(), &self.inner(self.family)))
    }

    fn frame(&self) -> Vec<u8> {
        ethernet(self.gateway_mac, self.endpoint_mac, ethertype(self.outer.source), &self.packet())
    }

    fn outer_frames(&mut self) {
        let (packet, good) = (self.packet(), self.frame());
        let kind = ethertype(self.outer.source);
        let to = |mac| ethernet(mac, self.endpoint_mac, kind, &packet);
        let frames = [
            ("a good frame", good.clone(), Forwarded("egress")),
            ("a frame for another host, flooded", to(STRANGER), Xdp("foreign_mac")),
            ("a broadcast frame", to(MacAddr::BROADCAST), Xdp("foreign_mac")),
            ("a multicast frame", to(MULTICAST_MAC), Xdp("foreign_mac")),
            ("a frame of a VLAN", tagged(&good, VLAN, 5), Xdp("vlan")),
            ("a frame with a service tag", tagged(&good, QINQ, 5), Xdp("vlan")),
            ("two tags", tagged(&tagged(&good, VLAN, 0), VLAN, 0), Xdp("vlan")),
            ("three tags", tagged(&tagged(&tagged(&good, VLAN, 0), VLAN, 0), VLAN, 0), Xdp("vlan")),
            ("a priority tag", tagged(&good, VLAN, 0xa000), Forwarded("egress")),
        ];
        for (name, frame, expect) in frames {
            self.add(name, frame, expect);
        }
        for family in FAMILIES {
            let overlay = Flow::new(self.outer.source, self.outer.destination);
            let station = self.other.address(family, Scene::STATION);
            let source = self.stage.vteps(family).1;
            let plain = Flow { source, destination: station, ..overlay }.udp(MARKER);
            let frame = ethernet(self.gateway_mac, self.endpoint_mac, ethertype(source), &plain);
            self.add(&format!("{family:?} to a station without VXLAN"), frame, Xdp("block_on_underlay"));
        }
    }

    /// Frames cut off, and length fields that lie.
    fn outer_lengths(&mut self) {
        let (good, packet) = (self.frame(), self.packet());
        let ip = ip_len(self.outer.source);
        let udp = ETHERNET_LEN + ip;
        // With less than the headers it is told by, the XDP program does not know it for VXLAN.
        for len in [ETHERNET_LEN, ETHERNET_LEN + 10, udp - 1, udp, udp + 7] {
            self.add(&format!("cut off after {len} bytes"), good[..len].to_vec(), Xdp("pass"));
        }
        for len in [udp + 8, udp + 15, udp + 16, udp + 29, udp + 40, good.len() - 1] {
            self.add(&format!("cut off after {len} bytes"), good[..len].to_vec(), Engine("truncated"));
        }
        // The UDP length alone ends after every layer.
        for len in [0_u16, 7, 8, 12, 16, 20, 30, 40] {
            let lying = patched(packet.clone(), ip + 4, &len.to_be_bytes());
            self.add_packet(&format!("UDP length {len}"), &lying, Engine("truncated"));
        }
        let lying = patched(packet.clone(), ip + 4, &0xffff_u16.to_be_bytes());
        self.add_packet("UDP length 65535", &lying, Engine("truncated"));
        let version = patched(packet.clone(), 0, &[0x55]);
        self.add_packet("IP version 5", &version, Xdp("pass"));
        if self.outer.source.is_ipv6() {
            for len in [0_u16, 7, 8, 15, 0xffff] {
                let lying = patched(packet.clone(), 4, &len.to_be_bytes());
                self.add_packet(&format!("payload length {len}"), &lying, Engine("truncated"));
            }
            return;
        }
        for len in [0_u16, 19, 20, 27, 28, 35, 0xffff] {
            let lying = ipv4_checked(patched(packet.clone(), 2, &len.to_be_bytes()));
            self.add_packet(&format!("total length {len}"), &lying, Engine("truncated"));
        }
        for words in [0, 4, 15] {
            // The UDP header is sought where it is not.
            let lying = patched(packet.clone(), 0, &[0x40 | words]);
            self.add_packet(&format!("header length {words}"), &lying, Xdp("pass"));
        }
        let wrong = patched(packet.clone(), 10, &[packet[10] ^ 1]);
        self.add_packet("a wrong header checksum", &wrong, Engine("bad_checksum"));
    }

    fn outer_fragments(&mut self) {
        let packet = self.packet();
        let data = packet.len() - ip_len(self.outer.source);
        let later = fragment(&packet, 16, data - 16, false);
        self.add_packet("a later fragment", &later, Xdp("fragment"));
        let (first, tiny, atomic) = match self.family {
            Family::V4 => (Engine("outer_fragment"), Engine("outer_fragment"), Forwarded("egress")),
            Family::V6 => (Xdp("fragment_vxlan"), Xdp("fragment_vxlan"), Xdp("fragment_vxlan")),
        };
        self.add_packet("a first fragment", &fragment(&packet, 0, 40, true), first);
        self.add_packet("a first fragment of 8 bytes", &fragment(&packet, 0, 8, true), tiny);
        self.add_packet("a fragment that is all", &fragment(&packet, 0, data, false), atomic);
    }

    fn vxlan_headers(&mut self) {
        let (own, other) = (self.site.vni.value(), self.other.vni.value());
        let header = |flags, vni| patched(vxlan(vni, &self.inner(self.family)), 0, &[flags]);
        let send = |source, payload: &[u8]| Flow { source, ..self.outer }.udp(payload);
        let source = self.outer.source;
        let stranger: IpAddr = match source {
            IpAddr::V4(_) => [198, 18, 0, 99].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x99].into(),
        };
        let packets = [
            ("no I flag", send(source, &header(0, own)), Engine("no_vni")),
            ("every flag but I", send(source, &header(0xf7, own)), Engine("no_vni")),
            ("VNI 0", send(source, &header(8, 0)), Engine("no_vni")),
            ("reserved flags", send(source, &header(0xff, own)), Forwarded("egress")),
            ("an unknown VNI", send(source, &header(8, 0xff_ffff)), Engine("unknown_vni")),
            ("another endpoint's VNI", send(source, &header(8, other)), Engine("foreign_endpoint")),
            ("an unknown endpoint", send(stranger, &header(8, own)), Engine("unknown_endpoint")),
            (
                "the gateway as endpoint",
                send(self.outer.destination, &header(8, own)),
                Engine("unknown_endpoint"),
            ),
        ];
        for (name, packet, expect) in packets {
            self.add_packet(name, &packet, expect);
        }
    }

    /// Inner frames cut off, the outer headers being right, and inner length fields that lie.
    fn inner_lengths(&mut self, family: Family) {
        let inner = self.inner(family);
        let ip = ip_len(self.flow(family).source);
        let udp = ETHERNET_LEN + ip;
        for len in [0, 13, ETHERNET_LEN, ETHERNET_LEN + 10, udp - 1, udp, udp + 4, inner.len() - 1] {
            let name = format!("inner {family:?} frame of {len} bytes");
            self.add_inner(&name, &inner[..len], Engine("truncated"));
        }
        let packet = inner[ETHERNET_LEN..].to_vec();
        let version = patched(packet.clone(), 0, &[0x55]);
        let kind = if family == Family::V4 { IPV4 } else { IPV6 };
        let frame = ethernet(ROUTER_MAC, self.station_mac, kind, &version);
        self.add_inner(&format!("inner {family:?} with version 5"), &frame, Engine("malformed"));
        match family {
            Family::V4 => {
                for len in [0_u16, 19, packet.len() as u16 + 1, 0xffff] {
                    let lying = ipv4_checked(patched(packet.clone(), 2, &len.to_be_bytes()));
                    self.add_inner_packet(&format!("inner total length {len}"), &lying, Engine("truncated"));
                }
                for words in [0, 4, 15] {
                    let lying = patched(packet.clone(), 0, &[0x40 | words]);
                    let name = format!("inner header length {words}");
                    self.add_inner_packet(&name, &lying, Engine("truncated"));
                }
            }
            Family::V6 => {
                for len in [packet.len() as u16 - 39, 0xffff] {
                    let lying = patched(packet.clone(), 4, &len.to_be_bytes());
                    let name = format!("inner payload length {len}");
                    self.add_inner_packet(&name, &lying, Engine("truncated"));
                }
            }
        }
        // Beyond the IP header lengths are for the two ends to judge, as for any router.
        let lying = patched(packet, ip + 4, &[0xff, 0xff]);
        self.add_inner_packet(
            &format!("inner {family:?} with UDP length 65535"),
            &lying,
            Forwarded("egress"),
        );
        // More than the uplink takes, and not more than the underlay.
        let long = self.flow(family).udp(&[MARKER, &[0; 1460][..]].concat());
        let expect = Told("too_big", Fault::TooBig);
        self.add_inner_packet(&format!("inner {family:?} too big for the uplink"), &long, expect);
    }

    fn inner_frames(&mut self, family: Family) {
        let good = self.inner(family);
        let (kind, packet) = (ethertype(self.flow(family).source), good[ETHERNET_LEN..].to_vec());
        let own = self.station_mac;
        let with = |destination, source| ethernet(destination, source, kind, &packet);
        let frames = [
            ("a tag", tagged(&good, VLAN, 5), Engine("inner_vlan")),
            ("a service tag", tagged(&good, QINQ, 5), Engine("inner_vlan")),
            ("two tags", tagged(&tagged(&good, VLAN, 0), VLAN, 0), Engine("inner_vlan")),
            ("a priority tag", tagged(&good, VLAN, 0xa000), Forwarded("egress")),
            ("half a tag", good[..12].iter().chain(&[0x81, 0, 0]).copied().collect(), Engine("truncated")),
            ("an unknown source MAC", with(ROUTER_MAC, stranger(family as u8)), LetIn("egress")),
            ("the router as source MAC", with(ROUTER_MAC, ROUTER_MAC), Engine("bad_source_mac")),
            ("a group as source MAC", with(ROUTER_MAC, MULTICAST_MAC), Engine("bad_source_mac")),
            ("source MAC zero", with(ROUTER_MAC, MacAddr::ZERO), Engine("bad_source_mac")),
            ("an unknown destination MAC", with(STRANGER, own), Engine("not_for_router")),
            ("the port's destination MAC", with(self.gateway_mac, own), Engine("not_for_router")),
            ("broadcast destination MAC", with(MacAddr::BROADCAST, own), Engine("not_for_router")),
            ("LLDP", ethernet(ROUTER_MAC, own, 0x88cc, &packet), Engine("unknown_ethertype")),
            ("a length for EtherType", ethernet(ROUTER_MAC, own, 60, &packet), Engine("unknown_ethertype")),
            (
                "the other EtherType",
                ethernet(ROUTER_MAC, own, kind ^ IPV4 ^ IPV6, &packet),
                Engine("malformed"),
            ),
        ];
        for (name, frame, expect) in frames {
            self.add_inner(&format!("inner {family:?} frame with {name}"), &frame, expect);
        }
        // Whoever was let in once is none any more.
        if family == self.family {
            let frame = with(ROUTER_MAC, self.other_mac);
            let name = format!("inner {family:?} frame with another overlay's source MAC");
            self.add_inner(&name, &frame, LetIn("egress"));
        }
    }
}
