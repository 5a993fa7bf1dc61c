//! Whether this gateway is able to serve: its workers advance, on each side a port is up, a router of the uplink is alive,
//! and the operator's tracks are as they should be. A side that was down counts again only when all that it led to has been found anew.

use std::time::{Duration, Instant};

use cluster::message::{Health, MAX_REASONS, Reason};
use engine::{PortIndex, Role};

use crate::mirror::{Outlook, Routers};

/// How long a side that is up again waits for what it led to: longer than IPv6 takes to find that nobody else has its
/// addresses (RFC 4862 §5.4: 2 s at most), and the kernel to give up a neighbour (3 s).
const RETURN: Duration = Duration::from_secs(5);

/// What is remembered of the workers and sides.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long a worker may stand still.
    patience: Duration,
    /// How often each has looked at its ports, and since when that has been so.
    workers: Vec<(u64, Instant)>,
    underlay: Side,
    uplink: Side,
    /// Whether a router of the uplink was alive, or none was needed, when last something was known of them.
    router: Option<bool>,
    /// Since when nothing has been known of them.
    first: Option<Instant>,
}

/// Underlay or uplink.
#[derive(Clone, Copy, Debug, Default)]
enum Side {
    /// No port is up.
    #[default]
    Down,
    /// One is, since then; what it leads to is not all found yet.
    Returning(Instant),
    /// It can be used.
    Up,
}

impl Side {
    /// Its ports: whether each is up, and has all that it needs.
    fn look(&mut self, ports: impl Iterator<Item = (bool, bool)>, now: Instant) -> bool {
        let up = ports.filter(|(is_up, _)| *is_up).map(|(_, is_complete)| is_complete);
        // Of ports that are up one that is complete is enough.
        *self = match (up.max(), *self) {
            (None, _) => Self::Down,
            (Some(true), _) | (_, Self::Up) => Self::Up,
            (Some(false), Self::Returning(since)) if now.saturating_duration_since(since) >= RETURN => {
                Self::Up
            }
            (Some(false), Self::Returning(since)) => Self::Returning(since),
            (Some(false), Self::Down) => Self::Returning(now),
        };
        matches!(self, Self::Up)
    }
}

