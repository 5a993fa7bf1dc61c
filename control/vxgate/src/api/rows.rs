//! The rows of answers, and how they are made of what the engine and the configuration have.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use engine::{Action, Admission, Binding, Deed, Outcome, Proxy, PuntCount, PuntLimits, RateLimit, TapStatus};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wire::{IpProtocol, Vni};

use crate::config::{RuleSettings, role_name};
use crate::numa;

/// An overlay.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct OverlayRow {
    pub(crate) vni: u32,
    pub(crate) subnets: Vec<SubnetRow>,
    pub(crate) endpoints: Vec<IpAddr>,
    /// Bytes of the largest inner IP packet.
    pub(crate) mtu: u16,
    /// How many there are.
    pub(crate) stations: usize,
    /// Whether this gateway answers in it.
    pub(crate) owner: bool,
    /// This gateway's own MAC address in it, if it has one.
    pub(crate) own_mac: Option<String>,
    /// `loose` or `strict`.
    pub(crate) admission: String,
    /// `own`, `known` or `isolate`.
    pub(crate) proxy: String,
    /// Whether router advertisements are sent.
    pub(crate) advertise: bool,
    pub(crate) dhcp_servers: Vec<IpAddr>,
    pub(crate) egress_limit: LimitRow,
    pub(crate) ingress_limit: LimitRow,
    /// Packets to the outer network, and bytes of those IP packets.
    pub(crate) egress_packets: u64,
    pub(crate) egress_bytes: u64,
    /// Packets to the stations, and bytes of those IP packets.
    pub(crate) ingress_packets: u64,
    pub(crate) ingress_bytes: u64,
}

/// A subnet of an overlay.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct SubnetRow {
    pub(crate) prefix: IpNet,
    pub(crate) router: IpAddr,
}

/// A station.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct StationRow {
    pub(crate) vni: u32,
    pub(crate) mac: String,
    pub(crate) endpoint: IpAddr,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A port.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct PortRow {
    pub(crate) interface: String,
    pub(crate) role: String,
    /// `up`, or `down`: not up, or without a carrier.
    pub(crate) state: String,
    /// Where the XDP program is: `native` or `generic`.
    pub(crate) xdp: String,
    /// How the socket is bound: `copy` or `zero-copy`.
    pub(crate) bind: String,
    /// Why `auto` did not end in native XDP, if it did not.
    pub(crate) fallback: Option<String>,
    /// How many it has; each worker serves one.
    pub(crate) queues: usize,
    /// The NUMA node that it is attached to, if that is known.
    pub(crate) node: Option<u32>,
    pub(crate) mac: String,
    pub(crate) mtu: u16,
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    /// Packets by the XDP program's verdict.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// The socket's counters.
    pub(crate) socket: BTreeMap<String, u64>,
}

/// A worker.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct WorkerRow {
    /// Also the number of the queue that it serves of each port.
    pub(crate) number: usize,
    /// The core that it is pinned to.
    pub(crate) core: Option<usize>,
    /// The NUMA node of that core, which its memory is of.
    pub(crate) node: Option<u32>,
    /// `busy` or `adaptive`.
    pub(crate) polling: String,
    /// The pages that the memory of its frames is made of: `huge`, `transparent` or `small`.
    pub(crate) pages: String,
    /// How often it has looked at its ports, and slept.
    pub(crate) rounds: u64,
    pub(crate) sleeps: u64,
    /// Frames that it has received.
    pub(crate) frames: u64,
}

/// A counter.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct CounterRow {
    pub(crate) name: String,
    /// `forwarded`, `punted` (to the slow path) or `dropped`; `slow_path`: what that did.
    pub(crate) outcome: String,
    pub(crate) value: u64,
    pub(crate) description: String,
}

/// Limits in a second; `None`: none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct LimitRow {
    pub(crate) bits: Option<u64>,
    pub(crate) packets: Option<u64>,
}

/// An address that a station was learned to have, or that is being asked for.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct NeighbourRow {
    pub(crate) vni: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: Option<String>,
    /// `incomplete`, `reachable`, `stale`, `probe` or `failed` (RFC 4861 §7.3.2).
    pub(crate) state: String,
    /// Milliseconds since there was evidence, or since it was asked for.
    pub(crate) age_ms: u64,
}

/// An address that a station was learned to have, as gateways hand it to each other.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingRow {
    pub(crate) vni: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: String,
    /// Milliseconds since it was last confirmed.
    pub(crate) age_ms: u64,
}

