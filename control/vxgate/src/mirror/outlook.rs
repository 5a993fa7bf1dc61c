//! What the mirror shows of whether this gateway can forward: written by the mirror alone, and read by whoever decides
//! whether to serve, at any time and for next to nothing.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use engine::PortIndex;
use wire::MacAddr;

/// How the routers of the uplinks' default routes are, of both IP versions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Routers {
    /// There is no default route, or it needs none.
    #[default]
    None,
    /// Some are asked, and none has answered yet.
    Asked,
    /// One is there.
    Alive,
    /// None answers.
    Dead,
}

impl Routers {
    /// From what is known of each: its MAC address, or that it does not answer.
    pub(super) fn of(routers: impl Iterator<Item = Option<Option<MacAddr>>>) -> Self {
        routers.fold(Self::None, |all, told| match (all, told) {
            (Self::Alive, _) | (_, Some(Some(_))) => Self::Alive,
            (Self::Asked, _) | (_, None) => Self::Asked,
            (_, Some(None)) => Self::Dead,
        })
    }
}

/// What is shown.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// By port.
    complete: Box<[AtomicBool]>,
    routers: AtomicU8,
}

impl Outlook {
    pub(crate) fn new(ports: usize) -> Self {
        Self {
            complete: (0..ports).map(|_| AtomicBool::new(true)).collect(),
            routers: AtomicU8::new(Routers::None as u8),
        }
    }

    pub(crate) fn set_complete(&self, port: PortIndex, is_complete: bool) {
        self.complete[usize::from(port.0)].store(is_complete, Ordering::Release);
    }

    pub(crate) fn set_routers(&self, routers: Routers) {
        self.routers.store(routers as u8, Ordering::Release);
    }

    /// Whether the port has all that it needs to forward: its addresses, and the MAC addresses of the routers and endpoints
    /// that it leads to, also of those that it led to before it was down. It may be down.
    pub(crate) fn is_complete(&self, port: PortIndex) -> bool {
        self.complete.get(usize::from(port.0)).is_none_or(|complete| complete.load(Ordering::Acquire))
    }

    /// The routers of the uplinks' default routes.
    pub(crate) fn routers(&self) -> Routers {
        let known = [Routers::None, Routers::Asked, Routers::Alive, Routers::Dead];
        known[usize::from(self.routers.load(Ordering::Acquire)) % known.len()]
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
        let outlook = Outlook::new(1);
        for routers in [Routers::Alive, Routers::Dead, Routers::Asked, Routers::None] {
            outlook.set_routers(routers);
            assert_eq!(outlook.routers(), routers);
        }
    }
}
