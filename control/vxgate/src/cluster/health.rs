//! Whether this gateway is able to serve: its workers advance, and on each side a port is up.

use std::time::{Duration, Instant};

use cluster::message::{Health, MAX_REASONS, Reason};
use engine::Role;

/// What is remembered of the workers.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long a worker may stand still.
    patience: Duration,
    /// How often each has looked at its ports, and since when that has been so.
    workers: Vec<(u64, Instant)>,
}

impl Watch {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, workers: Vec::new() }
    }

    /// Whoever looks did not run itself: workers may not have run either.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(|(_, since)| *since = now);
    }

    /// The health now, from how often each worker has looked at its ports, and which ports are up.
    pub(super) fn look(&mut self, rounds: &[u64], ports: &[(Role, bool)], now: Instant) -> Health {
        if self.workers.len() != rounds.len() {
            self.workers = rounds.iter().map(|&count| (count, now)).collect();
        }
        let mut reasons = Vec::new();
        for (number, (worker, &count)) in (0..).zip(self.workers.iter_mut().zip(rounds)) {
            if worker.0 != count {
                *worker = (count, now);
            } else if now.saturating_duration_since(worker.1) >= self.patience {
                reasons.push(Reason::Worker(number));
            }
        }
        let any = |is_of: fn(Role) -> bool| ports.iter().any(|&(role, is_up)| is_of(role) && is_up);
        let (underlay, uplink) = (any(Role::is_underlay), any(Role::is_uplink));
        reasons.extend((!underlay).then_some(Reason::Underlay));
        reasons.extend((!uplink).then_some(Reason::Uplink));
        let healthy = reasons.is_empty();
        reasons.truncate(MAX_REASONS);
        Health { healthy, underlay, uplink, reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(30);
    const UP: [(Role, bool); 2] = [(Role::Underlay, true), (Role::Uplink, true)];

    #[test]
    fn a_worker_that_stands_still_is_no_health() {
        let (start, mut watch) = (Instant::now(), Watch::new(PATIENCE));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(watch.look(&[1, 1], &UP, at(0)), Health::default());
        assert!(watch.look(&[2, 1], &UP, at(20)).healthy);
        let ill = watch.look(&[3, 1], &UP, at(30));
        assert_eq!((ill.healthy, ill.reasons), (false, vec![Reason::Worker(1)]));
        assert!(watch.look(&[3, 2], &UP, at(31)).healthy, "it goes on");
        watch.excuse(at(90));
        assert!(watch.look(&[3, 2], &UP, at(91)).healthy, "nobody ran");
        assert_eq!(watch.look(&[3, 3], &UP, at(120)).reasons, [Reason::Worker(0)]);
    }

    #[test]
    fn each_side_needs_a_port_that_is_up() {
        let mut watch = Watch::new(PATIENCE);
        let now = Instant::now();
        let mut reasons = |ports: &[(Role, bool)]| watch.look(&[], ports, now).reasons;
        assert_eq!(reasons(&[(Role::Underlay, false), (Role::Uplink, true)]), [Reason::Underlay]);
        assert_eq!(reasons(&[(Role::Underlay, true), (Role::Uplink, false)]), [Reason::Uplink]);
        assert_eq!(reasons(&[(Role::Both, false)]), [Reason::Underlay, Reason::Uplink]);
        let one_of_two = [(Role::Underlay, false), (Role::Both, true)];
        assert_eq!(reasons(&one_of_two), []);
    }
}
