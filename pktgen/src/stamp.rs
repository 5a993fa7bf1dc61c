//! The stamp that every test packet carries: who sent it, as which of how many, and when.
//!
//! It is the last 16 bytes of the innermost IP packet (of a frame without IP: of the frame), in network byte order, so
//! that it is found behind any headers, and padding after a short packet does not hide it:
//!
//! ```text
//!  0                   1                   2                   3
//! | magic                         | stream                        |
//! | sequence                                                      |
//! | time                                                          |
//! |                                                               |
//! ```
//!
//! With it the smallest frame of IPv4 and UDP has 62 bytes with its FCS, and one of IPv6 82.

/// Bytes of a stamp.
pub const LEN: usize = 16;

/// What a stamp begins with.
const MAGIC: u16 = 0x7678;

/// What a test packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the stream in its profile.
    pub stream: u16,
    /// Number of the packet in its stream, from 0; wraps.
    pub sequence: u32,
    /// When it was sent: nanoseconds of the sender's monotonic clock, which nobody steps.
    pub time: u64,
}

impl Stamp {
    /// The stamp at the end of a packet, if there is one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let [m0, m1, s0, s1, q0, q1, q2, q3, time @ ..] = *packet.last_chunk::<LEN>()?;
        (u16::from_be_bytes([m0, m1]) == MAGIC).then(|| Self {
            stream: u16::from_be_bytes([s0, s1]),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            time: u64::from_be_bytes(time),
        })
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.stream.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&self.time.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { stream: 0x0102, sequence: 0x0304_0506, time: 0x0708_090a_0b0c_0d0e };
    const BYTES: [u8; LEN] = [0x76, 0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

    #[test]
    fn layout() {
        assert_eq!(STAMP.to_bytes(), BYTES);
        assert_eq!(Stamp::read(&[&[0xa5; 7][..], &BYTES].concat()), Some(STAMP));
    }

    #[test]
    fn other_bytes_are_none() {
        assert_eq!(Stamp::read(&BYTES[1..]), None);
        assert_eq!(Stamp::read(&[&BYTES[..], &[0]].concat()), None);
    }
}
