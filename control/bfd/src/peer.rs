//! What the sessions with one peer say about it together.

use crate::event::Standing;

/// What is known of a peer that has one session a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing yet: not yet up is not dead.
    Unknown,
    /// It is there, and no session says otherwise.
    Alive,
    /// It is there, but a segment does not reach it: its own report of its health decides.
    Impaired,
    /// It is gone: each session that was up is down, or it says of one that it holds it down.
    Dead,
}

/// Judges a peer by its sessions, one a segment (underlay, uplink).
///
/// A session that never came up is no evidence, whatever the others say: a peer whose uplink was never reached is dead
/// when its underlay is.
pub fn verdict(sessions: impl IntoIterator<Item = Standing>) -> Verdict {
    let (mut up, mut down) = (false, false);
    for standing in sessions {
        match standing {
            Standing::PeerAdminDown => return Verdict::Dead,
            Standing::Up => up = true,
            Standing::Down => down = true,
            Standing::NotYetUp => {}
        }
    }
    match (up, down) {
        (true, true) => Verdict::Impaired,
        (true, false) => Verdict::Alive,
        (false, true) => Verdict::Dead,
        (false, false) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Down, NotYetUp, PeerAdminDown, Up};

    #[test]
    fn all_pairs_of_segments() {
        let table = [
            ([NotYetUp, NotYetUp], Verdict::Unknown),
            ([NotYetUp, Up], Verdict::Alive),
            ([Up, Up], Verdict::Alive),
            ([Up, Down], Verdict::Impaired),
            ([NotYetUp, Down], Verdict::Dead),
            ([Down, Down], Verdict::Dead),
            ([PeerAdminDown, Up], Verdict::Dead),
            ([PeerAdminDown, Down], Verdict::Dead),
            ([PeerAdminDown, NotYetUp], Verdict::Dead),
            ([PeerAdminDown, PeerAdminDown], Verdict::Dead),
        ];
        for ([one, other], expected) in table {
            assert_eq!(verdict([one, other]), expected, "{one:?} {other:?}");
            assert_eq!(verdict([other, one]), expected, "{other:?} {one:?}");
        }
        assert_eq!(verdict([]), Verdict::Unknown);
    }
}
