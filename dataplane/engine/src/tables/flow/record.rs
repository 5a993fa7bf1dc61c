//! Flows as they lie in memory: records of half a cache line.

use std::io;
use std::num::NonZeroU64;

use sys::pages::Pages;
use wire::{MacAddr, Vni};

use super::key::FlowKey;
use super::sync::{AtomicU64, Ordering, Words, prefetch, prefetch_at};

/// What the table knows of a station by one of its addresses: all that leads to the rewrite of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The overlay's identifier.
    pub vni: Vni,
    /// The overlay's index, below 2²⁴.
    pub overlay: u32,
    /// The index of the endpoint that the station is behind.
    pub endpoint: u16,
    /// The station's MAC address.
    pub mac: MacAddr,
    /// Largest IP packet to the station, bytes; none at all to a visitor.
    pub mtu: u16,
}

impl Flow {
    /// The MTU of who is no station of the overlay, and may send for a while.
    pub(crate) const VISITOR: u16 = 0;

    /// Whether it is one of those.
    pub(crate) fn is_visitor(&self) -> bool {
        self.mtu == Self::VISITOR
    }
}

/// Words of a record: key high, key low, MAC address and MTU, the rest.
const WORDS: usize = 4;

/// Bytes of a record.
pub(super) const BYTES: usize = WORDS * size_of::<u64>();

/// The largest VNI.
const LAST: Vni = Vni::new(Vni::MAX).unwrap();
const OVERLAY_BITS: u32 = 24;
const ENDPOINT_BITS: u32 = 16;

/// A flow as it lies in a record: two words, of which a reader unpacks what it needs.
///
/// ```text
///  63      48 47                                0
/// ┌──────────┬──────────────────────────────────┐
/// │ MTU      │ MAC address, first byte lowest   │
/// ├──────────┴───────┬────────────┬─────────────┤
/// │ VNI              │ endpoint   │ overlay     │
/// └──────────────────┴────────────┴─────────────┘
///  63              40 39        24 23          0
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedFlow {
    station: u64,
    /// Never zero, since no VNI is.
    place: NonZeroU64,
}

impl PackedFlow {
    /// As words.
    fn pack(flow: Flow) -> [u64; 2] {
        let [a, b, c, d, e, f] = flow.mac.0;
        let [g, h] = flow.mtu.to_le_bytes();
        let overlay = u64::from(flow.overlay) & ((1 << OVERLAY_BITS) - 1);
        [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from(flow.vni.value()) << (OVERLAY_BITS + ENDPOINT_BITS)
                | u64::from(flow.endpoint) << OVERLAY_BITS
                | overlay,
        ]
    }

    /// `None` only for words that no flow packs to.
    #[inline(always)]
    fn from_words([station, place]: [u64; 2]) -> Option<Self> {
        Some(Self { station, place: NonZeroU64::new(place)? })
    }

    #[inline]
    pub(super) fn unpack(self) -> Option<Flow> {
        Some(Flow {
            vni: Vni::new((self.place.get() >> (OVERLAY_BITS + ENDPOINT_BITS)) as u32)?,
            overlay: self.overlay(),
            endpoint: self.endpoint(),
            mac: self.mac(),
            mtu: self.mtu(),
        })
    }

    /// [`Flow::vni`].
    #[inline]
    pub(crate) fn vni(self) -> Vni {
        // What is packed has one.
        Vni::new((self.place.get() >> (OVERLAY_BITS + ENDPOINT_BITS)) as u32).unwrap_or(LAST)
    }

    /// [`Flow::overlay`].
    #[inline]
    pub(crate) fn overlay(self) -> u32 {
        self.place.get() as u32 & ((1 << OVERLAY_BITS) - 1)
    }

    /// [`Flow::endpoint`].
    #[inline]
    pub(crate) fn endpoint(self) -> u16 {
        (self.place.get() >> OVERLAY_BITS) as u16
    }

    /// [`Flow::mac`].
    #[inline]
    pub(crate) fn mac(self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.station.to_le_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// [`Flow::mtu`].
    #[inline]
    pub(crate) fn mtu(self) -> u16 {
        (self.station >> 48) as u16
    }
}

/// All records, by index. Index 0 is none's.
#[derive(Debug)]
pub(super) struct Records(Words);

impl Records {
    /// Room for records up to index `last`; memory is taken as they are written.
    pub(super) fn new(last: u32) -> io::Result<Self> {
        Words::zeroed((last as usize + 1) * WORDS).map(Self)
    }

    pub(super) fn pages(&self) -> Pages {
        self.0.pages()
    }

    #[inline]
    pub(super) fn slab(&self) -> Slab<'_> {
        Slab(self.0.as_chunks().0)
    }
}

/// A reference to all records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slab<'a>(&'a [[AtomicU64; WORDS]]);

