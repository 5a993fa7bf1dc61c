//! The books of a receiver.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::latency::{Latency, LatencySummary};
use super::{Arrival, Begin, Check, Found, Other, Sequence, find};
use crate::stamp::Stamp;

/// Streams that are accounted when nobody said which there are: those of the first frames. Each takes some 0.4 MB.
pub const UNEXPECTED_STREAMS: usize = 64;
/// Overlays that are accounted.
pub const OVERLAYS: usize = 65_536;
/// Sequence numbers of a stream inside which everything is exact, unless it is asked for otherwise.
pub const WINDOW: u64 = 1 << 17;
/// Lost packets whose overlay is looked up in one go while receiving.
const LOST_AT_ONCE: u64 = 256;
/// Lost packets whose overlay is looked up at the end, unless it is asked for otherwise: some seconds' worth.
const LOST_AT_END: u64 = 1 << 28;

/// Tells which overlay a packet of a stream was for, by its sequence number, which does not wrap.
pub type OverlayOf = Arc<dyn Fn(u64) -> Option<u32> + Send + Sync>;

/// A stream that is expected.
#[derive(Clone)]
pub struct Expected {
    /// Its name in the profile.
    pub name: String,
    /// The overlays of its packets.
    pub overlay: OverlayOf,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the meter shall know beforehand.
#[derive(Clone, Debug)]
pub struct MeterOptions {
    /// The streams, by their number in stamps; `None`: whatever comes, each from the first packet that comes.
    pub streams: Option<Vec<Expected>>,
    /// Sequence numbers inside which everything is exact.
    pub window: u64,
    /// Lost packets whose overlay is looked up at the end, at most: a stamp can claim that billions are lost.
    pub lost_at_end: u64,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self { streams: None, window: WINDOW, lost_at_end: LOST_AT_END }
    }
}

/// Counts everything that is received.
#[derive(Debug)]
pub struct Meter {
    options: MeterOptions,
    /// By number.
    streams: Vec<Option<Box<Stream>>>,
    accounted: usize,
    overlays: HashMap<u32, OverlayCounts>,
    totals: Totals,
    /// Latency of the current slice of time.
    slice: Latency,
}

#[derive(Debug)]
struct Stream {
    sequence: Sequence,
    latency: Latency,
    counts: StreamCounts,
    /// Lost packets of no known overlay.
    lost_of_no_overlay: u64,
}

impl Stream {
    fn new(begin: Begin, window: u64) -> Self {
        Self {
            sequence: Sequence::new(begin, window),
            latency: Latency::new(),
            counts: StreamCounts::default(),
            lost_of_no_overlay: 0,
        }
    }
}

/// What was received of all streams together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames of any kind, and their bytes without FCS.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Test packets that came whole, each once: neither duplicates nor late ones.
    pub received: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Of those received: packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets from behind the window.
    pub late: u64,
    /// Test packets with a wrong checksum: not among those received.
    pub corrupted: u64,
    /// Of those received: packets without a checksum over the payload, whose corruption nobody would see.
    pub unchecked: u64,
    /// Of those received: packets that came in another overlay than theirs.
    pub misdelivered: u64,
    /// Of those received: packets that came before they were sent, so that sender and receiver have no clock in common.
    /// Of these no latency is known.
    #[serde(default)]
    pub backward: u64,
    /// Test packets of streams that nobody expects.
    pub unexpected: u64,
    /// Other traffic.
    pub other: OtherCounts,
}

/// Frames that are no test packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherCounts {
    /// ARP.
    pub arp: u64,
    /// ICMP errors: some may quote test packets.
    pub icmp_errors: u64,
    /// Packets with a wrong checksum and without a stamp: maybe test packets whose stamp was hit.
    pub damaged: u64,
    /// Packets without a stamp.
    pub unstamped: u64,
    /// What could not be read.
    pub malformed: u64,
}

impl OtherCounts {
    fn count(&mut self, other: Other) {
        *match other {
            Other::Arp => &mut self.arp,
            Other::IcmpError => &mut self.icmp_errors,
            Other::Damaged => &mut self.damaged,
            Other::Unstamped => &mut self.unstamped,
            Other::Malformed => &mut self.malformed,
        } += 1;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.arp + self.icmp_errors + self.damaged + self.unstamped + self.malformed
    }
}

