//! The limit loop: what no gateway on this machine can leave out, and nothing else.
//!
//! For each frame it reads the first two lines, fetches three independent random lines from arrays as large as the
//! gateway's (prefetched over the batch), takes a hop off with the checksum adjusted, writes as many bytes as outer
//! headers have, and bumps a counter. It decides nothing and checks nothing. It is the yardstick: it is not changed to
//! look better or worse.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use port::{BATCH, Batch, Umem};
use sys::prefetch;
use sys::words::{Pages, Words};
use vxgate_bench::frames::{Direction, OVERHEAD_V4, OVERHEAD_V6, Shape, overhead};
use vxgate_bench::population::{Family, Population};
use wire::{checksum, ethernet};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Words of a cache line.
const LINE_WORDS: usize = LINE / 8;
/// Bytes that the gateway has of a station in its largest array: a record for each of its three keys.
const STATION_BYTES: usize = 3 * 32;

/// A record of a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Record([u64; LINE_WORDS]);

/// Packets and bytes each way, half a line.
#[derive(Clone)]
#[repr(align(32))]
struct Counter([u64; 4]);

/// The lines that a frame needs.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    overlay: u32,
    station: u32,
    counter: u32,
}

/// The loop and its arrays.
pub(crate) struct Limit {
    overlays: Vec<Record>,
    /// In the same kind of pages as the gateway's.
    stations: Words,
    counters: Vec<Counter>,
    /// What is written before frames.
    header: [u8; OVERHEAD_V6],
    lines: [Lines; BATCH],
}

impl Limit {
    /// Arrays for as many overlays and stations as the gateway has.
    pub(crate) fn new(population: &Population) -> io::Result<Self> {
        let overlays = population.overlays as usize;
        let station_lines = (population.stations as usize * STATION_BYTES).div_ceil(LINE);
        let stations = Words::zeroed(station_lines * LINE_WORDS)?;
        // All are written to, or the kernel would give one and the same page of zeros for all.
        stations.iter().for_each(|word| word.store(1, Ordering::Relaxed));
        Ok(Self {
            overlays: vec![Record([1; LINE_WORDS]); overlays],
            stations,
            counters: vec![Counter([1; 4]); overlays],
            header: [0x5a; OVERHEAD_V6],
            lines: [Lines::default(); BATCH],
        })
    }

    /// What pages the largest array is made of.
    pub(crate) fn pages(&self) -> Pages {
        self.stations.pages()
    }

    /// Draws the lines of the next batch.
    pub(crate) fn draw(&mut self, random: &mut fastrand::Rng) {
        let stations = (self.stations.len() / LINE_WORDS) as u32;
        for lines in &mut self.lines {
            *lines = Lines {
                overlay: random.u32(..self.overlays.len() as u32),
                station: random.u32(..stations),
                counter: random.u32(..self.counters.len() as u32),
            };
        }
    }

    /// Takes the batch through the loop.
    pub(crate) fn process(&mut self, umem: &Umem, batch: &mut Batch, shape: Shape) {
        match overhead(shape.family) {
            OVERHEAD_V4 => self.run::<OVERHEAD_V4>(umem, batch, shape),
            _ => self.run::<OVERHEAD_V6>(umem, batch, shape),
        }
    }

    fn run<const OVERHEAD: usize>(&mut self, umem: &Umem, batch: &mut Batch, shape: Shape) {
        let (stations, _): (&[[AtomicU64; LINE_WORDS]], _) = self.stations.as_chunks();
        for lines in &self.lines {
            prefetch::read_at(&self.overlays, lines.overlay as usize);
            prefetch::read_at(stations, lines.station as usize);
            prefetch::read_at(&self.counters, lines.counter as usize);
        }
        let packet = match shape.direction {
            Direction::Decapsulate => OVERHEAD + ethernet::HEADER_LEN,
            Direction::Encapsulate => ethernet::HEADER_LEN,
        };
        for (frame, lines) in batch.iter_mut().zip(&self.lines) {
            let bytes = umem.data_mut(frame);
            let mut seen = 0;
            for word in bytes[..bytes.len().min(2 * LINE)].as_chunks::<8>().0 {
                seen ^= u64::from_ne_bytes(*word);
            }
            age(&mut bytes[packet..], shape.family);

            let overlay = &self.overlays[lines.overlay as usize].0;
            let station = &stations[lines.station as usize];
            seen ^= overlay[0] ^ station[0].load(Ordering::Relaxed);

            if shape.direction == Direction::Encapsulate {
                assert!(frame.push(OVERHEAD), "received frames have headroom");
            }
            let bytes = umem.data_mut(frame);
            bytes[..OVERHEAD].copy_from_slice(&self.header[..OVERHEAD]);
            // What was read and fetched must come out somewhere, or it need not be done.
            bytes[..8].copy_from_slice(&seen.to_ne_bytes());

            let counter = &mut self.counters[lines.counter as usize].0;
            counter[0] += 1;
            counter[1] += bytes.len() as u64;
            if shape.direction == Direction::Decapsulate {
                assert!(frame.pull(OVERHEAD), "encapsulated frames are longer than the encapsulation");
            }
        }
    }
}

/// Takes a hop off the packet.
#[inline]
fn age(packet: &mut [u8], family: Family) {
    match family {
        Family::V4 => {
            let header: &mut [u8; 20] = packet.first_chunk_mut().expect("frames hold an IP header");
            let word = u16::from_be_bytes([header[8], header[9]]);
            header[8] = header[8].wrapping_sub(1);
            let aged = u16::from_be_bytes([header[8], header[9]]);
            let check = checksum::update(u16::from_be_bytes([header[10], header[11]]), word, aged);
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => packet[7] = packet[7].wrapping_sub(1),
    }
}
