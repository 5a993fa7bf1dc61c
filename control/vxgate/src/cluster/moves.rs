//! What moved of late, for `vxgate show moves`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cluster::{Action, Cause, Move};
use serde::{Deserialize, Serialize};

use super::tell;
use crate::events::time_ago;

/// Moves that are kept, those of one cause in one go counted as one.
const KEPT: usize = 1024;

/// Groups of a move that are named; all are counted.
const NAMED: usize = 32;

/// Groups that moved alike, in one go.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MoveRow {
    /// Seconds since 1970 in UTC, with milliseconds: when the engine had been told.
    pub(crate) time: String,
    /// `taken`, `let go of`, `announced again`, or `all let go of`.
    pub(crate) action: String,
    /// How many overlays or shards; `None`: all that it served.
    pub(crate) count: Option<usize>,
    /// The first of them: VNIs, or numbers of shards.
    pub(crate) groups: Vec<u32>,
    /// The gateway that had them, as far as the cause says it.
    pub(crate) from: Option<u16>,
    /// The gateway that has them then, as far as the cause says it.
    pub(crate) to: Option<u16>,
    pub(crate) cause: String,
    /// Microseconds from knowing the cause until the engine had been told, of the one that took longest.
    pub(crate) duration_us: u64,
}

/// Which moves are wanted.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct MoveFilter {
    /// Those from this gateway or to it.
    pub(crate) gateway: Option<u16>,
    /// Those that name this overlay, or shard.
    pub(crate) group: Option<u32>,
    /// The last so many.
    pub(crate) limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Taken,
    Released,
    All,
    Again,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    kind: Kind,
    cause: Cause,
    count: usize,
    groups: Vec<u32>,
    /// When the first cause was known.
    since: Instant,
    /// When the engine had been told; not yet.
    done: Option<Instant>,
}

/// The last moves, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Entry>);

impl Log {
    /// A group, called `name`, is about to move.
    pub(super) fn note(&mut self, name: u32, next: &Move) {
        let kind = match next.action {
            Action::Take { .. } => Kind::Taken,
            Action::Release => Kind::Released,
            Action::AnnounceAgain => Kind::Again,
            // It moved before.
            Action::ForwardingEnds => return,
        };
        self.add(kind, next.cause, Some(name), next.since);
    }

    /// All groups that were this gateway's have been let go of at once.
    pub(super) fn note_release_of_all(&mut self, cause: Cause, now: Instant) {
        self.add(Kind::All, cause, None, now);
        self.done(now);
    }

    fn add(&mut self, kind: Kind, cause: Cause, name: Option<u32>, since: Instant) {
        // Those of this go are at the end.
        let mut open = self.0.iter_mut().rev().take_while(|entry| entry.done.is_none());
        let alike = open.find(|entry| (entry.kind, entry.cause) == (kind, cause));
        let entry = match alike {
            Some(entry) => entry,
            None => {
                if self.0.len() == KEPT {
                    self.0.pop_front();
                }
                self.0.push_back(Entry { kind, cause, count: 0, groups: Vec::new(), since, done: None });
                let last = self.0.len() - 1;
                &mut self.0[last]
            }
        };
        entry.since = entry.since.min(since);
        entry.count += 1;
        if entry.groups.len() < NAMED {
            entry.groups.extend(name);
        }
    }

    /// The engine has been told of what was noted.
    pub(super) fn done(&mut self, now: Instant) {
        let open = self.0.iter_mut().rev().take_while(|entry| entry.done.is_none());
        open.for_each(|entry| entry.done = Some(now));
    }

    /// All of them.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.iter().cloned().collect()
    }
}

/// Those that are wanted, oldest first.
pub(super) fn rows(entries: &[Entry], own: u16, filter: &MoveFilter) -> Vec<MoveRow> {
    let wanted = entries.iter().rev().map(|entry| entry.row(own)).filter(|row| {
        let is_of = |gateway| row.from == Some(gateway) || row.to == Some(gateway);
        filter.gateway.is_none_or(is_of) && filter.group.is_none_or(|group| row.groups.contains(&group))
    });
    let mut rows: Vec<_> = wanted.take(filter.limit).collect();
    rows.reverse();
    rows
}

impl Entry {
    fn row(&self, own: u16) -> MoveRow {
        let other = match self.cause {
            Cause::Died(id)
            | Cause::Restarted(id)
            | Cause::Unhealthy(id)
            | Cause::Leaving(id)
            | Cause::Won(id)
            | Cause::Taken(id)
            | Cause::Yielded(id) => Some(id.value()),
            _ => None,
        };
        let (action, from, to) = match self.kind {
            Kind::Taken => ("taken", other, Some(own)),
            Kind::Released => ("let go of", Some(own), other),
            Kind::All => ("all let go of", Some(own), None),
            Kind::Again => ("announced again", Some(own), Some(own)),
        };
        let took = self.done.map_or(Duration::ZERO, |done| done.saturating_duration_since(self.since));
        MoveRow {
            time: time_ago(self.done.map_or(Duration::ZERO, |done| done.elapsed())),
            action: action.into(),
            count: (self.kind != Kind::All).then_some(self.count),
            groups: self.groups.clone(),
            from,
            to,
            cause: tell::cause(self.cause),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster::Group;
    use cluster::assign::GatewayId;

    use super::*;

    fn all() -> MoveFilter {
        MoveFilter { gateway: None, group: None, limit: usize::MAX }
    }

    #[test]
    fn what_moves_for_one_cause_in_one_go_is_one_row() {
        let two = GatewayId::new(2).unwrap();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let take =
            |cause| Move { group: Group(0), action: Action::Take { sequence: None }, cause, since: start };
        let mut log = Log::default();
        (0..40).for_each(|name| log.note(name, &take(Cause::Died(two))));
        log.note(50, &take(Cause::Unowned));
        log.note(51, &Move { action: Action::ForwardingEnds, ..take(Cause::Over) });
        log.done(after(2));
        log.note(7, &Move { action: Action::Release, ..take(Cause::Taken(two)) });
        log.done(after(3));
        log.note_release_of_all(Cause::Operator, after(4));
        let rows = rows(&log.entries(), 1, &all());
        let seen: Vec<_> = rows.iter().map(|row| (&*row.action, row.count, row.from, row.to)).collect();
        let expected = [
            ("taken", Some(40), Some(2), Some(1)),
            ("taken", Some(1), None, Some(1)),
            ("let go of", Some(1), Some(1), Some(2)),
            ("all let go of", None, Some(1), None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(rows.iter().map(|row| row.duration_us).collect::<Vec<_>>(), [2000, 2000, 3000, 0]);
        assert_eq!(rows[0].groups, (0..NAMED as u32).collect::<Vec<_>>());
        assert_eq!(rows[0].cause, "gateway 2 is dead");

        let with = |filter: MoveFilter| super::rows(&log.entries(), 1, &filter).len();
        assert_eq!(with(MoveFilter { gateway: Some(2), ..all() }), 2);
        assert_eq!(with(MoveFilter { group: Some(50), ..all() }), 1);
        assert_eq!(
            super::rows(&log.entries(), 1, &MoveFilter { limit: 1, ..all() })[0].action,
            "all let go of"
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut log = Log::default();
        let now = Instant::now();
        for name in 0..KEPT as u32 + 5 {
            let action = Action::Release;
            log.note(name, &Move { group: Group(name), action, cause: Cause::Operator, since: now });
            log.done(now);
        }
        let rows = rows(&log.entries(), 1, &all());
        assert_eq!((rows.len(), &*rows[0].groups), (KEPT, &[5][..]));
    }
}