/// A rule as the engine has it.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct RuleRow {
    /// Its place in the order, from 1.
    pub(crate) number: usize,
    /// The line of the configuration that its table begins at.
    pub(crate) line: usize,
    /// Whether it is for the replies to what the one before it allows.
    pub(crate) reply: bool,
    /// `allow`, `reject` or `drop`.
    pub(crate) action: String,
    /// Prefixes and ranges of VNIs; none: any.
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
    /// Its name or number.
    pub(crate) protocol: Option<String>,
    /// One, or the first and the last.
    pub(crate) source_ports: Option<String>,
    pub(crate) destination_ports: Option<String>,
}

/// A figure of the neighbour cache.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct ResolutionRow {
    pub(crate) name: String,
    /// Entries and packets now, or events since the start.
    pub(crate) value: u64,
    /// In a sentence.
    pub(crate) description: String,
}

/// What the slow path is given of a class: limits in packets a second and at once, and frames.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct PuntRow {
    pub(crate) class: String,
    /// Of each overlay.
    pub(crate) overlay_rate: u32,
    pub(crate) overlay_burst: u32,
    /// Of all overlays together.
    pub(crate) total_rate: u32,
    pub(crate) total_burst: u32,
    pub(crate) handed_over: u64,
    pub(crate) refused: u64,
}

impl From<engine::OverlayStatus> for OverlayRow {
    fn from(status: engine::OverlayStatus) -> Self {
        let engine::OverlayStatus { overlay, traffic, stations } = status;
        let subnet = |subnet: &engine::Subnet| SubnetRow { prefix: subnet.prefix, router: subnet.router };
        let policy = &overlay.policy;
        Self {
            vni: overlay.vni.value(),
            subnets: overlay.subnets.iter().map(subnet).collect(),
            endpoints: overlay.endpoints.to_vec(),
            mtu: overlay.mtu,
            stations,
            owner: overlay.owner,
            own_mac: overlay.own_mac.map(|mac| mac.to_string()),
            admission: match policy.admission {
                Admission::Loose => "loose".into(),
                Admission::Strict => "strict".into(),
            },
            proxy: match policy.proxy {
                Proxy::Own => "own".into(),
                Proxy::Known => "known".into(),
                Proxy::Isolate => "isolate".into(),
            },
            advertise: policy.advertisement.is_some(),
            dhcp_servers: policy.dhcp_servers.clone(),
            egress_limit: policy.egress_limit.into(),
            ingress_limit: policy.ingress_limit.into(),
            egress_packets: traffic.egress_packets,
            egress_bytes: traffic.egress_bytes,
            ingress_packets: traffic.ingress_packets,
            ingress_bytes: traffic.ingress_bytes,
        }
    }
}

impl From<RateLimit> for LimitRow {
    fn from(RateLimit { bits, packets }: RateLimit) -> Self {
        Self { bits, packets }
    }
}

impl From<engine::Station> for StationRow {
    fn from(station: engine::Station) -> Self {
        Self {
            vni: station.vni.value(),
            mac: station.mac.to_string(),
            endpoint: station.endpoint,
            addresses: station.addresses,
        }
    }
}

impl From<engine::NeighbourStatus> for NeighbourRow {
    fn from(neighbour: engine::NeighbourStatus) -> Self {
        Self {
            vni: neighbour.vni.value(),
            address: neighbour.address,
            mac: neighbour.mac.map(|mac| mac.to_string()),
            state: neighbour.state.name().into(),
            age_ms: neighbour.age.as_millis() as u64,
        }
    }
}

impl BindingRow {
    /// Of a neighbour whose MAC address is known.
    pub(crate) fn of(NeighbourRow { vni, address, mac, age_ms, .. }: NeighbourRow) -> Option<Self> {
        Some(Self { vni, address, mac: mac?, age_ms })
    }

    /// The binding; an error says what is wrong with it.
    pub(crate) fn parse(&self) -> Result<Binding, String> {
        let Self { vni, address, mac, age_ms } = self;
        Ok(Binding {
            vni: Vni::new(*vni).ok_or_else(|| format!("{address}: {vni} is no VNI"))?,
            address: *address,
            mac: mac.parse().map_err(|error| format!("{address}: {mac:?} is {error}"))?,
            age: Duration::from_millis(*age_ms),
        })
    }
}