/// What became of a stream's packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamCounts {
    /// Packets that came whole, each once.
    pub received: u64,
    /// Packets that did not come whole, as far as it can be told: up to the last that was sent, or, if that is not known,
    /// the last that came.
    pub lost: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Of those received: packets that came after one with a higher number (RFC 4737 §3.3).
    pub reordered: u64,
    /// Sum of the extents (RFC 4737 §4.2) of those reordered, as far as they are known.
    pub extent_sum: u64,
    /// The largest of them.
    pub extent_max: u64,
    /// Of those reordered: packets whose extent is not known.
    pub extent_unknown: u64,
    /// Packets from behind the window: lost ones that came after all, or duplicates.
    pub late: u64,
    /// Packets with a wrong checksum. Their numbers are not trusted, so they are among the lost.
    pub corrupted: u64,
    /// Of those received: packets without a checksum over the payload.
    pub unchecked: u64,
    /// Of those received: packets that came in another overlay than theirs.
    pub misdelivered: u64,
    /// Of those received: packets that came before they were sent, by the clocks.
    #[serde(default)]
    pub backward: u64,
    /// When the first and the last came, in nanoseconds of the monotonic clock.
    pub first: Option<u64>,
    /// The last.
    pub last: u64,
}

/// What became of the packets for one overlay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayCounts {
    /// Packets that came whole, each once.
    pub received: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Of those received: packets that came after one with a higher number of their stream.
    pub reordered: u64,
    /// Packets with a wrong checksum: by the VNI that they came in, else by their stamp. Either may be what was hit.
    #[serde(default)]
    pub corrupted: u64,
    /// Packets of other overlays that came in this one.
    pub strangers: u64,
}

/// A piece of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// All that was received until its end.
    pub totals: Totals,
    /// Packets lost until its end; some may yet come.
    pub missing: u64,
    /// Median latency inside it, in nanoseconds; 0 if nothing came.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of all streams together.
    pub totals: Totals,
    /// Of all streams together.
    pub latency: Option<LatencySummary>,
    /// Streams that were expected or came, by number.
    pub streams: Vec<(u16, StreamCounts, Option<LatencySummary>)>,
    /// Overlays that were told of or seen, by VNI.
    pub overlays: Vec<(u32, OverlayCounts)>,
    /// Lost packets of which it is not known for which overlay they were.
    pub lost_of_no_overlay: u64,
}

impl Meter {
    /// Takes all the memory that it needs, but for that of streams nobody told it of.
    pub fn new(options: MeterOptions) -> Self {
        let streams: Vec<_> = options
            .streams
            .iter()
            .flatten()
            .map(|_| Some(Box::new(Stream::new(Begin::AtZero, options.window))))
            .collect();
        let accounted = streams.len();
        Self {
            options,
            streams,
            accounted,
            overlays: HashMap::with_capacity(OVERLAYS),
            totals: Totals::default(),
            slice: Latency::new(),
        }
    }

    /// Takes a frame, from its Ethernet header on, without FCS, that came at `now` (nanoseconds of the stamps' clock).
    #[inline]
    pub fn take(&mut self, frame: &[u8], now: u64) {
        self.totals.frames += 1;
        self.totals.bytes += frame.len() as u64;
        match find(frame) {
            Found::Test { stamp, overlay, check } => {
                self.test_packet(stamp, overlay.map(wire::Vni::value), check, now);
            }
            Found::Other(other) => self.totals.other.count(other),
        }
    }

    fn test_packet(&mut self, stamp: Stamp, came_in: Option<u32>, check: Check, now: u64) {
        let Some(stream) = stream(&mut self.streams, &self.options, &mut self.accounted, stamp.stream) else {
            // Which stream it is says the stamp, so that it may be a corrupted one as well.
            match check {
                Check::Wrong => self.totals.corrupted += 1,
                _ => self.totals.unexpected += 1,
            }
            return;
        };
        let Totals {
            received,
            duplicates,
            reordered,
            late,
            corrupted,
            unchecked,
            misdelivered,
            backward,
            ..
        } = &mut self.totals;
        let counts = &mut stream.counts;
        let expected = self.options.streams.as_ref().and_then(|all| all.get(usize::from(stamp.stream)));
        let meant_for = |number: Option<u64>| {
            expected.zip(number).and_then(|(expected, number)| (expected.overlay)(number))
        };
        let mut of_overlay = |vni: Option<u32>, count: fn(&mut OverlayCounts) -> &mut u64| {
            if let Some(counts) = vni.and_then(|vni| overlay(&mut self.overlays, vni)) {
                *count(counts) += 1;
            }
        };
        if check == Check::Wrong {
            counts.corrupted += 1;
            *corrupted += 1;
            let vni = came_in.or_else(|| meant_for(stream.sequence.number(stamp.sequence)));
            return of_overlay(vni, |overlay| &mut overlay.corrupted);
        }
        let (number, arrival) = stream.sequence.arrive(stamp.sequence);
        let meant_for = meant_for(number);
        let vni = meant_for.or(came_in);
        match arrival {
            Arrival::Duplicate => {
                counts.duplicates += 1;
                *duplicates += 1;
                return of_overlay(vni, |overlay| &mut overlay.duplicates);
            }
            Arrival::Late => {
                counts.late += 1;
                *late += 1;
                return;
            }
            Arrival::Reordered { extent } => {
                counts.reordered += 1;
                *reordered += 1;
                of_overlay(vni, |overlay| &mut overlay.reordered);
                match extent {
                    Some(extent) => {
                        counts.extent_sum += extent;
                        counts.extent_max = counts.extent_max.max(extent);
                    }
                    None => counts.extent_unknown += 1,
                }
            }
            Arrival::InOrder => {}
        }
        *received += 1;
        of_overlay(vni, |overlay| &mut overlay.received);
        if check == Check::Absent {
            counts.unchecked += 1;
            *unchecked += 1;
        }
        if meant_for.is_some() && came_in.is_some() && meant_for != came_in {
            counts.misdelivered += 1;
            *misdelivered += 1;
            of_overlay(came_in, |overlay| &mut overlay.strangers);
        }
        counts.first.get_or_insert(now);
        counts.last = now;
        match now.checked_sub(stamp.time) {
            Some(latency) => {
                stream.latency.record(latency);
                self.slice.record(latency);
            }
            None => {
                counts.backward += 1;
                *backward += 1;
            }
        }
    }