/// The records' words are accessed without order of their own: the slot word that leads to a record is published after
/// them and read before them, and quiescence lies between the last reader and the next writer.
impl<'a> Slab<'a> {
    #[inline(always)]
    pub(super) fn get(self, index: u32) -> Option<Record<'a>> {
        self.0.get(index as usize).map(Record)
    }

    /// The flow, if the record is that of `key`.
    pub(super) fn flow(self, index: u32, key: FlowKey) -> Option<Flow> {
        self.get(index)?.packed(key).and_then(PackedFlow::unpack)
    }

    #[inline]
    pub(super) fn key(self, index: u32) -> FlowKey {
        let [high, low] = [0, 1].map(|word| u128::from(self.0[index as usize][word].load(Ordering::Relaxed)));
        FlowKey(high << 64 | low)
    }

    /// Asks for the record's cache line.
    #[inline]
    pub(super) fn prefetch(self, index: u32) {
        prefetch_at(self.0, index as usize);
    }

    fn write(self, index: u32, key: FlowKey, flow: Flow) {
        let [station, place] = PackedFlow::pack(flow);
        let words = [(key.0 >> 64) as u64, key.0 as u64, station, place];
        for (word, value) in self.0[index as usize].iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// A reference to one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a>(&'a [AtomicU64; WORDS]);

impl Record<'_> {
    /// The flow, if the record is that of `key`.
    #[inline(always)]
    pub(super) fn packed(self, key: FlowKey) -> Option<PackedFlow> {
        let [high, low, station, place] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        let is_other = high ^ (key.0 >> 64) as u64 | low ^ key.0 as u64;
        if is_other == 0 { PackedFlow::from_words([station, place]) } else { None }
    }

    /// Asks for the record's cache line.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        prefetch(self.0);
    }
}

/// Which records are free: those never used, and a list through those used before, which costs no memory.
#[derive(Debug)]
pub(super) struct FreeRecords {
    /// The first that was never used.
    unused: u32,
    last: u32,
    /// The first of the list, 0 if it is empty; each one's first word is the next.
    head: u32,
}

impl FreeRecords {
    pub(super) fn new(last: u32) -> Self {
        Self { unused: 1, last, head: 0 }
    }

    /// Fills a free record; `None` if there is none.
    pub(super) fn take(&mut self, slab: Slab<'_>, key: FlowKey, flow: Flow) -> Option<u32> {
        let index = if self.head != 0 {
            let index = self.head;
            self.head = slab.0[index as usize][0].load(Ordering::Relaxed) as u32;
            index
        } else if self.unused <= self.last {
            self.unused += 1;
            self.unused - 1
        } else {
            return None;
        };
        slab.write(index, key, flow);
        Some(index)
    }

    /// Gives a record back that no reader can still look at.
    pub(super) fn give(&mut self, slab: Slab<'_>, index: u32) {
        slab.0[index as usize][0].store(u64::from(self.head), Ordering::Relaxed);
        self.head = index;
    }

    /// Whether [`take`](Self::take) would find none.
    pub(super) fn is_empty(&self) -> bool {
        self.head == 0 && self.unused > self.last
    }

    /// Records that have been touched so far, and so take memory.
    pub(super) fn touched(&self) -> u32 {
        self.unused
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            vni: Vni::new(0x12_3456).unwrap(),
            overlay: 0xab_cdef,
            endpoint: 0x7788,
            mac: MacAddr([2, 3, 4, 5, 6, 7]),
            mtu: 9000,
        }
    }

    #[test]
    fn packed_words() {
        let words = [0x2328_0706_0504_0302, 0x1234_5677_88ab_cdef];
        assert_eq!(PackedFlow::pack(flow()), words);
        let packed = PackedFlow::from_words(words).unwrap();
        assert_eq!(packed.unpack(), Some(flow()));
        assert_eq!((packed.vni(), packed.overlay()), (flow().vni, flow().overlay));
        assert_eq!((packed.endpoint(), packed.mac(), packed.mtu()), (0x7788, flow().mac, 9000));
        let widest = Flow {
            vni: Vni::new(Vni::MAX).unwrap(),
            overlay: (1 << 24) - 1,
            endpoint: u16::MAX,
            mac: MacAddr::BROADCAST,
            mtu: u16::MAX,
        };
        assert_eq!(PackedFlow::pack(widest), [u64::MAX; 2]);
        assert_eq!(PackedFlow::from_words([u64::MAX; 2]).and_then(PackedFlow::unpack), Some(widest));
        assert_eq!(PackedFlow::from_words([0; 2]), None);
    }

    #[test]
    fn records_are_found_under_their_own_key() {
        let records = Records::new(2).unwrap();
        let mut free = FreeRecords::new(2);
        let key = FlowKey(1 << 100 | 5);
        let index = free.take(records.slab(), key, flow()).unwrap();
        assert_eq!(records.slab().flow(index, key), Some(flow()));
        assert_eq!(records.slab().key(index), key);
        assert_eq!(records.slab().flow(index, FlowKey(5)), None);
        assert_eq!(records.slab().flow(index, FlowKey(1 << 100)), None);
        assert_eq!(records.slab().flow(u32::MAX, key), None);
    }

    #[test]
    fn each_record_is_given_out_once() {
        let records = Records::new(3).unwrap();
        let mut free = FreeRecords::new(3);
        let take = |free: &mut FreeRecords| free.take(records.slab(), FlowKey(9), flow());
        let taken = [take(&mut free), take(&mut free), take(&mut free)];
        assert_eq!(taken, [Some(1), Some(2), Some(3)]);
        assert!(free.is_empty() && take(&mut free).is_none());
        free.give(records.slab(), 1);
        free.give(records.slab(), 3);
        assert!(!free.is_empty());
        assert_eq!([take(&mut free), take(&mut free), take(&mut free)], [Some(3), Some(1), None]);
    }
}
