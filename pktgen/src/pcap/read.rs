//! Captures as they are read, whole, to be replayed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_parser::pcapng::{Block, EnhancedPacketBlock, InterfaceDescriptionBlock, SimplePacketBlock};
use pcap_parser::{LegacyPcapBlock, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader};
use port::MAX_FRAME;
use thiserror::Error;

/// Longest block that is read: a lying length costs no more.
const BUFFER: usize = 1 << 20;
/// Type of a section header, the same in either byte order.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Most bytes that a capture takes in memory.
const MAX_MEMORY: usize = 1 << 30;
/// Most interfaces of a file.
const MAX_INTERFACES: usize = 65_536;
/// Shortest frame that can go out: an Ethernet header.
const MIN_FRAME: usize = wire::ethernet::HEADER_LEN;

/// Why a capture cannot be replayed.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No such file.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither pcap nor pcapng.
    #[error("this is neither pcap nor pcapng: convert it, for instance with editcap")]
    Unknown,
    /// It says something that cannot be, or ends too soon.
    #[error("the capture is damaged behind byte {at}: {what}; `editcap` may mend it")]
    Damaged {
        /// Bytes that could be read.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Frames of another kind of link.
    #[error("its frames have link type {0}, and only those of Ethernet (1) can be sent")]
    Link(i32),
    /// It does not fit.
    #[error("the capture takes more than {} MiB of memory: cut it, for instance with editcap -c", MAX_MEMORY >> 20)]
    TooLarge,
    /// Nothing is there to be sent.
    #[error("the capture has no frame that can be sent ({0})")]
    Empty(Skipped),
}

/// Frames of a capture that are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Cut off by the one who captured them.
    pub truncated: u64,
    /// Longer than a port sends.
    pub too_long: u64,
    /// Shorter than an Ethernet header.
    pub too_short: u64,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { truncated, too_long, too_short } = self;
        write!(f, "skipped: {truncated} truncated, {too_long} too long, {too_short} too short")
    }
}

/// A capture in memory.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    packets: Vec<Packet>,
    /// What is not in it.
    pub skipped: Skipped,
}

/// Where a frame is, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    start: u32,
    len: u16,
    /// Nanoseconds since the first; never falls.
    pub time: u64,
}

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn load(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(|source| CaptureError::Open { path: path.into(), source })?;
        Self::read(file)
    }

    /// Reads a capture.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn read(file: impl Read + Send) -> Result<Self, CaptureError> {
        let mut reader = create_reader(BUFFER, file).map_err(|_| CaptureError::Unknown)?;
        let (mut reading, mut read) = (Reading::default(), 0);
        loop {
            reading.check_next(reader.data()).map_err(|what| CaptureError::Damaged { at: read, what })?;
            match reader.next() {
                Ok((len, block)) => {
                    reading.block(block).map_err(|error| match error {
                        CaptureError::Damaged { what, .. } => CaptureError::Damaged { at: read, what },
                        error => error,
                    })?;
                    read += len;
                    reader.consume(len);
                }
                Err(PcapError::Eof) => break,
                Err(PcapError::Incomplete(_)) => {
                    reader
                        .refill()
                        .map_err(|error| CaptureError::Damaged { at: read, what: what(&error) })?;
                }
                Err(error) => return Err(CaptureError::Damaged { at: read, what: what(&error) }),
            }
        }
        match reading.capture.packets.is_empty() {
            true => Err(CaptureError::Empty(reading.capture.skipped)),
            false => Ok(reading.capture),
        }
    }

    /// Its frames, in the order of the file.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The bytes of one of its frames.
    pub fn frame(&self, packet: Packet) -> &[u8] {
        &self.bytes[packet.start as usize..][..usize::from(packet.len)]
    }

    /// Length of the longest frame.
    pub fn max_len(&self) -> usize {
        self.packets.iter().map(|packet| packet.len.into()).max().unwrap_or(0)
    }
}

fn what<I>(error: &PcapError<I>) -> &'static str {
    match error {
        PcapError::BufferTooSmall => "a block is longer than any frame",
        PcapError::UnexpectedEof | PcapError::Incomplete(_) => "it ends within a block",
        PcapError::ReadError => "it cannot be read",
        _ => "a block contradicts itself",
    }
}

/// A capture that is being read.
#[derive(Default)]
struct Reading {
    capture: Capture,
    /// Time of the first frame.
    first: Option<u64>,
    /// Nanoseconds in a unit of the fraction of a second; of pcap.
    fraction: u64,
    /// Of pcapng: whether this section is big-endian.
    section: Option<bool>,
    /// Of pcapng, in this section.
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
    snaplen: u32,
}

