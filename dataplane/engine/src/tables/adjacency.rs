//! Neighbours that frames are sent to, and their MAC addresses.

use std::sync::atomic::{AtomicU64, Ordering};

use wire::MacAddr;

use crate::api::PortIndex;

/// A MAC address that changes while workers read it: its bytes as they lie in a frame, and whether it is known.
#[derive(Debug, Default)]
pub(crate) struct MacCell(AtomicU64);

impl MacCell {
    const KNOWN: u64 = 1 << 48;

    pub(crate) fn new(mac: Option<MacAddr>) -> Self {
        let cell = Self::default();
        cell.set(mac);
        cell
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<MacAddr> {
        // The word is the whole message: nothing else is read because of it.
        let word = self.0.load(Ordering::Relaxed);
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        (word & Self::KNOWN != 0).then_some(MacAddr([a, b, c, d, e, f]))
    }

    pub(crate) fn set(&self, mac: Option<MacAddr>) {
        let word = mac.map_or(0, |MacAddr([a, b, c, d, e, f])| {
            Self::KNOWN | u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
        });
        self.0.store(word, Ordering::Relaxed);
    }
}

/// A neighbour on the link of a port. Shared by all that is sent through it, so that a new MAC address is one write.
#[derive(Debug)]
pub(crate) struct Adjacency {
    pub(crate) port: PortIndex,
    pub(crate) mac: MacCell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_any_mac_or_none() {
        let cell = MacCell::new(None);
        assert_eq!(cell.get(), None);
        for mac in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([2, 1, 2, 3, 4, 5])] {
            cell.set(Some(mac));
            assert_eq!(cell.get(), Some(mac));
        }
    }
}
