//! Which overlays carry traffic: those are served first where many are to be served.

use std::cmp::Reverse;
use std::collections::HashMap;

use wire::Vni;

/// What overlays had carried when this was last asked.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<Vni, u64>);

impl Seen {
    /// The overlays by how many packets they have carried since they were last asked about, the most first, then since the
    /// start; each with how many since then. `packets` are those since the start.
    pub(super) fn busiest_first(&mut self, packets: impl IntoIterator<Item = (Vni, u64)>) -> Vec<(Vni, u64)> {
        let mut overlays: Vec<_> = packets
            .into_iter()
            .map(|(vni, packets)| {
                let before = self.0.insert(vni, packets).unwrap_or(0);
                let since = packets.saturating_sub(before);
                (Reverse((since, packets)), vni)
            })
            .collect();
        overlays.sort_unstable();
        overlays.into_iter().map(|(Reverse((since, _)), vni)| (vni, since)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_of_late_counts_most() {
        let vni = |vni| Vni::new(vni).unwrap();
        let mut seen = Seen::default();
        let mut order = |packets: [u64; 4]| {
            let order = seen.busiest_first((1..).map(vni).zip(packets));
            order.into_iter().map(|(vni, since)| (vni.value(), since)).collect::<Vec<_>>()
        };
        assert_eq!(order([5, 0, 100, 0]), [(3, 100), (1, 5), (2, 0), (4, 0)]);
        assert_eq!(order([6, 30, 100, 0]), [(2, 30), (1, 1), (3, 0), (4, 0)]);
        assert_eq!(order([6, 30, 100, 0]), [(3, 0), (2, 0), (1, 0), (4, 0)], "no traffic since");
    }
}
