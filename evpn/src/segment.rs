//! The Ethernet segment of a cluster, by which its gateways find each other (RFC 7432 §8.1.1).
//!
//! It is for discovery alone: no station is behind it, so that type 2 routes carry no ESI, there are no type 1 routes, and
//! nobody elects a forwarder (RFC 8584).

use std::fmt;

use rustbgpd_wire::{EthernetSegmentIdentifier, ExtendedCommunity};

/// An Ethernet segment identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EthernetSegment([u8; 10]);

impl EthernetSegment {
    /// That of the cluster with this number, of type 0 (RFC 7432 §5): `vxgw`, the number, and zeroes.
    pub const fn of_cluster(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self([0, b'v', b'x', b'g', b'w', high, low, 0, 0, 0])
    }

    pub(crate) const fn esi(self) -> EthernetSegmentIdentifier {
        EthernetSegmentIdentifier(self.0)
    }

    /// ES-Import route target: the first six octets of its value (RFC 7432 §7.6).
    pub(crate) fn import_target(self) -> ExtendedCommunity {
        let [_, a, b, c, d, e, f, ..] = self.0;
        ExtendedCommunity::es_import_rt([a, b, c, d, e, f])
    }

    /// Whether a route of it with these communities may be believed.
    pub(crate) fn imports(self, communities: &[ExtendedCommunity]) -> bool {
        communities.contains(&self.import_target())
    }
}

impl fmt::Display for EthernetSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.esi().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_segments_and_targets_of_their_own() {
        let [one, other] = [0x0102, 0x0103].map(EthernetSegment::of_cluster);
        assert_eq!(one.to_string(), "00:76:78:67:77:01:02:00:00:00");
        assert_eq!(one.import_target().as_es_import_rt(), Some([0x76, 0x78, 0x67, 0x77, 1, 2]));
        assert!(one.imports(&[one.import_target()]));
        assert!(!one.imports(&[other.import_target()]) && !one.imports(&[]));
    }
}
