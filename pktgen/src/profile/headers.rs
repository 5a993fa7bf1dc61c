//! The headers of a frame, as the profile names them.

use serde::Deserialize;
use wire::{MacAddr, Vni};

use super::field::{self, Field};
use super::value::Number;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Shortest way to a default of a field.
macro_rules! defaults {
    ($($name:ident = $value:expr;)*) => { $(fn $name() -> Field { Field::fixed($value) })* };
}

defaults! {
    zero = 0;
    ttl = 64;
    discard_port = 9;
    some_port = 49_152;
    vxlan_port = wire::vxlan::UDP_PORT as u128;
    window = 65_535;
}

/// Ethernet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ethernet {
    /// Source MAC address.
    #[serde(deserialize_with = "field::of::<MacAddr, _>")]
    pub src: Field,
    /// Destination MAC address.
    #[serde(deserialize_with = "field::of::<MacAddr, _>")]
    pub dst: Field,
}

/// A VLAN tag.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// VLAN identifier, 12 bits.
    #[serde(deserialize_with = "field::of::<Number<4095>, _>")]
    pub id: Field,
    /// Priority code point, 3 bits.
    #[serde(deserialize_with = "field::of::<Number<7>, _>", default = "zero")]
    pub priority: Field,
}

/// ARP over Ethernet and IPv4 (RFC 826).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Arp {
    /// Whether it asks or answers.
    #[serde(default)]
    pub operation: Exchange,
    /// Who speaks.
    #[serde(deserialize_with = "field::of::<MacAddr, _>")]
    pub sender_mac: Field,
    /// Its address.
    #[serde(deserialize_with = "field::of::<Ipv4Addr, _>")]
    pub sender: Field,
    /// Of whom; unknown in a request.
    #[serde(deserialize_with = "field::of::<MacAddr, _>", default = "zero")]
    pub target_mac: Field,
    /// The address that is asked for.
    #[serde(deserialize_with = "field::of::<Ipv4Addr, _>")]
    pub target: Field,
}

/// A question, or its answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Exchange {
    /// Asks.
    #[default]
    Request,
    /// Answers.
    Reply,
}

/// IPv4 without options; the DF bit is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv4 {
    /// Source address.
    #[serde(deserialize_with = "field::of::<Ipv4Addr, _>")]
    pub src: Field,
    /// Destination address.
    #[serde(deserialize_with = "field::of::<Ipv4Addr, _>")]
    pub dst: Field,
    /// Time to live.
    #[serde(deserialize_with = "field::of::<Number<255>, _>", default = "ttl")]
    pub ttl: Field,
    /// Differentiated services code point, 6 bits.
    #[serde(deserialize_with = "field::of::<Number<63>, _>", default = "zero")]
    pub dscp: Field,
    /// Identification.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "zero")]
    pub id: Field,
}

/// IPv6 without extension headers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ipv6 {
    /// Source address.
    #[serde(deserialize_with = "field::of::<Ipv6Addr, _>")]
    pub src: Field,
    /// Destination address.
    #[serde(deserialize_with = "field::of::<Ipv6Addr, _>")]
    pub dst: Field,
    /// Hop limit.
    #[serde(deserialize_with = "field::of::<Number<255>, _>", default = "ttl")]
    pub hop_limit: Field,
    /// Differentiated services code point, 6 bits.
    #[serde(deserialize_with = "field::of::<Number<63>, _>", default = "zero")]
    pub dscp: Field,
    /// Flow label, 20 bits.
    #[serde(deserialize_with = "field::of::<Number<1048575>, _>", default = "zero")]
    pub flow_label: Field,
}

/// UDP, with its checksum.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Udp {
    /// Source port.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "some_port")]
    pub src: Field,
    /// Destination port.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "discard_port")]
    pub dst: Field,
}

/// A TCP header without options, before a payload; no connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Source port.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "some_port")]
    pub src: Field,
    /// Destination port.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "discard_port")]
    pub dst: Field,
    /// Sequence number.
    #[serde(deserialize_with = "field::of::<Number<4294967295>, _>", default = "zero")]
    pub sequence: Field,
    /// Acknowledgement number.
    #[serde(deserialize_with = "field::of::<Number<4294967295>, _>", default = "zero")]
    pub acknowledgement: Field,
    /// Window.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "window")]
    pub window: Field,
    /// Flags that are set.
    #[serde(default = "ack")]
    pub flags: Vec<TcpFlag>,
}

fn ack() -> Vec<TcpFlag> {
    vec![TcpFlag::Ack]
}

/// A flag of TCP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TcpFlag {
    /// No more data.
    Fin = 0x01,
    /// Synchronise.
    Syn = 0x02,
    /// Reset.
    Rst = 0x04,
    /// Push.
    Psh = 0x08,
    /// The acknowledgement number counts.
    Ack = 0x10,
    /// Urgent.
    Urg = 0x20,
}

/// An echo of ICMP or ICMPv6, by the IP header that it follows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// Whether it asks or answers.
    #[serde(default)]
    pub operation: Exchange,
    /// Identifier.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "zero")]
    pub id: Field,
    /// Sequence number.
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "zero")]
    pub sequence: Field,
}

