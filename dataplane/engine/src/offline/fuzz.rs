//! The whole pipeline as a fuzz target: bytes in, frames out. The package `fuzz` and the ordinary tests call it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use port::{Batch, ChunkSize};
use wire::ethernet::EthernetFrame;
use wire::ipv4::Ipv4Packet;
use wire::ipv6::Ipv6Packet;
use wire::udp::UdpPacket;
use wire::vxlan::VxlanPacket;
use wire::{EtherType, Vni};

use super::{Pipeline, example};
use crate::api::{Config, PortIndex};

/// A gateway that forwards one frame after the other.
struct Target {
    config: Config,
    pipeline: Pipeline,
}

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new({
        let config = example::config();
        let mut pipeline = Pipeline::new(config.clone());
        pipeline.apply(example::updates());
        Target { config, pipeline }
    });
}

/// The first byte says at which port the rest arrives. Whatever it is: no panic, the short way does as the general one,
/// it is counted exactly once, what leaves by the uplink comes from an overlay and goes to none, and what leaves by the
/// underlay is for its overlay.
/// Returns whether it was forwarded.
pub fn pipeline(data: &[u8]) -> bool {
    let Some((port, frame)) = data.split_first() else { return false };
    let port = if port & 1 == 0 { example::UNDERLAY } else { example::UPLINK };
    TARGET.with_borrow_mut(|target| {
        target.forward(port, &frame[..frame.len().min(ChunkSize::Small.max_frame())])
    })
}

impl Target {
    fn forward(&mut self, port: PortIndex, bytes: &[u8]) -> bool {
        let before = self.total();
        let umem = Arc::clone(self.pipeline.umem());
        let [frame, mut short, mut general] = [(); 3].map(|()| {
            let mut frame = self.pipeline.pool().take().expect("each frame comes back");
            assert!(frame.reset(bytes.len()));
            umem.data_mut(&mut frame).copy_from_slice(bytes);
            frame
        });
        self.pipeline.forwarder.go_both_ways(port, &mut short, &mut general);
        self.pipeline.pool().put(short);
        self.pipeline.pool().put(general);
        let mut batch = Batch::new();
        batch.push(frame);
        let sent = self.pipeline.process(port, &mut batch);
        assert_eq!(self.total(), before + 1, "counted exactly once");
        for frame in batch {
            if sent == 1 {
                self.check(port, umem.data(&frame));
            }
            self.pipeline.pool().put(frame);
        }
        sent == 1
    }

    fn total(&self) -> u64 {
        self.pipeline.counters().iter().map(|counter| counter.value).sum()
    }

    fn check(&self, from: PortIndex, frame: &[u8]) {
        let (source, destination, inside) = packet(frame);
        // Each port sends from its own MAC address.
        if frame[6..12] == example::UPLINK_MAC.0 {
            assert_eq!(from, example::UNDERLAY, "back to the outer network");
            assert!(self.in_blocks(source) && !self.in_blocks(destination), "{source} to {destination}");
            return;
        }
        let udp = UdpPacket::new_checked(inside).expect("a whole datagram");
        let vxlan = VxlanPacket::new_checked(udp.payload()).expect("a whole header");
        let (source, destination, _) = packet(vxlan.payload());
        assert_eq!(vxlan.vni(), self.overlay_of(destination), "{destination}");
        // There are no rules that would let overlays reach each other.
        let expected = if from == example::UNDERLAY { vxlan.vni() } else { None };
        assert_eq!(self.overlay_of(source), expected, "{source} to {destination}");
    }

    fn in_blocks(&self, address: IpAddr) -> bool {
        self.config.blocks.iter().any(|block| block.contains(&address))
    }

    fn overlay_of(&self, address: IpAddr) -> Option<Vni> {
        let overlay = self.config.overlays.iter().find(|overlay| overlay.subnet_of(address).is_some());
        overlay.map(|overlay| overlay.vni)
    }
}

/// Source, destination and payload of the IP packet in a frame that was sent.
fn packet(frame: &[u8]) -> (IpAddr, IpAddr, &[u8]) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a whole header");
    let packet = &frame[wire::ethernet::HEADER_LEN..];
    if ethernet.ethertype() == EtherType::Ipv4 {
        let ip = Ipv4Packet::new_checked(packet).expect("a whole packet");
        assert!(ip.verify_checksum());
        (ip.src().into(), ip.dst().into(), &packet[ip.header_len()..ip.total_len()])
    } else {
        let ip = Ipv6Packet::new_checked(packet).expect("a whole packet");
        (ip.src().into(), ip.dst().into(), &packet[wire::ipv6::HEADER_LEN..ip.total_len()])
    }
}
