//! The steps of a frame's way in words. They stand in the order of the pipeline and end where its verdict does.

use std::fmt::Display;
use std::net::IpAddr;

use wire::ethernet;
use wire::{EtherType, IpProtocol, Vni};

use super::headers::Headers;
use super::{Step, Tapped};
use crate::api::{Action, Overlay, PortIndex, RateLimit, Role};
use crate::counters::Reason;
use crate::pipeline::decapsulate::{Expected, Outer};
use crate::pipeline::ip::IpHeader;
use crate::pipeline::link::Link;
use crate::pipeline::question::Question;
use crate::pipeline::{Forwarded, Verdict, filter, flow};
use crate::tables::flow::{Flow, FlowKey, View};
use crate::tables::{Onward, OverlayIndex, Snapshot, Way};

/// What there is to tell from.
pub(super) struct Scene<'a> {
    pub(super) tables: &'a Snapshot,
    pub(super) flows: &'a View<'a>,
    /// By [`PortIndex`].
    pub(super) interfaces: &'a [&'a str],
    pub(super) tapped: &'a Tapped,
}

/// The steps up to the one that `reason` comes from, and the VNI. `sent` is the frame after its rewriting, if it was.
pub(super) fn tell(
    scene: &Scene<'_>,
    verdict: Verdict,
    reason: Reason,
    sent: &[u8],
) -> (Option<Vni>, Vec<Step>) {
    let mut story = Story { scene, until: "", vni: None, flow: 0, steps: Vec::new() };
    // `None`: the story ended early, as most do.
    let _ = match story.is_from_underlay() {
        _ if reason == Reason::ShardQuestion => story.tell_question(),
        true => story.tell_outward(reason),
        false => story.tell_inward(reason),
    };
    if let Verdict::Transmit(forwarded) = verdict {
        story.sent(&forwarded, sent);
    }
    (story.vni, story.steps)
}

/// The step of a frame from the underlay that a reason comes from. Those that are not here are of the frame's bytes
/// alone, and end the story where these are told.
fn last_step_out(reason: Reason, source: IpAddr) -> &'static str {
    match reason {
        Reason::UnknownVni => "overlay",
        Reason::ForeignVtep => "vtep",
        Reason::NotOwner => "owner",
        Reason::UnknownEndpoint | Reason::ForeignEndpoint | Reason::WrongEndpoint => "endpoint",
        Reason::UnknownStation => "station",
        Reason::SpoofedSource | Reason::Dhcp => "source",
        Reason::LinkLocal if crate::pipeline::ip::is_link_local(source) || source.is_unspecified() => {
            "source"
        }
        Reason::Congestion => "ecn",
        Reason::LinkLocal | Reason::NoRoute | Reason::ToHost | Reason::BadDestination => "route",
        Reason::ToRouter | Reason::NoNeighbour => "route",
        Reason::TtlExceeded => "hops",
        Reason::BetweenOverlays | Reason::RuleReject | Reason::RuleDrop => "rules",
        Reason::Unresolved | Reason::DirectedBroadcast => "receiver",
        Reason::Resolving => "neighbour",
        Reason::TooBig | Reason::Fragmented => "mtu",
        Reason::OverLimit => "limit",
        _ => "",
    }
}

/// The same of a packet from the uplink.
fn last_step_in(reason: Reason) -> &'static str {
    match reason {
        Reason::OverlaySource | Reason::MartianSource => "source",
        Reason::NoOverlay | Reason::ToRouter | Reason::DirectedBroadcast | Reason::Unresolved => "receiver",
        Reason::TtlExceeded => "hops",
        Reason::NoRoute | Reason::NoNeighbour => "endpoint",
        Reason::TooBig | Reason::Fragmented => "mtu",
        Reason::OverLimit => "limit",
        _ => "",
    }
}

struct Story<'a> {
    scene: &'a Scene<'a>,
    /// The last step to be told.
    until: &'static str,
    vni: Option<Vni>,
    /// What paths are chosen by, once the packet was read.
    flow: u16,
    steps: Vec<Step>,
}

impl<'a> Story<'a> {
    fn is_from_underlay(&self) -> bool {
        let Scene { tables, tapped, .. } = self.scene;
        match tables.fixed.port(tapped.port).role {
            Role::Underlay => true,
            Role::Uplink => false,
            Role::Both => {
                let expected = Expected::new(tables, tapped.port);
                !matches!(Outer::parse(&expected, &tapped.frame), Err(Reason::NotVxlan))
            }
        }
    }

