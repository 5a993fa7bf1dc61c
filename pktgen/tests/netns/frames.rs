//! Test packets, and netdevs to send them through.

use std::time::Duration;

use lab::{Lab, Namespace, VethEnd, VethOptions, veth};
use pktgen::clock;
use pktgen::receive::Receiver;
use pktgen::stamp::Stamp;
use wire::ethernet::EthernetRepr;
use wire::ipv4::Ipv4Repr;
use wire::udp::UdpRepr;
use wire::{EtherType, IpProtocol, MacAddr};

/// How long anything may take that happens at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A UDP packet of a stream that is sent now.
pub(crate) fn test_packet(stream: u16, sequence: u32) -> Vec<u8> {
    let stamp = Stamp { stream, sequence, time: clock::now() };
    let mut frame = vec![0; 14 + 20 + 8 + 2];
    frame.extend(stamp.to_bytes());
    let [src, dst] = [1, 2].map(|last| std::net::Ipv4Addr::new(198, 18, 0, last));
    EthernetRepr {
        dst: MacAddr([2, 0, 0, 0, 0, 2]),
        src: MacAddr([2, 0, 0, 0, 0, 1]),
        ethertype: EtherType::Ipv4,
    }
    .emit(&mut frame);
    let payload_len = (frame.len() - 34) as u16;
    let ip = Ipv4Repr {
        src,
        dst,
        protocol: IpProtocol::Udp,
        payload_len,
        ttl: 64,
        dscp_ecn: 0,
        ident: 0,
        dont_fragment: true,
    };
    ip.emit(&mut frame[14..]);
    UdpRepr { src_port: 1, dst_port: 9 }.emit_v4(&mut frame[34..], src, dst);
    frame
}

/// Namespaces that are joined in a row by veth pairs: each has `left` and `right`, but for the ends.
pub(crate) fn row<const N: usize>(lab: &Lab, names: [&str; N]) -> [Namespace; N] {
    let namespaces = names.map(|name| {
        let namespace = lab.namespace(name).unwrap();
        // Neighbour discovery and MLD would come into the counts.
        namespace.set("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        namespace
    });
    for pair in namespaces.windows(2) {
        let ends = [VethEnd::new(&pair[0], "right"), VethEnd::new(&pair[1], "left")];
        veth(ends[0], ends[1], VethOptions::default()).unwrap();
    }
    namespaces
}

/// Waits until a receiver has had so many frames.
pub(crate) fn wait_for_frames(receiver: &Receiver, frames: u64) {
    let mut seen = 0;
    let had = lab::wait_until("the frames", PATIENCE, || {
        seen = receiver.slices().last().map_or(seen, |timed| timed.slice.totals.frames);
        if seen >= frames { Ok(()) } else { Err(format!("{seen} of {frames}")) }
    });
    had.unwrap();
}
