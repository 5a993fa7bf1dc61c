//! Capture files: the four blocks of pcapng that are needed (draft-ietf-opsawg-pcapng), little-endian.
//!
//! All blocks have one shape: type, length, body padded to four bytes, length again. So a stream of them can be cut
//! without being understood.

/// Type of a section header (§4.1).
const SECTION: u32 = 0x0a0d_0d0a;
/// Of an interface description (§4.2).
const INTERFACE: u32 = 1;
/// Of an interface's statistics (§4.6).
const STATISTICS: u32 = 5;
/// Of a packet (§4.3).
const PACKET: u32 = 6;

/// From which a reader tells the byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
/// Timestamps are in units of 10⁻⁹ s.
const NANOSECONDS: u8 = 9;

/// Options (§3.5): the end, a comment, and those of each block.
const END: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_LOST: u16 = 5;

/// Begins a section: once, and first.
pub(crate) fn section(out: &mut Vec<u8>) {
    block(out, SECTION, |out| {
        out.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0; the length of the section is not known.
        out.extend([1, 0, 0, 0]);
        out.extend(u64::MAX.to_le_bytes());
        option(out, SECTION_APPLICATION, concat!("vxgate ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(out, END, &[]);
    });
}

/// Describes an interface: they are numbered in this order, from 0. `snaplen` bytes of a frame are kept, all if 0.
pub(crate) fn interface(out: &mut Vec<u8>, name: &str, snaplen: u32) {
    block(out, INTERFACE, |out| {
        out.extend(LINKTYPE_ETHERNET.to_le_bytes());
        out.extend([0; 2]);
        out.extend(snaplen.to_le_bytes());
        option(out, INTERFACE_NAME, name.as_bytes());
        option(out, INTERFACE_RESOLUTION, &[NANOSECONDS]);
        option(out, END, &[]);
    });
}

/// A frame.
pub(crate) struct Packet<'a> {
    /// The number of the interface.
    pub(crate) interface: u32,
    /// Since 1970, UTC.
    pub(crate) time_ns: u64,
    /// Whether it was received; sent otherwise.
    pub(crate) is_inbound: bool,
    /// What is kept of it.
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire.
    pub(crate) len: usize,
    /// What a reader is shown with it.
    pub(crate) comment: &'a str,
}

impl Packet<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        block(out, PACKET, |out| {
            out.extend(self.interface.to_le_bytes());
            timestamp(out, self.time_ns);
            out.extend((self.bytes.len() as u32).to_le_bytes());
            out.extend((self.len as u32).to_le_bytes());
            padded(out, self.bytes);
            option(out, COMMENT, self.comment.as_bytes());
            let flags: u32 = if self.is_inbound { 1 } else { 2 };
            option(out, PACKET_FLAGS, &flags.to_le_bytes());
            option(out, END, &[]);
        });
    }
}

/// Says how many frames of an interface were lost until `time_ns`.
pub(crate) fn statistics(out: &mut Vec<u8>, interface: u32, time_ns: u64, lost: u64) {
    block(out, STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        timestamp(out, time_ns);
        option(out, STATISTICS_LOST, &lost.to_le_bytes());
        option(out, END, &[]);
    });
}

fn timestamp(out: &mut Vec<u8>, time_ns: u64) {
    out.extend(((time_ns >> 32) as u32).to_le_bytes());
    out.extend((time_ns as u32).to_le_bytes());
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let len = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    out.extend(len.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.extend(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()]);
}

/// What passes in a stream of these blocks, however it is cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Packets.
    pub(crate) packets: u64,
    /// Frames that were lost, by all statistics.
    pub(crate) lost: u64,
    /// Whether there were statistics: they come last.
    has_statistics: bool,
    /// The beginning of a block.
    begun: Vec<u8>,
}

/// Where the count of lost frames stands in a block of statistics.
const LOST_AT: usize = 24;

impl Tally {
    /// Counts what comes next.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.begun.extend(bytes);
        let mut rest = self.begun.as_slice();
        while let Some((kind, len)) = word(rest, 0).zip(word(rest, 4)) {
            let Some((block, after)) = rest.split_at_checked(len.max(12) as usize) else { break };
            match kind {
                PACKET => self.packets += 1,
                STATISTICS => {
                    let lost = block.get(LOST_AT..LOST_AT + 8).and_then(|lost| lost.try_into().ok());
                    self.has_statistics = true;
                    self.lost += lost.map_or(0, u64::from_le_bytes);
                }
                _ => {}
            }
            rest = after;
        }
        let used = self.begun.len() - rest.len();
        self.begun.drain(..used);
    }

    /// Whether nothing is missing at the end.
    pub(crate) fn is_complete(&self) -> bool {
        self.has_statistics && self.begun.is_empty()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        section(&mut file);
        interface(&mut file, "uplink0 rx", 0);
        for len in 0..5_usize {
            let bytes = &[1, 2, 3, 4, 5][..len];
            let comment = &"12345"[..5 - len];
            Packet { interface: 0, time_ns: 1 << 40, is_inbound: true, bytes, len: 60, comment }
                .write(&mut file);
        }
        statistics(&mut file, 0, 1 << 41, 7);
        file
    }

    #[test]
    fn blocks_are_aligned_and_say_their_length_twice() {
        let file = file();
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let len = word(&file, at + 4).unwrap() as usize;
            assert_eq!((len % 4, word(&file, at + len - 4)), (0, Some(len as u32)));
            kinds.push(word(&file, at).unwrap());
            at += len;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET, PACKET, PACKET, PACKET, STATISTICS]);
    }

    #[test]
    fn a_stream_is_counted_however_it_is_cut() {
        let file = file();
        for step in 1..file.len() {
            let mut tally = Tally::default();
            file.chunks(step).for_each(|chunk| tally.add(chunk));
            assert_eq!((tally.packets, tally.lost, tally.is_complete()), (5, 7, true));
        }
        let mut tally = Tally::default();
        tally.add(&file[..file.len() - 1]);
        assert!(!tally.is_complete());
    }
}