/// What follows the link layer.
#[derive(Clone, Debug)]
pub enum Network {
    /// ARP.
    Arp(Arp),
    /// IPv4, and what follows it.
    Ipv4(Ipv4, Transport),
    /// IPv6, and what follows it.
    Ipv6(Ipv6, Transport),
}

/// What follows an IP header.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Payload only, of the protocol 253, which is for experiments (RFC 3692).
    None,
    /// UDP.
    Udp(Udp),
    /// TCP.
    Tcp(Box<Tcp>),
    /// ICMP or ICMPv6.
    Echo(Echo),
}

impl Transport {
    /// Bytes of a TCP header without options.
    pub(crate) const TCP_LEN: usize = 20;
    /// Bytes of an echo's header.
    pub(crate) const ECHO_LEN: usize = 8;

    /// Bytes of the header.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Udp(_) => wire::udp::HEADER_LEN,
            Self::Tcp(_) => Self::TCP_LEN,
            Self::Echo(_) => Self::ECHO_LEN,
        }
    }
}

/// All headers of a frame.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Ethernet.
    pub ethernet: Ethernet,
    /// None, one, or two with the service tag first (802.1ad).
    pub vlans: Vec<Vlan>,
    /// What follows.
    pub network: Network,
}

/// What a frame is wrapped into: its headers end with UDP.
#[derive(Clone, Debug)]
pub struct Vxlan {
    /// The network identifier.
    pub vni: Field,
    /// The outer headers.
    pub outer: Headers,
    /// Whether the outer UDP checksum is computed.
    pub checksum: bool,
}

/// The UDP header of VXLAN.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VxlanUdp {
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "some_port")]
    pub(super) src: Field,
    #[serde(deserialize_with = "field::of::<Number<65535>, _>", default = "vxlan_port")]
    pub(super) dst: Field,
    pub(super) checksum: Option<bool>,
}

impl Default for VxlanUdp {
    fn default() -> Self {
        Self { src: some_port(), dst: vxlan_port(), checksum: None }
    }
}

/// `[stream.vxlan]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VxlanTable {
    #[serde(deserialize_with = "field::of::<Vni, _>")]
    pub(super) vni: Field,
    pub(super) ethernet: Ethernet,
    #[serde(default)]
    pub(super) vlan: Tags,
    pub(super) ipv4: Option<Ipv4>,
    pub(super) ipv6: Option<Ipv6>,
    #[serde(default)]
    pub(super) udp: VxlanUdp,
}

/// One tag, or two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "OneOrTwo")]
pub(super) struct Tags(pub(super) Vec<Vlan>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a tag { id = N }, or two of them in a list")]
enum OneOrTwo {
    One(Vlan),
    Two([Vlan; 2]),
}

impl From<OneOrTwo> for Tags {
    fn from(tags: OneOrTwo) -> Self {
        match tags {
            OneOrTwo::One(tag) => Self(vec![tag]),
            OneOrTwo::Two(tags) => Self(tags.into()),
        }
    }
}

impl Headers {
    /// Their bytes.
    pub(crate) fn len(&self) -> usize {
        let link = wire::ethernet::HEADER_LEN + self.vlans.len() * wire::vlan::HEADER_LEN;
        link + match &self.network {
            Network::Arp(_) => wire::arp::LEN,
            Network::Ipv4(_, transport) => wire::ipv4::HEADER_LEN + transport.len(),
            Network::Ipv6(_, transport) => wire::ipv6::HEADER_LEN + transport.len(),
        }
    }

    /// Every field, in a fixed order.
    pub(super) fn fields_mut(&mut self) -> Vec<&mut Field> {
        let mut fields = vec![&mut self.ethernet.src, &mut self.ethernet.dst];
        for vlan in &mut self.vlans {
            fields.extend([&mut vlan.id, &mut vlan.priority]);
        }
        let transport = match &mut self.network {
            Network::Arp(arp) => {
                fields.extend([&mut arp.sender_mac, &mut arp.sender, &mut arp.target_mac, &mut arp.target]);
                return fields;
            }
            Network::Ipv4(ip, transport) => {
                fields.extend([&mut ip.src, &mut ip.dst, &mut ip.ttl, &mut ip.dscp, &mut ip.id]);
                transport
            }
            Network::Ipv6(ip, transport) => {
                fields.extend([
                    &mut ip.src,
                    &mut ip.dst,
                    &mut ip.hop_limit,
                    &mut ip.dscp,
                    &mut ip.flow_label,
                ]);
                transport
            }
        };
        match transport {
            Transport::None => {}
            Transport::Udp(udp) => fields.extend([&mut udp.src, &mut udp.dst]),
            Transport::Tcp(tcp) => {
                let Tcp { src, dst, sequence, acknowledgement, window, flags: _ } = &mut **tcp;
                fields.extend([src, dst, sequence, acknowledgement, window]);
            }
            Transport::Echo(echo) => fields.extend([&mut echo.id, &mut echo.sequence]),
        }
        fields
    }
}