impl Watch {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            workers: Vec::new(),
            underlay: Side::Down,
            uplink: Side::Down,
            router: None,
            first: None,
        }
    }

    /// Whoever looks did not run itself: workers may not have run either.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(|(_, since)| *since = now);
    }

    /// The health now, from how often each worker has looked at its ports, which ports are up, and what the mirror shows.
    pub(super) fn look(
        &mut self,
        rounds: &[u64],
        ports: &[(Role, bool)],
        outlook: &Outlook,
        now: Instant,
    ) -> Health {
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
        let of = |is_of: fn(Role) -> bool| {
            let ports = (0..).map(PortIndex).zip(ports).filter(move |(_, (role, _))| is_of(*role));
            ports.map(|(port, &(_, is_up))| (is_up, outlook.is_complete(port)))
        };
        let underlay = self.underlay.look(of(Role::is_underlay), now);
        let uplink = self.uplink.look(of(Role::is_uplink), now);
        match outlook.routers() {
            Routers::None | Routers::Alive => self.router = Some(true),
            Routers::Dead => self.router = Some(false),
            // A new one may just have come in the place of another.
            Routers::Asked => {}
        }
        // Not yet up is not dead, but is given the time to come up.
        let first = *self.first.get_or_insert(now);
        let router = self.router.unwrap_or(now.saturating_duration_since(first) >= RETURN);
        reasons.extend((!underlay).then_some(Reason::Underlay));
        reasons.extend((!uplink).then_some(Reason::Uplink));
        reasons.extend((uplink && !router).then_some(Reason::Router));
        reasons.extend(outlook.failed_tracks().map(|name| Reason::Track(name.to_owned())));
        let healthy = reasons.is_empty();
        reasons.truncate(MAX_REASONS);
        Health { healthy, underlay, uplink: uplink && router, reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(30);
    const UP: [(Role, bool); 2] = [(Role::Underlay, true), (Role::Uplink, true)];

    /// Two ports and a router that is alive.
    fn seen() -> Outlook {
        let outlook = Outlook::new(2, 1, []);
        outlook.set_router(0, Routers::Alive);
        outlook
    }

    #[test]
    fn a_worker_that_stands_still_is_no_health() {
        let (start, mut watch, outlook) = (Instant::now(), Watch::new(PATIENCE), seen());
        let mut look = |rounds: &[u64], milliseconds| {
            watch.look(rounds, &UP, &outlook, start + Duration::from_millis(milliseconds))
        };
        assert_eq!(look(&[1, 1], 0), Health::default());
        assert!(look(&[2, 1], 20).healthy);
        let ill = look(&[3, 1], 30);
        assert_eq!((ill.healthy, ill.reasons), (false, vec![Reason::Worker(1)]));
        assert!(look(&[3, 2], 31).healthy, "it goes on");
    }

    #[test]
    fn workers_are_excused_when_nobody_ran() {
        let (start, mut watch, outlook) = (Instant::now(), Watch::new(PATIENCE), seen());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        watch.look(&[3, 2], &UP, &outlook, at(0));
        watch.excuse(at(90));
        assert!(watch.look(&[3, 2], &UP, &outlook, at(91)).healthy);
        assert_eq!(watch.look(&[3, 3], &UP, &outlook, at(120)).reasons, [Reason::Worker(0)]);
    }

    #[test]
    fn each_side_needs_a_port_that_is_up() {
        let (now, outlook) = (Instant::now(), seen());
        let mut watch = Watch::new(PATIENCE);
        let mut reasons = |ports: &[(Role, bool)]| watch.look(&[], ports, &outlook, now).reasons;
        assert_eq!(reasons(&[(Role::Underlay, false), (Role::Uplink, true)]), [Reason::Underlay]);
        assert_eq!(reasons(&[(Role::Underlay, true), (Role::Uplink, false)]), [Reason::Uplink]);
        assert_eq!(reasons(&[(Role::Both, false)]), [Reason::Underlay, Reason::Uplink]);
        let one_of_two = [(Role::Underlay, false), (Role::Both, true)];
        assert_eq!(reasons(&one_of_two), []);
    }

    #[test]
    fn a_side_that_was_down_is_back_when_all_is_found_anew() {
        let (start, mut watch, outlook) = (Instant::now(), Watch::new(PATIENCE), seen());
        let mut reasons =
            |ports: &[(Role, bool)], after: Duration| watch.look(&[], ports, &outlook, start + after).reasons;
        let (down, second) = ([(Role::Underlay, true), (Role::Uplink, false)], Duration::from_secs(1));
        assert_eq!(reasons(&UP, second), []);
        outlook.set_complete(PortIndex(1), false);
        assert_eq!(reasons(&UP, second), [], "what comes while it is up is not waited for");
        assert_eq!(reasons(&down, second), [Reason::Uplink]);
        assert_eq!(reasons(&UP, second * 2), [Reason::Uplink]);
        outlook.set_complete(PortIndex(1), true);
        assert_eq!(reasons(&UP, second * 3), []);
        // What does not come back is not waited for without end.
        outlook.set_complete(PortIndex(1), false);
        assert_eq!(reasons(&down, second * 3), [Reason::Uplink]);
        assert_eq!(reasons(&UP, second * 4), [Reason::Uplink]);
        assert_eq!(reasons(&UP, second * 4 + RETURN), []);
    }

    #[test]
    fn a_router_must_be_alive() {
        let (now, mut watch, outlook) = (Instant::now(), Watch::new(PATIENCE), seen());
        let mut with = |routers| {
            outlook.set_router(0, routers);
            watch.look(&[], &UP, &outlook, now).reasons
        };
        assert_eq!(with(Routers::Asked), [Reason::Router], "at the start");
        assert_eq!(with(Routers::Alive), []);
        assert_eq!(with(Routers::Asked), [], "another one");
        assert_eq!(with(Routers::Dead), [Reason::Router]);
        assert_eq!(with(Routers::Asked), [Reason::Router], "asked again, it has not answered");
        assert_eq!(with(Routers::None), []);

        let (mut watch, outlook) = (Watch::new(PATIENCE), Outlook::new(2, 1, []));
        assert_eq!(watch.look(&[], &UP, &outlook, now).reasons, [Reason::Router]);
        assert_eq!(
            watch.look(&[], &UP, &outlook, now + RETURN).reasons,
            [],
            "it never was there: not yet up"
        );
    }

    #[test]
    fn a_track_that_fails_is_no_health() {
        let (now, mut watch) = (Instant::now(), Watch::new(PATIENCE));
        let outlook = Outlook::new(2, 0, ["file /run/ok".to_owned()]);
        let health = watch.look(&[], &UP, &outlook, now);
        assert_eq!((health.healthy, health.uplink), (false, true));
        assert_eq!(health.reasons, [Reason::Track("file /run/ok".into())]);
        outlook.set_track(0, true);
        assert!(watch.look(&[], &UP, &outlook, now).healthy);
    }
}