    /// Tells a step; `None` if it was the last.
    fn step(&mut self, name: &'static str, detail: impl Display) -> Option<()> {
        self.steps.push(Step { name, detail: detail.to_string() });
        (name != self.until).then_some(())
    }

    /// The same of one that was not passed: the last in any case.
    fn refused<T>(&mut self, name: &'static str, reason: Reason) -> Option<T> {
        self.steps.push(Step { name, detail: format!("refused: {}", reason.name()) });
        None
    }

    fn interface(&self, port: PortIndex) -> &'a str {
        self.scene.interfaces.get(usize::from(port.0)).copied().unwrap_or("?")
    }

    /// Of a frame from the underlay.
    fn tell_outward(&mut self, reason: Reason) -> Option<()> {
        let Scene { tables, flows, tapped, .. } = *self.scene;
        let frame = tapped.frame.as_slice();
        self.received()?;
        let expected = Expected::new(tables, tapped.port);
        let outer = match Outer::parse(&expected, frame) {
            Ok(outer) => outer,
            Err(reason) => return self.refused("decapsulate", reason),
        };
        self.vni = Some(outer.vni);
        self.step(
            "decapsulate",
            format!("VXLAN from {}, VNI {}, ECN {:02b}", outer.endpoint, outer.vni, outer.ecn),
        )?;
        let inner = &frame[outer.inner.into()..outer.end.into()];
        let link = Link::parse(inner, Reason::InnerVlan);
        let header =
            link.as_ref().ok().and_then(|link| IpHeader::parse(link.ethertype, link.payload_of(inner)).ok());
        let source = header.map_or(IpAddr::from([0; 4]), |header| header.source);
        self.until = last_step_out(reason, source);

        let Some(overlay) = tables.overlays.by_vni(outer.vni) else {
            return self.step("overlay", format!("no overlay has VNI {}", outer.vni));
        };
        let record = tables.overlays.get(overlay);
        self.step("overlay", describe_overlay(record))?;
        if !tables.is_vtep_of(overlay, &outer, frame) {
            return self
                .step("vtep", format!("{} is that of another shard than the overlay's", outer.vtep(frame)));
        }
        self.endpoint(overlay, outer.endpoint)?;
        let link = match link {
            Ok(link) => link,
            Err(reason) => return self.refused("inner", reason),
        };
        let audience = match link.destination {
            mac if mac == tables.fixed.router_mac => "the router",
            mac if record.own_mac == Some(mac) => "this gateway",
            mac if mac.is_multicast() => "a group",
            _ => "another station",
        };
        self.step("inner", format!("{} to {} ({audience})", link.source, link.destination))?;
        let station = flows.get(FlowKey::mac(outer.vni, link.source));
        self.step("station", self.describe_station(&link, &outer, station.as_ref()))?;
        if link.destination == tables.fixed.router_mac && !tables.overlays.is_owner(overlay) {
            let what = if reason == Reason::NotOwner { "forwards" } else { "is to forward" };
            self.step("owner", format!("is another gateway, which {what} it"))?;
        }
        let packet = link.payload_of(inner);
        let header = self.packet(&link, packet)?;
        if matches!(reason, Reason::Ndp | Reason::NotForRouter | Reason::BadSourceMac) {
            return None;
        }
        let is_stations = tables.overlays.is_station_source(overlay, header.source);
        let not = if is_stations { "" } else { "not " };
        self.step(
            "source",
            format!("{} is {not}an address of a station of overlay {}", header.source, record.vni),
        )?;
        self.step("ecn", format!("outer {:02b}, inner {:02b}", outer.ecn, header.traffic_class & 0b11))?;
        self.route(overlay, &header)?;
        let is_across = matches!(tables.fib.lookup(header.destination), Some(Way::Local));
        if !is_across {
            self.hops(&header)?;
        }
        self.rules(overlay, &header, packet, is_across)?;
        let left = ("out of", record, record.policy.egress_limit);
        if !is_across {
            self.outward(&header)?;
            return self.limit(&[left]);
        }
        let station = self.receiver(&header)?;
        self.hops(&header)?;
        self.toward(&station, &header)?;
        let entered = tables.overlays.get(OverlayIndex(station.overlay));
        self.limit(&[left, ("into", entered, entered.policy.ingress_limit)])
    }

    /// Of a packet from the uplink.
    fn tell_inward(&mut self, reason: Reason) -> Option<()> {
        let Scene { tables, tapped, .. } = *self.scene;
        let frame = tapped.frame.as_slice();
        self.until = last_step_in(reason);
        self.received()?;
        let link = Link::parse(frame, Reason::Vlan).ok()?;
        if reason == Reason::ForeignMac {
            return self.step("port", format!("its address is {}", tables.fixed.port_mac(tapped.port)));
        }
        let header = self.packet(&link, link.payload_of(frame))?;
        let is_local = matches!(tables.fib.lookup(header.source), Some(Way::Local));
        let whose =
            if is_local { "is in an overlay, our own or no host's" } else { "is of the outer network" };
        self.step("source", format!("{} {whose}", header.source))?;
        let station = self.receiver(&header)?;
        self.hops(&header)?;
        self.toward(&station, &header)?;
        let entered = tables.overlays.get(OverlayIndex(station.overlay));
        self.limit(&[("into", entered, entered.policy.ingress_limit)])
    }

    /// Of who asks on a port's link for the address of a shard.
    fn tell_question(&mut self) -> Option<()> {
        let Scene { tables, tapped, .. } = *self.scene;
        self.received()?;
        let question = Question::read(tables, tapped.port, &tapped.frame)?;
        let is_owner = tables.overlays.shards.get(question.shard).is_some_and(|shard| shard.state.is_owner());
        let whose = if is_owner { "this gateway's" } else { "another gateway's" };
        self.step("question", format!("{} is of shard {}, {whose}", question.target, question.shard))
    }

    fn received(&mut self) -> Option<()> {
        let Tapped { port, frame, .. } = self.scene.tapped;
        let interface = self.interface(*port);
        match Link::parse(frame, Reason::Vlan) {
            Ok(link) => self.step(
                "receive",
                format!("{interface}, {} to {}, {} bytes", link.source, link.destination, frame.len()),
            ),
            Err(reason) => self.refused("receive", reason),
        }
    }

    fn endpoint(&mut self, overlay: OverlayIndex, endpoint: IpAddr) -> Option<()> {
        let tables = self.scene.tables;
        let detail = if tables.admits(overlay, endpoint) {
            "admitted to the overlay"
        } else if tables.endpoints.index_of(endpoint).is_some() {
            "an endpoint of other overlays alone"
        } else {
            "no endpoint of any overlay"
        };
        // Only those that are admitted may have a station that is looked at further.
        self.step("endpoint", format!("{endpoint} is {detail}"))
    }

    fn describe_station(&self, link: &Link, outer: &Outer, station: Option<&Flow>) -> String {
        let Some(station) = station else { return format!("{} is no station of the overlay", link.source) };
        let behind = self.scene.tables.endpoints.get(station.endpoint).address;
        let kind = if station.is_visitor() { "let in for a while" } else { "known" };
        let elsewhere = if behind == outer.endpoint { "" } else { ", and not behind this endpoint" };
        format!("{} is {kind} behind {behind}{elsewhere}", link.source)
    }

    /// The network layer; `None` if it ends there.
    fn packet(&mut self, link: &Link, packet: &[u8]) -> Option<IpHeader> {
        if link.ethertype == EtherType::Arp {
            self.step("packet", "ARP");
            return None;
        }
        match IpHeader::parse(link.ethertype, packet) {
            Ok(header) => {
                self.flow = flow::of_packet(&header, packet).path();
                self.step("packet", describe_packet(&header, packet))?;
                Some(header)
            }
            Err(reason) => self.refused("packet", reason),
        }
    }

    fn route(&mut self, overlay: OverlayIndex, header: &IpHeader) -> Option<()> {
        let tables = self.scene.tables;
        let destination = header.destination;
        let detail = match tables.fib.lookup(destination) {
            Some(way @ Way::Via(_)) => {
                format!("through a router: {}", self.describe_onward(way, destination))
            }
            Some(Way::OnLink(port)) => format!("on the link of {}", self.interface(*port)),
            Some(way @ Way::Multipath(_)) => {
                format!("several paths, this flow's: {}", self.describe_onward(way, destination))
            }
            Some(Way::Local)
                if tables.overlays.get(overlay).is_router(destination, tables.fixed.router_link_local) =>
            {
                "the router itself".into()
            }
            Some(Way::Local) => match tables.overlays.by_address(destination) {
                Some(other) if other == overlay => "in the overlay itself".into(),
                Some(other) => format!("in overlay {}", tables.overlays.get(other).vni),
                None if tables.fixed.blocks.lookup(destination).is_some() => {
                    "in a block, in no overlay".into()
                }
                None => "the host, or an address that is never forwarded to".into(),
            },
            Some(Way::Reject) => "a route that leads elsewhere than the uplink".into(),
            None => "no route".into(),
        };
        self.step("route", format!("{destination}: {detail}"))
    }

    fn describe_onward(&self, way: &Way, destination: IpAddr) -> String {
        match (self.scene.tables.onward(way, destination, || self.flow), way) {
            (Onward::To(port, mac), _) => format!("{mac} on {}", self.interface(port)),
            (_, Way::Via(adjacency)) => {
                format!("its MAC address on {} is not known", self.interface(adjacency.port))
            }
            (Onward::Ask(next_hop), _) => format!("on the link of {}", self.interface(next_hop.port)),
            _ => "no MAC address is known at a port that is up".into(),
        }
    }

    fn hops(&mut self, header: &IpHeader) -> Option<()> {
        let enough = if header.ttl > 1 { "enough" } else { "used up" };
        self.step("hops", format!("{} left: {enough}", header.ttl))
    }

    fn rules(
        &mut self,
        overlay: OverlayIndex,
        header: &IpHeader,
        packet: &[u8],
        is_across: bool,
    ) -> Option<()> {
        let tables = self.scene.tables;
        let stays = tables.overlays.by_address(header.destination) == Some(overlay);
        if is_across && stays {
            return self.step("rules", "none apply within an overlay");
        }
        let otherwise = if is_across { "rejected between overlays" } else { "allowed outward" };
        let described = match filter::describe(header, packet) {
            Ok(described) => described,
            Err(_) if tables.rules.is_empty() && !is_across => {
                return self.step("rules", "none: allowed outward");
            }
            Err(reason) => return self.refused("rules", reason),
        };
        let detail = match tables.rules.decide(&described) {
            Some((rule, action)) => {
                let action = match action {
                    Action::Allow => "allow",
                    Action::Reject => "reject",
                    Action::Drop => "drop",
                };
                format!("rule {} matches: {action}", rule + 1)
            }
            None => format!("none matches: {otherwise}"),
        };
        self.step("rules", detail)
    }

    /// The station that a packet is for.
    fn receiver(&mut self, header: &IpHeader) -> Option<Flow> {
        let Scene { tables, flows, .. } = *self.scene;
        let destination = header.destination;
        let station = FlowKey::global(destination).and_then(|key| flows.get(key));
        let detail = match (&station, tables.overlays.by_address(destination)) {
            (Some(station), _) => {
                self.vni = self.vni.or(Some(station.vni));
                format!("{destination} is {} in overlay {}", station.mac, station.vni)
            }
            (None, None) => format!("{destination} is in no overlay"),
            (None, Some(overlay)) => {
                let record = tables.overlays.get(overlay);
                self.vni = self.vni.or(Some(record.vni));
                let is_router = record.is_router(destination, tables.fixed.router_link_local);
                let what = if is_router {
                    "the router"
                } else if record.is_edge(destination) {
                    "no host's address"
                } else {
                    "no station's that is known"
                };
                format!("{destination} in overlay {} is {what}", record.vni)
            }
        };
        self.step("receiver", detail)?;
        if station.is_none() {
            self.hops(header);
        }
        station
    }

    /// From a station to its endpoint.
    fn toward(&mut self, station: &Flow, header: &IpHeader) -> Option<()> {
        let tables = self.scene.tables;
        let endpoint = tables.endpoints.get(station.endpoint);
        let onward = tables.onward(&endpoint.way, endpoint.address, || self.flow);
        if onward == Onward::Nowhere {
            return self.step("endpoint", format!("{}: no route to it", endpoint.address));
        }
        let neighbour = self.describe_onward(&endpoint.way, endpoint.address);
        self.step("endpoint", format!("{}: {neighbour}", endpoint.address))?;
        let Onward::To(port, _) = onward else { return Some(()) };
        let overhead = ethernet::HEADER_LEN + endpoint.outer.len();
        let port_mtu = tables.fixed.port(port).mtu;
        let room = usize::from(port_mtu).saturating_sub(overhead);
        self.step(
            "mtu",
            format!(
                "{} bytes; {} of the overlay, {room} by the MTU {port_mtu} of {} less {overhead}",
                header.len,
                station.mtu,
                self.interface(port)
            ),
        )
    }

    /// To the outer network.
    fn outward(&mut self, header: &IpHeader) -> Option<()> {
        let tables = self.scene.tables;
        let way = tables.fib.lookup(header.destination)?;
        let (port, mac) = match tables.onward(way, header.destination, || self.flow) {
            Onward::To(port, mac) => (port, Some(mac)),
            Onward::Ask(next_hop) => (next_hop.port, None),
            Onward::NoNeighbour | Onward::Nowhere => return None,
        };
        let mtu = tables.fixed.port(port).mtu;
        self.step("mtu", format!("{} bytes; {mtu} of {}", header.len, self.interface(port)))?;
        match mac {
            Some(mac) => self.step("neighbour", format!("{mac} on {}", self.interface(port))),
            None => self.step("neighbour", "its MAC address is not known: it is being asked for"),
        }
    }

    /// The limits that there are, of each way into or out of an overlay; nothing is told where there is none.
    fn limit(&mut self, limits: &[(&str, &Overlay, RateLimit)]) -> Option<()> {
        let tell = |&(way, overlay, limit): &(&str, &Overlay, RateLimit)| {
            let bits = limit.bits.map(|bits| format!("{bits} bits/s"));
            let packets = limit.packets.map(|packets| format!("{packets} packets/s"));
            let rates: Vec<String> = bits.into_iter().chain(packets).collect();
            (!rates.is_empty()).then(|| format!("{} {way} overlay {}", rates.join(", "), overlay.vni))
        };
        let told: Vec<String> = limits.iter().filter_map(tell).collect();
        if told.is_empty() { Some(()) } else { self.step("limit", told.join("; ")) }
    }

    /// What it became.
    fn sent(&mut self, forwarded: &Forwarded, frame: &[u8]) {
        let Headers { outer, vni, inner } = Headers::read(frame);
        self.until = "";
        let packet = inner.as_ref().unwrap_or(&outer);
        let hops = frame.get(packet.hops_at).map_or(0, |hops| *hops);
        self.step("rewrite", format!("{hops} hops left"));
        if let (Some(vni), Some(inner)) = (vni, &inner)
            && let ([inner_destination, inner_source], [source, destination]) =
                (&inner.macs[..], &outer.addresses[..])
        {
            let [source_port, _] = outer.ports.unwrap_or_default();
            self.step("encapsulate", format!("{inner_source} to {inner_destination}, VNI {vni}, {source} to {destination}, source port {source_port}"));
        }
        if let [destination, source] = outer.macs[..] {
            let interface = self.interface(forwarded.port);
            self.step("transmit", format!("{interface}, {source} to {destination}, {} bytes", frame.len()));
        }
    }
}

fn describe_overlay(overlay: &Overlay) -> String {
    let subnets: Vec<String> = overlay.subnets.iter().map(|subnet| subnet.prefix.to_string()).collect();
    format!("{}, {}", overlay.vni, subnets.join(" "))
}

fn describe_packet(header: &IpHeader, packet: &[u8]) -> String {
    let IpHeader { source, destination, ttl, len, protocol, .. } = header;
    let name = match IpProtocol::from(*protocol) {
        IpProtocol::Icmp => "ICMP".into(),
        IpProtocol::Icmpv6 => "ICMPv6".into(),
        IpProtocol::Tcp => "TCP".into(),
        IpProtocol::Udp => "UDP".into(),
        _ if header.payload.is_none() => "fragment".into(),
        _ => format!("protocol {protocol}"),
    };
    let ports = match header.upper_layer(packet, 0, 4) {
        Some(&[a, b, c, d]) if header.is(IpProtocol::Tcp) || header.is(IpProtocol::Udp) => {
            format!(" {} to {}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        _ => String::new(),
    };
    format!("{source} to {destination}, {name}{ports}, {len} bytes, {ttl} hops left")
}
