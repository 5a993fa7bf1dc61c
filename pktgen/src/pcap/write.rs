//! Captures as pcap (draft-ietf-opsawg-pcap), little-endian, in nanoseconds.

use std::io::{self, Write};

/// Little-endian, nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
/// Longer than any frame.
const SNAPLEN: u32 = 262_144;

/// Begins a file.
///
/// # Errors
/// Those of the writer.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    // Version 2.4; then two words that are always zero.
    let words = [MAGIC, 4 << 16 | 2, 0, 0, SNAPLEN, LINKTYPE_ETHERNET];
    words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

/// Adds a frame; `time` is in nanoseconds.
///
/// # Errors
/// Those of the writer.
pub fn write_packet(out: &mut impl Write, time: u64, frame: &[u8]) -> io::Result<()> {
    let len = frame.len() as u32;
    let words = [(time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32, len, len];
    words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
    out.write_all(frame)
}