    /// Does some of what would take too long at the end; to be called when there is nothing to receive.
    pub fn idle(&mut self) {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            let Some(lost) = stream.sequence.take_lost(LOST_AT_ONCE) else { continue };
            stream.lost_of_no_overlay += charge(&self.options, &mut self.overlays, number, lost);
        }
    }

    /// Ends a slice of time, and begins the next.
    pub fn slice(&mut self) -> Slice {
        let slice = Slice {
            totals: self.totals,
            missing: self.streams.iter().flatten().map(|stream| stream.sequence.lost()).sum(),
            p50: self.slice.quantile(0.5),
            p99: self.slice.quantile(0.99),
        };
        self.slice.reset();
        slice
    }

    /// What has been received so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Closes the books. `sent` are the numbers of packets that were sent, by stream, if that is known.
    pub fn finish(mut self, sent: Option<&[u64]>) -> Measured {
        let mut latency = Latency::new();
        let mut streams = Vec::new();
        let (mut lost_of_no_overlay, mut patience) = (0, self.options.lost_at_end);
        for (number, stream) in self.streams.into_iter().enumerate() {
            let Some(mut stream) = stream else { continue };
            stream.sequence.finish(sent.and_then(|sent| sent.get(number).copied()));
            lost_of_no_overlay += stream.lost_of_no_overlay + stream.sequence.untold();
            while let Some(lost) = stream.sequence.take_lost(if patience == 0 { u64::MAX } else { patience })
            {
                let many = lost.end - lost.start;
                if patience == 0 {
                    lost_of_no_overlay += many;
                    continue;
                }
                patience -= many;
                lost_of_no_overlay += charge(&self.options, &mut self.overlays, number, lost);
            }
            stream.counts.lost = stream.sequence.lost();
            stream.counts.received = stream.sequence.unique();
            latency.add(&stream.latency);
            streams.push((number as u16, stream.counts, stream.latency.summary()));
        }
        let mut overlays: Vec<_> = self.overlays.into_iter().collect();
        overlays.sort_unstable_by_key(|(vni, _)| *vni);
        Measured { totals: self.totals, latency: latency.summary(), streams, overlays, lost_of_no_overlay }
    }
}

/// The account of a stream, opened if it is one that nobody told of, and there is room.
#[inline]
fn stream<'a>(
    streams: &'a mut Vec<Option<Box<Stream>>>,
    options: &MeterOptions,
    accounted: &mut usize,
    number: u16,
) -> Option<&'a mut Stream> {
    let number = usize::from(number);
    if options.streams.is_none() && streams.get(number).is_none_or(Option::is_none) {
        if *accounted == UNEXPECTED_STREAMS {
            return None;
        }
        *accounted += 1;
        streams.resize_with(streams.len().max(number + 1), || None);
        streams[number] = Some(Box::new(Stream::new(Begin::AtFirst, options.window)));
    }
    streams.get_mut(number)?.as_deref_mut()
}

/// The account of an overlay, if there is room.
#[inline]
fn overlay(overlays: &mut HashMap<u32, OverlayCounts>, vni: u32) -> Option<&mut OverlayCounts> {
    if overlays.len() == OVERLAYS && !overlays.contains_key(&vni) {
        return None;
    }
    Some(overlays.entry(vni).or_default())
}

/// Charges overlays with lost packets: how many could not be.
fn charge(
    options: &MeterOptions,
    overlays: &mut HashMap<u32, OverlayCounts>,
    stream: usize,
    lost: std::ops::Range<u64>,
) -> u64 {
    let many = lost.end - lost.start;
    let Some(expected) = options.streams.as_ref().and_then(|all| all.get(stream)) else { return many };
    let mut charged = 0;
    for number in lost {
        let vni = (expected.overlay)(number);
        if let Some(counts) = vni.and_then(|vni| overlay(overlays, vni)) {
            counts.lost += 1;
            charged += 1;
        }
    }
    many - charged
}

#[cfg(test)]
mod tests;
