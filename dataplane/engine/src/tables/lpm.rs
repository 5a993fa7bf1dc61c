//! Longest-prefix match over IPv4 and IPv6.
//!
//! A hash table for each prefix length in use, the longest asked first. A gateway's overlays have few lengths, so this
//! takes few look-ups however many prefixes there are. Built whole and replaced whole.

use std::hash::Hash;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

/// A map from prefixes to `V`, asked by address.
#[derive(Debug)]
pub(crate) struct Lpm<V> {
    v4: Family<u32, V>,
    v6: Family<u128, V>,
}

/// Tables by length, longest first.
#[derive(Debug)]
struct Family<A, V>(Vec<(A, HashMap<A, V, RandomState>)>);

impl<V> Lpm<V> {
    pub(crate) fn new() -> Self {
        Self { v4: Family(Vec::new()), v6: Family(Vec::new()) }
    }

    /// Later entries for the same prefix replace earlier ones.
    pub(crate) fn build(entries: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let mut lpm = Self::new();
        for (prefix, value) in entries {
            let len = prefix.prefix_len();
            match prefix.network() {
                IpAddr::V4(network) => lpm.v4.insert(mask_v4(len), network.to_bits(), value),
                IpAddr::V6(network) => lpm.v6.insert(mask_v6(len), network.to_bits(), value),
            }
        }
        lpm
    }

    /// The value of the longest prefix that `address` lies in.
    #[inline]
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&V> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }
}

impl<A, V> Family<A, V>
where
    A: Copy + Ord + Hash + std::ops::BitAnd<Output = A>,
{
    fn insert(&mut self, mask: A, network: A, value: V) {
        let at = match self.0.binary_search_by(|(other, _)| mask.cmp(other)) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (mask, HashMap::default()));
                at
            }
        };
        self.0[at].1.insert(network, value);
    }

    #[inline]
    fn lookup(&self, address: A) -> Option<&V> {
        self.0.iter().find_map(|(mask, table)| table.get(&(address & *mask)))
    }
}

fn mask_v4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask_v6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_scan(
            prefixes in proptest::collection::vec((any::<u32>(), 0..=32_u8, any::<u128>(), 0..=128_u8), 0..40),
            addresses in proptest::collection::vec((any::<u32>(), any::<u128>()), 20),
        ) {
            let entries: Vec<(IpNet, usize)> = prefixes
                .iter()
                .flat_map(|(v4, len4, v6, len6)| {
                    [IpNet::new(IpAddr::V4((*v4).into()), *len4), IpNet::new(IpAddr::V6((*v6).into()), *len6)]
                })
                .map(|net| net.unwrap().trunc())
                .enumerate()
                .map(|(index, net)| (net, index))
                .collect();
            let lpm = Lpm::build(entries.iter().copied());
            // Random addresses rarely hit; those next to the prefixes do.
            let near = prefixes.iter().map(|(v4, _, v6, _)| (v4 ^ 1, v6 ^ 1));
            for (v4, v6) in addresses.into_iter().chain(near) {
                for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                    let longest = entries
                        .iter()
                        .filter(|(net, _)| net.contains(&address))
                        .max_by_key(|(net, index)| (net.prefix_len(), *index))
                        .map(|(_, index)| index);
                    prop_assert_eq!(lpm.lookup(address), longest);
                }
            }
        }
    }
}
