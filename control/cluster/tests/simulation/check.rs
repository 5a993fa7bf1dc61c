//! What must hold.

use cluster::{Cause, Move, Stage};

use crate::world::{World, place};

/// Who serves what, by what gateways were told to do.
pub(crate) struct Checks {
    owners: Vec<u128>,
    /// Since when a group is nobody's.
    none_since: Vec<Option<u64>>,
    pub(crate) longest_gap: u64,
    pub(crate) failures: Vec<String>,
}

impl Checks {
    pub(crate) fn new(gateways: usize, groups: usize) -> Self {
        assert!(gateways <= 128);
        Self {
            owners: vec![0; groups],
            none_since: vec![Some(0); groups],
            longest_gap: 0,
            failures: Vec::new(),
        }
    }

    pub(crate) fn owns(&self, at: usize, group: u32) -> bool {
        self.owners[group as usize] >> at & 1 == 1
    }

    pub(crate) fn took(&mut self, at: usize, group: u32, now: u64) {
        if self.owns(at, group) {
            self.failures.push(format!("{at} takes {group} twice"));
        }
        self.owners[group as usize] |= 1 << at;
        if let Some(since) = self.none_since[group as usize].take().filter(|&since| since > 0) {
            self.longest_gap = self.longest_gap.max(now - since);
        }
    }

    pub(crate) fn lost(&mut self, at: usize, group: u32, now: u64) {
        if !self.owns(at, group) {
            self.failures.push(format!("{at} lets go of {group}, which it has not"));
        }
        self.owners[group as usize] &= !(1 << at);
        if self.owners[group as usize] == 0 {
            self.none_since[group as usize] = Some(now);
        }
    }

    pub(crate) fn owners(&self, group: u32) -> impl Iterator<Item = usize> + '_ {
        (0..128).filter(move |&at| self.owns(at, group))
    }
}

impl World {
    fn fail(&mut self, text: String) {
        if self.checks.failures.len() < 10 {
            self.checks.failures.push(format!("{:.6} {text}", self.now as f64 / 1e6));
        }
    }

    /// No move without a cause: what a gateway gives as one must be true.
    pub(crate) fn check_cause(&mut self, at: usize, next: &Move) {
        let wrong = match next.cause {
            Cause::Died(peer) => self.hears(at, place(peer)),
            Cause::Unhealthy(peer) => {
                self.gateways[place(peer)].healthy && self.stage(place(peer)) == Some(Stage::Serving)
            }
            Cause::Won(peer) | Cause::Taken(peer) | Cause::Yielded(peer) => !self.hears(at, place(peer)),
            _ => false,
        };
        // Reports are as old as messages are slow.
        let settled = self.now > self.last_fault + 2 * self.slowest + 50_000;
        if wrong && settled {
            self.fail(format!("{at} has no such cause: {next:?}"));
        }
    }

    /// Where nothing has gone wrong for a while, nothing is nobody's for long, if there is anybody.
    pub(crate) fn check_gaps(&mut self) {
        let bound = self.bound();
        if self.now < self.last_fault + bound {
            return;
        }
        let able = |at: &usize| {
            self.runs(*at)
                && self.stage(*at) == Some(Stage::Serving)
                && self.gateways[*at].since + bound <= self.now
                && self.gateways[*at].healthy
                && self.gateways[*at].ports == [true; 2]
        };
        let able: Vec<usize> = (0..self.gateways.len()).filter(able).collect();
        if able.is_empty() {
            return;
        }
        // Who leaves and finds nobody that takes what it has lets go of it in the end, as if it died.
        let long =
            |group: u32| self.checks.none_since[group as usize].is_none_or(|since| since + bound <= self.now);
        let unserved: Vec<u32> = (0..self.groups())
            .filter(|&group| long(group) && !self.checks.owners(group).any(|at| self.runs(at)))
            .collect();
        if !unserved.is_empty() {
            let first = unserved[0];
            self.fail(format!(
                "{} groups are nobody's, {first} the first; could serve: {able:?}",
                unserved.len()
            ));
        }
    }

    /// Everything is mended and told: each group has one owner, whom all believe.
    pub(crate) fn check_end(&mut self) {
        let gateways = self.gateways.len();
        for at in 0..gateways {
            if self.stage(at) != Some(Stage::Serving) {
                self.fail(format!("{at} is {:?}", self.stage(at)));
            }
        }
        for group in 0..self.groups() {
            let owners: Vec<usize> = self.checks.owners(group).collect();
            let believed = self.neighbours.believed[group as usize];
            if owners.len() != 1 || believed != Some(owners[0]) {
                self.fail(format!(
                    "group {group} is served by {owners:?}, and neighbours believe {believed:?}"
                ));
            }
            for at in 0..gateways {
                let member = self.gateways[at].member.as_ref();
                let owns = member.is_some_and(|member| member.owns(cluster::Group(group)));
                if owns != owners.contains(&at) {
                    self.fail(format!("{at} thinks otherwise of {group}: {owns}"));
                }
            }
        }
    }
}
