//! Questions on the link of a port for the address of a shard: ARP requests and neighbour solicitations. No netdev has
//! such an address, so the kernel knows no answer.

use std::net::IpAddr;

use wire::arp::{ArpOperation, ArpPacket, ArpRepr};
use wire::icmpv6::Icmpv6Packet;
use wire::ipv6::{self, Ipv6Packet};
use wire::ndp::NeighbourSolicitation;
use wire::{EtherType, IpProtocol, MacAddr};

use super::link::Link;
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::tables::Snapshot;

/// Who has an address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The shard whose address it is.
    pub(crate) shard: u16,
    pub(crate) target: IpAddr,
    /// Who wants to know; `None` in duplicate address detection.
    pub(crate) asker: Option<IpAddr>,
    /// Where the answer goes.
    pub(crate) mac: MacAddr,
    /// Whether it asks for nothing, but tells that another gateway has the address now.
    pub(crate) is_announcement: bool,
}

impl Question {
    /// The question in a frame that came to a port; `None` if there is none, or it is for no address that the owner of a
    /// shard has there.
    #[cold]
    pub(crate) fn read(tables: &Snapshot, port: PortIndex, frame: &[u8]) -> Option<Self> {
        let shards = &tables.overlays.shards;
        if shards.is_empty() {
            return None;
        }
        let link = Link::parse(frame, Reason::Vlan).ok()?;
        let is_heard = link.destination.is_multicast() || link.destination == tables.fixed.port_mac(port);
        if !is_heard || !link.source.is_unicast() {
            return None;
        }
        let packet = link.payload_of(frame);
        let (target, asker) = match link.ethertype {
            EtherType::Arp => arp(packet)?,
            EtherType::Ipv6 => solicitation(packet)?,
            _ => return None,
        };
        let shard = shards.at_port(tables.fixed.port(port).role, target)?;
        Some(Self { shard, target, asker, mac: link.source, is_announcement: asker == Some(target) })
    }
}

fn arp(packet: &[u8]) -> Option<(IpAddr, Option<IpAddr>)> {
    let request = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?);
    let asker = Some(IpAddr::V4(request.sender_ip)).filter(|asker| !asker.is_unspecified());
    (request.operation == ArpOperation::Request).then_some((request.target_ip.into(), asker))
}

fn solicitation(packet: &[u8]) -> Option<(IpAddr, Option<IpAddr>)> {
    let view = Ipv6Packet::new_checked(packet).ok().filter(|ip| ip.next_header() == IpProtocol::Icmpv6)?;
    let icmp = Icmpv6Packet::new_checked(&packet[ipv6::HEADER_LEN..view.total_len()]).ok()?;
    let solicitation = NeighbourSolicitation::parse(&icmp).ok()?;
    solicitation.validate(&icmp, view.hop_limit(), view.src(), view.dst()).ok()?;
    let asker = Some(IpAddr::V6(view.src())).filter(|asker| !asker.is_unspecified());
    Some((solicitation.target.into(), asker))
}