impl Reading {
    /// The parser takes for granted that a block of pcapng that it does not know has room for its own length, twice, and
    /// its type.
    fn check_next(&self, data: &[u8]) -> Result<(), &'static str> {
        let (Some(is_big_endian), Some(head)) = (self.section, data.first_chunk::<8>()) else {
            return Ok(());
        };
        let [kind @ .., a, b, c, d] = *head;
        let len = [a, b, c, d];
        let len = if is_big_endian { u32::from_be_bytes(len) } else { u32::from_le_bytes(len) };
        // A section's length is in the byte order that it is about to state.
        if kind != SECTION && len < 12 { Err("a block is shorter than a block can be") } else { Ok(()) }
    }

    fn block(&mut self, block: PcapBlockOwned<'_>) -> Result<(), CaptureError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.header(&header),
            PcapBlockOwned::Legacy(block) => self.legacy(&block),
            PcapBlockOwned::NG(Block::SectionHeader(block)) => {
                self.section = Some(block.big_endian());
                self.interfaces.clear();
                Ok(())
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => self.interface(&block),
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => self.enhanced(&block),
            PcapBlockOwned::NG(Block::SimplePacket(block)) => self.simple(&block),
            PcapBlockOwned::NG(_) => Ok(()),
        }
    }

    fn header(&mut self, header: &PcapHeader) -> Result<(), CaptureError> {
        self.fraction = if header.is_nanosecond_precision() { 1 } else { 1000 };
        // The upper bits say whether frames end with an FCS, which is then sent as payload would be.
        link(Linktype(header.network.0 & 0xffff))
    }

    fn legacy(&mut self, block: &LegacyPcapBlock<'_>) -> Result<(), CaptureError> {
        let time = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * self.fraction;
        self.packet(Some(time), block.data, block.origlen)
    }

    fn interface(&mut self, block: &InterfaceDescriptionBlock<'_>) -> Result<(), CaptureError> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(damaged("there are too many interfaces"));
        }
        // The highest bit says whether it is a power of 2 or of 10 (if_tsresol).
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let base: u64 = if block.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        let resolution = base.checked_pow(exponent).ok_or_else(|| damaged("no clock is so fine"))?;
        let (link, offset) = (block.linktype, block.if_tsoffset);
        self.interfaces.push(Interface { link, resolution, offset, snaplen: block.snaplen });
        Ok(())
    }

    fn enhanced(&mut self, block: &EnhancedPacketBlock<'_>) -> Result<(), CaptureError> {
        let interface = self.interfaces.get(block.if_id as usize).copied();
        let interface =
            interface.ok_or_else(|| damaged("a frame is of an interface that is not described"))?;
        link(interface.link)?;
        let units = u128::from(block.ts_high) << 32 | u128::from(block.ts_low);
        let time = (units * 1_000_000_000 / u128::from(interface.resolution)) as i128
            + i128::from(interface.offset) * 1_000_000_000;
        let data = block
            .data
            .get(..block.caplen as usize)
            .ok_or_else(|| damaged("a frame is longer than its block"))?;
        self.packet(Some(time.clamp(0, u64::MAX.into()) as u64), data, block.origlen)
    }

    /// It has no time: it comes with the one before.
    fn simple(&mut self, block: &SimplePacketBlock<'_>) -> Result<(), CaptureError> {
        let interface = self.interfaces.first().copied();
        let interface =
            interface.ok_or_else(|| damaged("a frame is of an interface that is not described"))?;
        link(interface.link)?;
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let len = block.origlen.min(snaplen) as usize;
        let data = block.data.get(..len).ok_or_else(|| damaged("a frame is longer than its block"))?;
        self.packet(None, data, block.origlen)
    }

    fn packet(&mut self, time: Option<u64>, data: &[u8], len: u32) -> Result<(), CaptureError> {
        let skipped = &mut self.capture.skipped;
        let reason = match () {
            () if data.len() < len as usize => Some(&mut skipped.truncated),
            () if data.len() > MAX_FRAME => Some(&mut skipped.too_long),
            () if data.len() < MIN_FRAME => Some(&mut skipped.too_short),
            () => None,
        };
        if let Some(reason) = reason {
            *reason += 1;
            return Ok(());
        }
        let Capture { bytes, packets, .. } = &mut self.capture;
        if bytes.len() + data.len() + (packets.len() + 1) * size_of::<Packet>() > MAX_MEMORY {
            return Err(CaptureError::TooLarge);
        }
        let last = packets.last().map_or(0, |packet| packet.time);
        let time = time.map_or(last, |time| time.saturating_sub(*self.first.get_or_insert(time)));
        packets.push(Packet { start: bytes.len() as u32, len: data.len() as u16, time: time.max(last) });
        bytes.extend_from_slice(data);
        Ok(())
    }
}

fn damaged(what: &'static str) -> CaptureError {
    CaptureError::Damaged { at: 0, what }
}

fn link(link: Linktype) -> Result<(), CaptureError> {
    if link == Linktype::ETHERNET { Ok(()) } else { Err(CaptureError::Link(link.0)) }
}
