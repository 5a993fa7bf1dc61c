//! Doubly linked lists of entries by their indices: an entry can leave its list at once, wherever it stands.

const NONE: u32 = u32::MAX;

/// The ends of a list, whose links are in [`Links`].
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(super) fn first(self) -> Option<u32> {
        some(self.first)
    }

    pub(super) fn last(self) -> Option<u32> {
        some(self.last)
    }

    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// The links of lists that have no entry in common.
#[derive(Debug)]
pub(super) struct Links(Vec<Link>);

impl Links {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self(Vec::with_capacity(entries))
    }

    /// The entry before `index` in its list.
    pub(super) fn before(&self, index: u32) -> Option<u32> {
        some(self.0[index as usize].before)
    }

    /// The entry after `index` in its list.
    pub(super) fn after(&self, index: u32) -> Option<u32> {
        some(self.0[index as usize].after)
    }

    pub(super) fn push_last(&mut self, list: &mut List, index: u32) {
        self.insert_after(list, list.last(), index);
    }

    /// Puts `index`, which is in no list, behind `before`, or first.
    pub(super) fn insert_after(&mut self, list: &mut List, before: Option<u32>, index: u32) {
        if self.0.len() <= index as usize {
            self.0.resize(index as usize + 1, Link { before: NONE, after: NONE });
        }
        let after = match before {
            Some(before) => self.0[before as usize].after,
            None => list.first,
        };
        let before = before.unwrap_or(NONE);
        self.0[index as usize] = Link { before, after };
        self.join(list, before, index);
        self.join(list, index, after);
    }

    /// Takes `index` out of the list that it is in.
    pub(super) fn remove(&mut self, list: &mut List, index: u32) {
        let Link { before, after } = self.0[index as usize];
        self.join(list, before, after);
    }

    /// Makes `before` and `after` follow each other, either of which may be the list's end.
    fn join(&mut self, list: &mut List, before: u32, after: u32) {
        match some(before) {
            Some(before) => self.0[before as usize].after = after,
            None => list.first = after,
        }
        match some(after) {
            Some(after) => self.0[after as usize].before = before,
            None => list.last = before,
        }
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backwards(links: &Links, list: List) -> Vec<u32> {
        std::iter::successors(list.last(), |&index| links.before(index)).collect()
    }

    #[test]
    fn entries_join_and_leave_anywhere() {
        let (mut links, mut list) = (Links::with_capacity(0), List::EMPTY);
        for index in [5, 2, 9] {
            links.push_last(&mut list, index);
        }
        links.insert_after(&mut list, None, 1);
        links.insert_after(&mut list, Some(5), 7);
        assert_eq!(backwards(&links, list), [9, 2, 7, 5, 1]);
        for (index, left) in [(7, &[9, 2, 5, 1][..]), (1, &[9, 2, 5]), (9, &[2, 5]), (5, &[2]), (2, &[])] {
            links.remove(&mut list, index);
            assert_eq!(backwards(&links, list), left);
            assert_eq!(list.first(), left.last().copied());
        }
        assert!(list.is_empty());
    }
}
