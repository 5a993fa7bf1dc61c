//! Longest-prefix match over IPv4 and IPv6.
//!
//! Prefixes nest or are disjoint, so a set of them cuts the address space into ranges, each with one answer, kept
//! sorted. Nesting costs nothing at look-up, and memory does not depend on prefix lengths: at most two ranges a prefix.
//! An index over the leading 16 bits has the answer itself where all addresses that share them have one, as nearly all
//! have: a look-up is one load. Where they have several, it says which ranges to search.
//!
//! A table is built whole and replaced whole, so that readers need no protocol. It serves what changes seldom (routes,
//! overlays' prefixes); stations, which change often, are in the flow table.

use std::net::IpAddr;

use ipnet::IpNet;

/// Leading bits that the index distinguishes.
const INDEX_BITS: u32 = 16;
/// Slots of the index.
const SLOTS: usize = 1 << INDEX_BITS;
/// Marks a slot whose addresses have several answers: the rest of the word is the place of its ranges.
const SEVERAL: u32 = 1 << 31;
/// So many candidates are faster tried one by one than halved.
const FEW: usize = 8;

/// A map from prefixes to `V`, asked by address.
#[derive(Debug)]
pub(crate) struct Lpm<V> {
    values: Vec<V>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl<V> Lpm<V> {
    /// Later entries for the same prefix replace earlier ones.
    pub(crate) fn build(entries: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let (mut values, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
        for (prefix, value) in entries {
            values.push(value);
            let (value, len) = (values.len() as u32, prefix.prefix_len());
            match prefix {
                IpNet::V4(prefix) => {
                    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                    v4.push(Prefix { first, last, len, value });
                }
                IpNet::V6(prefix) => {
                    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                    v6.push(Prefix { first, last, len, value });
                }
            }
        }
        Self { values, v4: Ranges::build(v4), v6: Ranges::build(v6) }
    }

    /// The value of the longest prefix that `address` lies in.
    #[inline(always)]
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&V> {
        let value = match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        };
        // Zero, "none", wraps to an index that no vector has.
        self.values.get((value as usize).wrapping_sub(1))
    }

    /// Bytes in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.values.capacity() * size_of::<V>() + self.v4.memory_bytes() + self.v6.memory_bytes()
    }
}

/// Addresses as numbers.
trait Address: Copy + Ord {
    const ZERO: Self;
    /// `self + 1`, `None` after the last.
    fn next(self) -> Option<Self>;
    /// The slot of the index that it falls into.
    fn slot(self) -> u16;
    /// Whether it is the first of its slot.
    fn begins_slot(self) -> bool;
}

macro_rules! address {
    ($number:ty) => {
        impl Address for $number {
            const ZERO: Self = 0;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            #[inline]
            fn slot(self) -> u16 {
                (self >> (Self::BITS - INDEX_BITS)) as u16
            }

            fn begins_slot(self) -> bool {
                self << INDEX_BITS == 0
            }
        }
    };
}
address!(u32);
address!(u128);

struct Prefix<A> {
    first: A,
    last: A,
    len: u8,
    /// Place of its value, plus one.
    value: u32,
}

/// The address space, cut where the answer changes.
#[derive(Debug)]
struct Ranges<A> {
    /// First addresses, ascending, the first of them zero.
    starts: Vec<A>,
    /// The answer from there on; zero: none.
    values: Vec<u32>,
    /// For each value of the leading bits the one answer, or [`SEVERAL`] and a place in `searched`.
    index: Box<[u32; SLOTS]>,
    /// First and last of the ranges that a slot's addresses lie in.
    searched: Vec<(u32, u32)>,
}

impl<A: Address> Ranges<A> {
    fn build(mut prefixes: Vec<Prefix<A>>) -> Self {
        // Outer prefixes before the ones inside; stable, so that of equal ones the last given is the last to cut.
        prefixes.sort_by_key(|prefix| (prefix.first, prefix.len));
        let mut cuts = Cuts { starts: vec![A::ZERO], values: vec![0] };
        let mut open: Vec<Prefix<A>> = Vec::new();
        for prefix in prefixes {
            close_before(&mut open, Some(prefix.first), &mut cuts);
            cuts.cut(prefix.first, prefix.value);
            open.push(prefix);
        }
        close_before(&mut open, None, &mut cuts);
        let Cuts { starts, values } = cuts;
        let (mut searched, mut range) = (Vec::new(), 0);
        let index = (0..=u16::MAX).map(|slot| {
            // The range that the slot's first address lies in, and the one that its last does.
            let is_first = |start: &A| start.slot() < slot || start.slot() == slot && start.begins_slot();
            range += starts[range..].iter().take_while(|start| is_first(start)).count().saturating_sub(1);
            let first = range;
            range += starts[range + 1..].iter().take_while(|start| start.slot() == slot).count();
            if first == range {
                return values[range];
            }
            searched.push((first as u32, range as u32));
            SEVERAL | (searched.len() - 1) as u32
        });
        let index: Box<[u32]> = index.collect();
        let index = index.try_into().unwrap_or_else(|_| unreachable!("a slot for each value of 16 bits"));
        Self { starts, values, index, searched }
    }

