//! Test packets for tests, built by other code than that which reads them.

use etherparse::{PacketBuilder, PacketBuilderStep};

use crate::stamp::Stamp;

pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
pub(crate) const V4: [[u8; 4]; 2] = [[198, 18, 0, 1], [198, 18, 0, 2]];

/// IPv6 addresses.
pub(crate) fn v6() -> [[u8; 16]; 2] {
    [1, 2].map(|last| {
        std::array::from_fn(|at| {
            [0x20, 0x01, 0x0d, 0xb8].get(at).copied().unwrap_or(if at == 15 { last } else { 0 })
        })
    })
}

/// A payload that ends with a stamp.
pub(crate) fn payload(stamp: Stamp) -> Vec<u8> {
    [&[0x5a; 7][..], &stamp.to_bytes()].concat()
}

/// What a step of a builder makes of a payload.
pub(crate) fn written<T>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), T>) -> Vec<u8>
where
    T: std::fmt::Debug,
{
    let mut frame = Vec::new();
    write(&mut frame).unwrap();
    frame
}

/// UDP over IPv4 or IPv6.
pub(crate) fn udp(v4: bool, port: u16, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(MACS[0], MACS[1]);
    let [src6, dst6] = v6();
    let ip: PacketBuilderStep<_> =
        if v4 { ethernet.ipv4(V4[0], V4[1], 64) } else { ethernet.ipv6(src6, dst6, 64) };
    written(|frame| ip.udp(1000, port).write(frame, payload))
}

/// A test packet of UDP.
pub(crate) fn test_packet(stream: u16, sequence: u32, time: u64) -> Vec<u8> {
    udp(true, 9, &payload(Stamp { stream, sequence, time }))
}

/// A frame in VXLAN.
pub(crate) fn vxlan(v4: bool, vni: u32, inner: &[u8]) -> Vec<u8> {
    let header = [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes()].concat();
    udp(v4, 4789, &[&header, inner].concat())
}

/// Recomputes nothing: flips a bit of the byte so far from the end.
pub(crate) fn damaged(mut frame: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = frame.len() - from_end;
    frame[at] ^= 0x10;
    frame
}