impl From<engine::PortStatus> for PortRow {
    fn from(port: engine::PortStatus) -> Self {
        Self {
            node: numa::node_of_netdev(&port.interface),
            interface: port.interface,
            role: role_name(port.role).into(),
            state: if port.is_up { "up" } else { "down" }.into(),
            xdp: port.xdp.to_string(),
            bind: port.bind.to_string(),
            fallback: port.fallback,
            queues: port.queues,
            mac: port.mac.to_string(),
            mtu: port.mtu,
            rx_packets: port.traffic.rx_packets,
            rx_bytes: port.traffic.rx_bytes,
            tx_packets: port.traffic.tx_packets,
            tx_bytes: port.traffic.tx_bytes,
            verdicts: port.verdicts.into_iter().collect(),
            socket: BTreeMap::from([
                ("rx_dropped".into(), port.socket.rx_dropped),
                ("rx_ring_full".into(), port.socket.rx_ring_full),
                ("fill_ring_empty".into(), port.socket.fill_ring_empty),
                ("tx_invalid".into(), port.socket.tx_invalid),
            ]),
        }
    }
}

impl From<engine::WorkerStatus> for WorkerRow {
    fn from(worker: engine::WorkerStatus) -> Self {
        Self {
            number: worker.number,
            core: worker.core,
            node: worker.core.and_then(numa::node_of_core),
            polling: worker.polling.to_string(),
            pages: worker.pages.to_string(),
            rounds: worker.rounds,
            sleeps: worker.sleeps,
            frames: worker.frames,
        }
    }
}

impl RuleRow {
    /// The rule that is `number`th in the order.
    pub(crate) fn new(number: usize, settings: &RuleSettings) -> Self {
        let RuleSettings { place, is_reply, from, to, rule } = settings;
        Self {
            number,
            line: place.line,
            reply: *is_reply,
            action: match rule.action {
                Action::Allow => "allow".into(),
                Action::Reject => "reject".into(),
                Action::Drop => "drop".into(),
            },
            from: from.to_vec(),
            to: to.to_vec(),
            protocol: rule.protocol.map(protocol_name),
            source_ports: rule.source_ports.as_ref().map(ports),
            destination_ports: rule.destination_ports.as_ref().map(ports),
        }
    }
}

/// A capture or trace that is running.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct TapRow {
    /// What it is for, as its command line said.
    pub(crate) filter: String,
    /// Frames that it was given.
    pub(crate) frames: u64,
    /// Frames that came faster than it took them.
    pub(crate) lost: u64,
}

impl TapRow {
    /// What a tap is for, and how it is doing.
    pub(crate) fn new(TapStatus { filter, frames, lost }: TapStatus, interfaces: &[String]) -> Self {
        Self { filter: crate::observe::describe(&filter, interfaces), frames, lost }
    }
}

fn protocol_name(number: u8) -> String {
    match IpProtocol::from(number) {
        IpProtocol::Icmp => "icmp".into(),
        IpProtocol::Tcp => "tcp".into(),
        IpProtocol::Udp => "udp".into(),
        IpProtocol::Icmpv6 => "icmpv6".into(),
        _ => number.to_string(),
    }
}

fn ports(range: &RangeInclusive<u16>) -> String {
    match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

impl PuntRow {
    /// What became of a class, beside its limits.
    pub(crate) fn new(PuntCount { class, handed_over, refused }: PuntCount, limits: &PuntLimits) -> Self {
        let (overlay, total) = (limits.overlay[class as usize], limits.total[class as usize]);
        Self {
            class: class.name().into(),
            overlay_rate: overlay.rate,
            overlay_burst: overlay.burst,
            total_rate: total.rate,
            total_burst: total.burst,
            handed_over,
            refused,
        }
    }
}

impl From<engine::Counter> for CounterRow {
    fn from(counter: engine::Counter) -> Self {
        let outcome = match counter.outcome {
            Outcome::Forwarded => "forwarded",
            Outcome::Punted => "punted",
            Outcome::Dropped => "dropped",
        };
        Self {
            name: counter.reason.name().into(),
            outcome: outcome.into(),
            value: counter.value,
            description: counter.reason.description().into(),
        }
    }
}

impl From<(Deed, u64)> for CounterRow {
    fn from((deed, value): (Deed, u64)) -> Self {
        Self {
            name: deed.name().into(),
            outcome: "slow_path".into(),
            value,
            description: deed.description().into(),
        }
    }
}
