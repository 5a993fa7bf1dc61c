//! The limit loop: what no gateway on this machine can leave out, and nothing else.
//!
//! For each frame it reads the first two lines, fetches three independent random lines from arrays as large as the
//! gateway's (prefetched over the batch), takes a hop off with the checksum adjusted, writes as many bytes as outer
//! headers have, and bumps a counter. It decides nothing and checks nothing. It is the yardstick: it is not changed to
//! look better or worse.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use port::{BATCH, Batch, Umem};
use sys::pages::Pages;
use sys::prefetch;
use sys::words::Words;
use vxgate_bench::frames::{Direction, OVERHEAD_V4, OVERHEAD_V6, Shape, overhead};
use vxgate_bench::population::{Family, Population};
use wire::{checksum, ethernet};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Words of a cache line.
const LINE_WORDS: usize = LINE / 8;
/// Bytes that the gateway has of a station in its largest array: a record for each of its three keys.
const STATION_BYTES: usize = 3 * 32;

/// Words of a counter: packets and bytes each way.
const COUNTER_WORDS: usize = 4;

/// The lines that a frame needs.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    overlay: u32,
    station: u32,
    counter: u32,
}

/// The loop and its arrays, in pages as large as can be had.
pub(crate) struct Limit {
    overlays: Words,
    stations: Words,
    counters: Words,
    /// What is written before frames.
    header: [u8; OVERHEAD_V6],
    lines: [Lines; BATCH],
}

impl Limit {
    /// Arrays for as many overlays and stations as the gateway has.
    pub(crate) fn new(population: &Population) -> io::Result<Self> {
        let overlays = population.overlays as usize;
        let station_lines = (population.stations as usize * STATION_BYTES).div_ceil(LINE);
        Ok(Self {
            overlays: touched(overlays * LINE_WORDS)?,
            stations: touched(station_lines * LINE_WORDS)?,
            counters: touched(overlays * COUNTER_WORDS)?,
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
        let overlays = (self.overlays.len() / LINE_WORDS) as u32;
        let stations = (self.stations.len() / LINE_WORDS) as u32;
        for lines in &mut self.lines {
            *lines = Lines {
                overlay: random.u32(..overlays),
                station: random.u32(..stations),
                counter: random.u32(..overlays),
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
        let (overlays, stations) = (records(&self.overlays), records(&self.stations));
        let counters = self.counters.as_chunks::<COUNTER_WORDS>().0;
        for lines in &self.lines {
            prefetch::read_at(overlays, lines.overlay as usize);
            prefetch::read_at(stations, lines.station as usize);
            prefetch::read_at(counters, lines.counter as usize);
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

            seen ^= overlays[lines.overlay as usize][0].load(Ordering::Relaxed);
            seen ^= stations[lines.station as usize][0].load(Ordering::Relaxed);

            if shape.direction == Direction::Encapsulate {
                assert!(frame.push(OVERHEAD), "received frames have headroom");
            }
            let bytes = umem.data_mut(frame);
            bytes[..OVERHEAD].copy_from_slice(&self.header[..OVERHEAD]);
            // What was read and fetched must come out somewhere, or it need not be done.
            bytes[..8].copy_from_slice(&seen.to_ne_bytes());

            let [packets, octets, ..] = &counters[lines.counter as usize];
            add(packets, 1);
            add(octets, bytes.len() as u64);
            if shape.direction == Direction::Decapsulate {
                assert!(frame.pull(OVERHEAD), "encapsulated frames are longer than the encapsulation");
            }
        }
    }
}

/// An array whose pages are all there: of those never written to, all would be one and the same page of zeros.
fn touched(words: usize) -> io::Result<Words> {
    let words = Words::zeroed(words)?;
    words.iter().for_each(|word| word.store(1, Ordering::Relaxed));
    Ok(words)
}

/// The lines of an array.
fn records(words: &Words) -> &[[AtomicU64; LINE_WORDS]] {
    words.as_chunks().0
}

/// Adds to a counter that nobody else writes.
#[inline]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
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
