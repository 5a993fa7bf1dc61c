//! What a neighbour may send to the uplink port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::{Family, ROUTER_MAC, Scene};
use wire::MacAddr;

use crate::frames::*;
use crate::overlay::{nobodys, options};
use crate::stage::Expect::{Asked, Engine, Forwarded, Told, Xdp};
use crate::stage::{Case, Expect, FAMILIES, From, MARKER, Stage};
use crate::underlay::STRANGER;
use crate::wires::Fault;

/// All cases.
pub(crate) fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases = Vec::new();
    // The overlay behind the endpoint over IPv4, and that behind the one over IPv6.
    for station in 0..2 {
        for family in FAMILIES {
            Uplink { stage, station, family, cases: &mut cases }.add_all();
        }
    }
    cases
}

struct Uplink<'a> {
    stage: &'a Stage,
    station: usize,
    /// Family of the packets.
    family: Family,
    cases: &'a mut Vec<Case>,
}

impl Uplink<'_> {
    fn add_all(&mut self) {
        self.frames();
        self.lengths();
        self.sources();
        self.destinations();
        self.headers();
    }

    fn add(&mut self, name: &str, frame: Vec<u8>, expect: Expect) {
        let vni = self.stage.scene.stations[self.station].site.vni;
        let name = format!("from the uplink over {:?} to {vni}: {name}", self.family);
        self.cases.push(Case { name, from: From::Neighbour, frame, expect });
    }

    fn add_packet(&mut self, name: &str, packet: &[u8], expect: Expect) {
        let frame = self.frame_to(self.gateway_mac(), packet);
        self.add(name, frame, expect);
    }

    fn gateway_mac(&self) -> MacAddr {
        self.stage.scene.topology.uplink0.mac
    }

    fn frame_to(&self, destination: MacAddr, packet: &[u8]) -> Vec<u8> {
        let kind = if self.family == Family::V4 { IPV4 } else { IPV6 };
        ethernet(destination, self.stage.scene.neighbour.nic.mac, kind, packet)
    }

    /// From the outer host to the station.
    fn flow(&self) -> Flow {
        let station = &self.stage.scene.stations[self.station];
        Flow::new(self.stage.scene.outer_address(self.family), station.address(self.family))
    }

    fn frames(&mut self) {
        let packet = self.flow().udp(MARKER);
        let good = self.frame_to(self.gateway_mac(), &packet);
        let (vtep, endpoint) = self.stage.vteps(self.family);
        let vni = self.stage.scene.stations[self.station].site.vni.value();
        let inner = ethernet(ROUTER_MAC, STRANGER, IPV4, MARKER);
        let tunnel = Flow::new(endpoint, vtep).ports(50_000, VXLAN_PORT).udp(&vxlan(vni, &inner));
        let frames = [
            ("a good frame", good.clone(), Forwarded("ingress")),
            ("VXLAN", self.frame_to(self.gateway_mac(), &tunnel), Xdp("vxlan_on_uplink")),
            ("VXLAN for another host", self.frame_to(STRANGER, &tunnel), Xdp("foreign_mac")),
            ("a frame for another host, flooded", self.frame_to(STRANGER, &packet), Xdp("foreign_mac")),
            ("a broadcast frame", self.frame_to(MacAddr::BROADCAST, &packet), Xdp("foreign_mac")),
            ("a frame of a VLAN", tagged(&good, VLAN, 5), Xdp("vlan")),
            ("a frame with a service tag", tagged(&good, QINQ, 5), Xdp("vlan")),
            ("two tags", tagged(&tagged(&good, VLAN, 0), VLAN, 0), Xdp("vlan")),
            ("a priority tag", tagged(&good, VLAN, 0xa000), Forwarded("ingress")),
        ];
        for (name, frame, expect) in frames {
            self.add(name, frame, expect);
        }
    }

    fn lengths(&mut self) {
        let packet = self.flow().udp(MARKER);
        let good = self.frame_to(self.gateway_mac(), &packet);
        let ip = ip_len(self.flow().source);
        for len in [ETHERNET_LEN, ETHERNET_LEN + 10, ETHERNET_LEN + ip - 1] {
            self.add(&format!("cut off after {len} bytes"), good[..len].to_vec(), Xdp("pass"));
        }
        for len in [ETHERNET_LEN + ip, ETHERNET_LEN + ip + 4, good.len() - 1] {
            self.add(&format!("cut off after {len} bytes"), good[..len].to_vec(), Engine("truncated"));
        }
        let version = patched(packet.clone(), 0, &[0x55]);
        self.add_packet("IP version 5", &version, Xdp("pass"));
        let lying = patched(packet.clone(), ip + 4, &[0xff, 0xff]);
        self.add_packet("UDP length 65535", &lying, Forwarded("ingress"));
        match self.family {
            Family::V4 => {
                for len in [0_u16, 19, packet.len() as u16 + 1, 0xffff] {
                    let lying = ipv4_checked(patched(packet.clone(), 2, &len.to_be_bytes()));
                    self.add_packet(&format!("total length {len}"), &lying, Engine("truncated"));
                }
                for words in [0, 4, 15] {
                    let lying = patched(packet.clone(), 0, &[0x40 | words]);
                    self.add_packet(&format!("header length {words}"), &lying, Engine("truncated"));
                }
            }
            Family::V6 => {
                for len in [packet.len() as u16 - 39, 0xffff] {
                    let lying = patched(packet.clone(), 4, &len.to_be_bytes());
                    self.add_packet(&format!("payload length {len}"), &lying, Engine("truncated"));
                }
            }
        }
    }

    fn sources(&mut self) {
        let stations = &self.stage.scene.stations;
        let (own, other) = (stations[self.station].site, stations[1 - self.station].site);
        let overlay = [
            ("the station itself", own.address(self.family, Scene::STATION)),
            ("another of its overlay", own.address(self.family, 77)),
            ("its router", own.address(self.family, 1)),
            ("a station of another overlay", other.address(self.family, Scene::STATION)),
            ("an address of no overlay", nobodys(self.family)),
        ];
        for (name, source) in overlay {
            let packet = Flow { source, ..self.flow() }.udp(MARKER);
            self.add_packet(&format!("from {name}"), &packet, Engine("overlay_source"));
        }
        let martians: [IpAddr; 5] = match self.family {
            Family::V4 => [
                Ipv4Addr::UNSPECIFIED.into(),
                Ipv4Addr::LOCALHOST.into(),
                Ipv4Addr::BROADCAST.into(),
                [224, 0, 0, 1].into(),
                [169, 254, 7, 7].into(),
            ],
            Family::V6 => [
                Ipv6Addr::UNSPECIFIED.into(),
                Ipv6Addr::LOCALHOST.into(),
                [0xff02, 0, 0, 0, 0, 0, 0, 1].into(),
                [0xfe80, 0, 0, 0, 0, 0, 0, 7].into(),
                Ipv4Addr::new(198, 18, 2, 10).to_ipv6_mapped().into(),
            ],
        };
        for source in martians {
            let packet = Flow { source, ..self.flow() }.udp(MARKER);
            self.add_packet(&format!("from {source}"), &packet, Engine("martian_source"));
        }
    }

    fn destinations(&mut self) {
        let site = self.stage.scene.stations[self.station].site;
        // The first address of an IPv6 subnet is no station's either (RFC 4291 section 2.6.1); the last is one like others.
        let edge = Engine("directed_broadcast");
        let last = if self.family == Family::V4 { edge } else { Asked };
        let destinations = [
            ("the router of an overlay", site.address(self.family, 1), Told("to_router", Fault::NoPort)),
            ("nobody in an overlay", site.address(self.family, 99), Asked),
            ("the last address of an overlay", site.address(self.family, 255), last),
            ("the first address of an overlay", site.address(self.family, 0), edge),
            ("a block, but no overlay", nobodys(self.family), Engine("no_overlay")),
        ];
        for (name, destination, expect) in destinations {
            let packet = Flow { destination, ..self.flow() }.udp(MARKER);
            self.add_packet(&format!("to {name}"), &packet, expect);
        }
    }

    fn headers(&mut self) {
        let good = self.flow().udp(MARKER);
        for ttl in [0, 1] {
            let packet = self.flow().ttl(ttl).udp(MARKER);
            self.add_packet(&format!("with TTL {ttl}"), &packet, Told("ttl_exceeded", Fault::TimeExceeded));
        }
        let last = self.flow().ttl(2).udp(MARKER);
        self.add_packet("with TTL 2", &last, Forwarded("ingress"));
        if self.family == Family::V6 {
            return;
        }
        for (name, options, expect) in options("ingress") {
            self.add_packet(&format!("with {name}"), &with_options(&good, options), expect);
        }
        let wrong = patched(good.clone(), 10, &[good[10] ^ 1]);
        self.add_packet("with a wrong header checksum", &wrong, Engine("bad_checksum"));
        let long = self.flow().udp(&[MARKER; 3].concat());
        self.add_packet("a first fragment", &fragment(&long, 0, 32, true), Forwarded("ingress"));
        self.add_packet("a last fragment", &fragment(&long, 8, 48, false), Forwarded("ingress"));
    }
}
