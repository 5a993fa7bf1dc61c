//! A frame that a worker handed over, read again: the pipeline's own parsers say where its parts are.

use std::net::IpAddr;

use wire::ethernet::EthernetFrame;
use wire::{EtherType, MacAddr};

use super::Punted;
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::pipeline::decapsulate::{Expected, Outer};
use crate::pipeline::ip::IpHeader;
use crate::pipeline::link::Link;
use crate::tables::{OverlayIndex, Snapshot};

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A station of this overlay, behind this endpoint.
    Station { overlay: OverlayIndex, endpoint: IpAddr },
    /// The outer network.
    Outer,
}

/// A frame, as far as its network layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) origin: Origin,
    /// The port that it arrived at.
    pub(super) port: PortIndex,
    /// The overlay that it is about: where it came from, or what it is for.
    pub(super) overlay: OverlayIndex,
    /// MAC address that it came from: a station's, or that of a neighbour on the uplink.
    pub(super) sender: MacAddr,
    /// MAC address that it is for.
    pub(super) receiver: MacAddr,
    pub(super) ethertype: EtherType,
    /// ARP or an IP packet, and perhaps padding.
    pub(super) packet: &'a [u8],
}

impl<'a> Received<'a> {
    /// Destination of the IP packet, if it is one.
    pub(super) fn destination(&self) -> Option<IpAddr> {
        IpHeader::parse(self.ethertype, self.packet).ok().map(|header| header.destination)
    }

    /// `None` only for what the pipeline would not have handed over.
    pub(super) fn read(tables: &Snapshot, punted: &'a Punted) -> Option<Self> {
        let bytes = punted.frame.bytes();
        let expected = Expected::new(tables, punted.port);
        let is_vxlan = tables.fixed.port(punted.port).role.is_underlay();
        let (origin, frame) = match Outer::parse(&expected, bytes).ok().filter(|_| is_vxlan) {
            Some(outer) => {
                let overlay = tables.overlays.by_vni(outer.vni)?;
                let frame = bytes.get(outer.inner.into()..outer.end.into())?;
                (Origin::Station { overlay, endpoint: outer.endpoint }, frame)
            }
            None => (Origin::Outer, bytes),
        };
        let link = Link::parse(frame, Reason::Vlan).ok()?;
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        Some(Self {
            origin,
            port: punted.port,
            overlay: punted.overlay,
            sender: ethernet.src(),
            receiver: ethernet.dst(),
            ethertype: link.ethertype,
            packet: link.payload_of(frame),
        })
    }
}
