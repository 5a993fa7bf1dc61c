//! What is seen of whether this gateway can forward: written by the mirror and by others who watch something, and read by
//! whoever decides whether to serve, at any time and for next to nothing.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use engine::PortIndex;
use wire::MacAddr;

/// How routers of the uplink are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Routers {
    /// None is needed.
    #[default]
    None,
    /// None is there yet, and not all are dead.
    Asked,
    /// One is there.
    Alive,
    /// None answers.
    Dead,
}

impl Routers {
    /// From what is known of each: its MAC address, or that it does not answer.
    pub(super) fn of(routers: impl Iterator<Item = Option<Option<MacAddr>>>) -> Self {
        Self::together(routers.map(|told| match told {
            Some(Some(_)) => Self::Alive,
            Some(None) => Self::Dead,
            None => Self::Asked,
        }))
    }

    fn together(all: impl Iterator<Item = Self>) -> Self {
        let rank = |routers: &Self| match routers {
            Self::None => 0,
            Self::Dead => 1,
            Self::Asked => 2,
            Self::Alive => 3,
        };
        all.max_by_key(rank).unwrap_or_default()
    }

    fn load(cell: &AtomicU8) -> Self {
        let known = [Self::None, Self::Asked, Self::Alive, Self::Dead];
        known[usize::from(cell.load(Ordering::Acquire)) % known.len()]
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// By port.
    complete: Box<[AtomicBool]>,
    /// Those that are configured, in order; or those of all default routes together, as one.
    routers: Box<[AtomicU8]>,
    /// Name of each track of the operator, and whether it is as it should be.
    tracks: Box<[(String, AtomicBool)]>,
}

impl Outlook {
    /// With this many ports and routers, and tracks with these names.
    pub(crate) fn new(ports: usize, routers: usize, tracks: impl IntoIterator<Item = String>) -> Self {
        Self {
            complete: (0..ports).map(|_| AtomicBool::new(true)).collect(),
            routers: (0..routers).map(|_| AtomicU8::new(Routers::Asked as u8)).collect(),
            tracks: tracks.into_iter().map(|name| (name, AtomicBool::new(false))).collect(),
        }
    }

    pub(crate) fn set_complete(&self, port: PortIndex, is_complete: bool) {
        self.complete[usize::from(port.0)].store(is_complete, Ordering::Release);
    }

    /// How the router in this place is.
    pub(crate) fn set_router(&self, place: usize, router: Routers) {
        self.routers[place].store(router as u8, Ordering::Release);
    }

    /// The router in this place is not there; one that never was is not dead.
    pub(crate) fn router_lost(&self, place: usize) {
        if self.router(place) == Routers::Alive {
            self.set_router(place, Routers::Dead);
        }
    }

    pub(crate) fn set_track(&self, place: usize, is_fine: bool) {
        self.tracks[place].1.store(is_fine, Ordering::Release);
    }

    pub(crate) fn router(&self, place: usize) -> Routers {
        Routers::load(&self.routers[place])
    }

    /// Whether the port has all that it needs to forward: its addresses, and the MAC addresses of the routers and endpoints
    /// that it leads to, also of those that it led to before it was down. It may be down.
    pub(crate) fn is_complete(&self, port: PortIndex) -> bool {
        self.complete.get(usize::from(port.0)).is_none_or(|complete| complete.load(Ordering::Acquire))
    }

    /// All routers together: one that is alive is enough.
    pub(crate) fn routers(&self) -> Routers {
        Routers::together(self.routers.iter().map(Routers::load))
    }

    /// The names of the tracks that are not as they should be.
    pub(crate) fn failed_tracks(&self) -> impl Iterator<Item = &str> {
        let failed = self.tracks.iter().filter(|(_, is_fine)| !is_fine.load(Ordering::Acquire));
        failed.map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_router_that_answers_is_enough() {
        let (there, silent, asked) = (Some(Some(MacAddr::BROADCAST)), Some(None), None);
        let of = |routers: &[Option<Option<MacAddr>>]| Routers::of(routers.iter().copied());
        assert_eq!(of(&[]), Routers::None);
        assert_eq!(of(&[silent, there, asked]), Routers::Alive);
        assert_eq!(of(&[there, silent]), Routers::Alive);
        assert_eq!(of(&[silent, asked]), Routers::Asked);
        assert_eq!(of(&[asked, silent]), Routers::Asked);
        assert_eq!(of(&[silent, silent]), Routers::Dead);
        let outlook = Outlook::new(0, 2, []);
        outlook.router_lost(0);
        assert_eq!(outlook.routers(), Routers::Asked, "not yet up is not dead");
        for router in [Routers::Alive, Routers::Dead, Routers::Asked, Routers::None] {
            [0, 1].into_iter().for_each(|place| outlook.set_router(place, router));
            assert_eq!(outlook.routers(), router);
        }
        outlook.set_router(1, Routers::Alive);
        assert_eq!(outlook.routers(), Routers::Alive);
        outlook.router_lost(1);
        outlook.set_router(0, Routers::Dead);
        assert_eq!(outlook.routers(), Routers::Dead);
    }

    #[test]
    fn a_track_is_as_it_should_be_when_that_was_seen() {
        let outlook = Outlook::new(0, 0, ["one".to_owned(), "other".to_owned()]);
        outlook.set_track(0, true);
        assert_eq!(outlook.failed_tracks().collect::<Vec<_>>(), ["other"]);
        outlook.set_track(1, true);
        assert_eq!(outlook.failed_tracks().count(), 0);
    }
}
