//! Which groups are to be looked at, in the caller's order.

use super::bits::Bits;

/// Groups to be looked at. To mark all of 65 536 costs as much as to clear 8 KB.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    /// By place in the order.
    due: Bits,
    /// Nothing is due before this place.
    from: u32,
    /// The group of a place, and the place of a group; empty: in the order of their numbers.
    order: Vec<u32>,
    places: Vec<u32>,
}

impl Review {
    pub(crate) fn new(groups: u32) -> Self {
        Self { due: Bits::new(groups), from: 0, order: Vec::new(), places: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.len() == 0
    }

    pub(crate) fn mark(&mut self, group: u32) {
        let place = self.places.get(group as usize).copied().unwrap_or(group);
        self.due.insert(place);
        self.from = self.from.min(place);
    }

    pub(crate) fn mark_all(&mut self) {
        self.due.fill();
        self.from = 0;
    }

    pub(crate) fn next(&mut self) -> Option<u32> {
        let place = self.due.first_from(self.from)?;
        self.due.remove(place);
        self.from = place + 1;
        Some(self.order.get(place as usize).copied().unwrap_or(place))
    }

    /// These first; the others behind them. Unknown ones and repetitions are left out.
    pub(crate) fn set_order(&mut self, first: impl IntoIterator<Item = u32>, groups: u32) {
        let due: Vec<_> = std::iter::from_fn(|| self.next()).collect();
        let mut rest = Bits::new(groups);
        rest.fill();
        self.order = first.into_iter().filter(|&group| rest.remove(group)).collect();
        self.order.extend(rest.iter());
        self.places = vec![0; groups as usize];
        for (place, &group) in self.order.iter().enumerate() {
            self.places[group as usize] = place as u32;
        }
        due.into_iter().for_each(|group| self.mark(group));
    }

    /// The groups that are due, for a digest.
    pub(crate) fn due(&self) -> &Bits {
        &self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_callers() {
        let mut review = Review::new(6);
        let all = |review: &mut Review| std::iter::from_fn(|| review.next()).collect::<Vec<_>>();
        review.mark_all();
        assert_eq!(review.next(), Some(0));
        review.set_order([4, 9, 2, 4], 6);
        assert_eq!(all(&mut review), [4, 2, 1, 3, 5]);
        assert!(review.is_empty());
        review.mark(5);
        assert_eq!(review.next(), Some(5));
        review.mark(2);
        review.mark(4);
        assert_eq!(all(&mut review), [4, 2], "what comes before is not missed");
    }
}
