//! From a value of one header field to the set of rules that it satisfies.
//!
//! Unlike a longest-prefix match, all conditions that hold count, and ranges may overlap in any way. The values are cut
//! where the set changes: at most twice for a range, and not at all between neighbours of one condition.

use super::bitmap::{BitmapId, Interner, RuleSet};

/// A header field as a number; the default is the least.
pub(super) trait Field: Copy + Ord + Default {
    /// `self + 1`, `None` after the last.
    fn next(self) -> Option<Self>;
}

macro_rules! field {
    ($($number:ty)*) => {$(
        impl Field for $number {
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
}
field!(u8 u16 u32 u128);

/// What the rules that share it ask of a field: to lie in one of these ranges, which may overlap.
pub(super) struct Condition<F> {
    /// First and last value.
    pub(super) ranges: Vec<(F, F)>,
    /// Each rule is in one condition at most.
    pub(super) rules: RuleSet,
}

/// All values of a field, cut where the set of rules changes.
#[derive(Debug)]
pub(super) struct Ranges<F> {
    /// First values, ascending, the first of them the least. That may be there twice: the latter counts.
    starts: Box<[F]>,
    /// The set from there on.
    bitmaps: Box<[BitmapId]>,
}

/// A condition begins to hold, or does no more, by one of its ranges.
struct Edge<F> {
    at: F,
    ends: bool,
    condition: usize,
}

impl<F: Field> Ranges<F> {
    /// `unconditional` are the rules that any value satisfies.
    pub(super) fn build(
        unconditional: &RuleSet,
        conditions: &[Condition<F>],
        bitmaps: &mut Interner,
    ) -> Self {
        let mut edges: Vec<Edge<F>> = Vec::new();
        for (condition, Condition { ranges, .. }) in conditions.iter().enumerate() {
            for (first, last) in ranges {
                edges.push(Edge { at: *first, ends: false, condition });
                edges.extend(last.next().map(|at| Edge { at, ends: true, condition }));
            }
        }
        // Beginnings first: where one range of a condition follows another, it holds throughout.
        edges.sort_unstable_by_key(|edge| (edge.at, edge.ends));

        let mut rules = unconditional.clone();
        let (mut starts, mut ids) = (vec![F::default()], vec![bitmaps.intern(&rules)]);
        // By how many of its ranges each condition holds.
        let mut holding = vec![0_u32; conditions.len()];
        for edges in edges.chunk_by(|a, b| a.at == b.at) {
            let mut changed = false;
            for edge in edges {
                let (holding, own) = (&mut holding[edge.condition], &conditions[edge.condition].rules);
                let before = *holding;
                *holding = if edge.ends { before - 1 } else { before + 1 };
                match (before, *holding) {
                    (0, _) => rules.add(own),
                    (_, 0) => rules.remove(own),
                    _ => continue,
                }
                changed = true;
            }
            if changed {
                starts.push(edges[0].at);
                ids.push(bitmaps.intern(&rules));
            }
        }
        Self { starts: starts.into_boxed_slice(), bitmaps: ids.into_boxed_slice() }
    }

    #[inline]
    pub(super) fn lookup(&self, value: F) -> BitmapId {
        // No value is below the first start.
        self.bitmaps[self.starts.partition_point(|start| *start <= value) - 1]
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.bitmaps)
    }
}