    #[inline(always)]
    fn lookup(&self, address: A) -> u32 {
        let slot = self.index[usize::from(address.slot())];
        if slot & SEVERAL == 0 { slot } else { self.search(address, slot & !SEVERAL) }
    }

    #[inline(never)]
    fn search(&self, address: A, place: u32) -> u32 {
        let (first, last) = self.searched[place as usize];
        let (first, last) = (first as usize, last as usize);
        let candidates = &self.starts[first + 1..=last];
        let inside = if candidates.len() <= FEW {
            candidates.iter().take_while(|start| **start <= address).count()
        } else {
            candidates.partition_point(|start| *start <= address)
        };
        self.values[first + inside]
    }

    fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<A>()
            + (self.values.capacity() + self.index.len()) * size_of::<u32>()
            + self.searched.capacity() * size_of::<(u32, u32)>()
    }
}

struct Cuts<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Address> Cuts<A> {
    /// From `start` on the answer is `value`. Calls come in ascending order; of several for one start the last counts.
    fn cut(&mut self, start: A, value: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }
}

/// Ends the open prefixes that end before `first`, innermost first: after each, the one around it goes on.
fn close_before<A: Address>(open: &mut Vec<Prefix<A>>, first: Option<A>, cuts: &mut Cuts<A>) {
    while let Some(last) = open.pop_if(|prefix| first.is_none_or(|first| prefix.last < first)) {
        if let Some(next) = last.last.next() {
            cuts.cut(next, open.last().map_or(0, |outer| outer.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(entries: &[(IpNet, usize)], address: IpAddr) -> Option<&usize> {
        entries
            .iter()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, index)| (net.prefix_len(), *index))
            .map(|(_, index)| index)
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(
            prefixes in proptest::collection::vec((any::<u32>(), 0..=32_u8, any::<u128>(), 0..=128_u8), 0..60),
            shared in any::<bool>(),
            addresses in proptest::collection::vec((any::<u32>(), any::<u128>()), 20),
        ) {
            let entries: Vec<(IpNet, usize)> = prefixes
                .iter()
                .flat_map(|(v4, len4, v6, len6)| {
                    // Prefixes nest when their addresses share their leading bits.
                    let (v4, v6) = if shared { (v4 & 0xfff, v6 & 0xfff_ffff) } else { (*v4, *v6) };
                    [IpNet::new(IpAddr::V4(v4.into()), *len4), IpNet::new(IpAddr::V6(v6.into()), *len6)]
                })
                .map(|net| net.unwrap().trunc())
                .enumerate()
                .map(|(index, net)| (net, index))
                .collect();
            let lpm = Lpm::build(entries.iter().copied());
            let edges = entries.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]);
            let random = addresses.into_iter().flat_map(|(v4, v6)| [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())]);
            for address in edges.chain(random) {
                for address in [Some(address), step(address, true), step(address, false)].into_iter().flatten() {
                    prop_assert_eq!(lpm.lookup(address), scan(&entries, address), "{}", address);
                }
            }
        }
    }

    fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                Some(IpAddr::V4((if up { bits.checked_add(1) } else { bits.checked_sub(1) })?.into()))
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                Some(IpAddr::V6((if up { bits.checked_add(1) } else { bits.checked_sub(1) })?.into()))
            }
        }
    }

    #[test]
    fn twenty_deep() {
        let entries: Vec<(IpNet, usize)> =
            (8..=28).map(|len| (format!("10.0.0.0/{len}").parse().unwrap(), len)).collect();
        let lpm = Lpm::build(entries);
        for len in 8..28 {
            let address = std::net::Ipv4Addr::from_bits((10 << 24) | (1 << (31 - len)));
            assert_eq!(lpm.lookup(address.into()), Some(&len));
        }
        assert_eq!(lpm.lookup("10.0.0.1".parse().unwrap()), Some(&28));
        assert_eq!(lpm.lookup("11.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn the_whole_space_and_nothing() {
        let empty = Lpm::<()>::build([]);
        assert!(empty.lookup("255.255.255.255".parse().unwrap()).is_none());
        let all = Lpm::build([("0.0.0.0/0".parse().unwrap(), 4), ("::/0".parse().unwrap(), 6)]);
        for (address, value) in [("0.0.0.0", 4), ("255.255.255.255", 4), ("::", 6), ("ffff::ffff", 6)] {
            assert_eq!(all.lookup(address.parse().unwrap()), Some(&value));
        }
    }
}
