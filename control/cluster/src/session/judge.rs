//! Whether a gateway may be a peer, and which of two connections is the session.

use std::fmt;

use thiserror::Error;

use super::hello::{Hello, HelloError, Section, VERSIONS};
use crate::event::Refusal as Evidence;

/// Most bytes of a reason that is sent or taken.
const MAX_REASON: usize = 512;

/// Why a session is refused. The messages say what to look at.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No version in common.
    #[error(
        "it speaks the versions {first} to {last} and this gateway {} to {}: run versions of vxgate that have one in common",
        VERSIONS.start(),
        VERSIONS.end()
    )]
    Version {
        /// Lowest it speaks.
        first: u16,
        /// Highest it speaks.
        last: u16,
    },
    /// Another cluster.
    #[error("it is of cluster {theirs} and this gateway of cluster {ours}: correct number in [cluster]")]
    Cluster {
        /// Of the peer.
        theirs: u16,
        /// Of this gateway.
        ours: u16,
    },
    /// Both have one id.
    #[error("two gateways have the id {id}: give each its own in [cluster]")]
    DuplicateId {
        /// Of both.
        id: u16,
        /// When the peer started.
        incarnation: u64,
    },
    /// A running gateway has its key and id.
    #[error(
        "a gateway that started later uses the id {id} and the same key: stop one of them, or give each its own"
    )]
    Copy {
        /// Of both.
        id: u16,
        /// When the one that is refused started.
        earlier: u64,
        /// When the one that has the session started.
        later: u64,
    },
    /// Its certificate is another gateway's.
    #[error(
        "it has the certificate of gateway {expected} and says that it is {said}: correct the id or the pin"
    )]
    WrongId {
        /// Whose certificate it has.
        expected: u16,
        /// Who it says it is.
        said: u16,
    },
    /// Settings that must agree do not.
    #[error("settings differ: {}; make them the same on both gateways", Sections(sections))]
    Settings {
        /// Which, in order.
        sections: Vec<Section>,
        /// When the peer started.
        incarnation: u64,
    },
    /// The peer refuses.
    #[error("it refuses this gateway: {text}")]
    Theirs {
        /// What follows from it.
        evidence: Evidence,
        /// In its words.
        text: String,
    },
}

struct Sections<'a>(&'a [Section]);

impl fmt::Display for Sections<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, section) in self.0.iter().enumerate() {
            write!(f, "{}{section}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Refusal {
    /// What follows from it for this gateway.
    pub fn evidence(&self) -> Evidence {
        match *self {
            Self::Settings { incarnation, .. } => Evidence::Settings { incarnation },
            Self::DuplicateId { incarnation, .. } => Evidence::DuplicateId { incarnation },
            Self::Theirs { evidence, .. } => evidence,
            _ => Evidence::Other,
        }
    }

    /// The body of a frame that tells it to the peer: what follows from it there, `incarnation` being when this gateway
    /// started, and the reason.
    ///
    /// ```text
    ///  0         1                      9
    ///  | what u8 | incarnation (u64)    | text …       what: 0 nothing, 1 settings differ, 2 the id is another's
    /// ```
    pub fn encode(&self, incarnation: u64) -> Vec<u8> {
        let (what, incarnation) = match *self {
            Self::Settings { .. } => (1_u8, incarnation),
            Self::DuplicateId { .. } => (2, incarnation),
            Self::Copy { later, .. } => (2, later),
            _ => (0, 0),
        };
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary(MAX_REASON));
        [&[what][..], &incarnation.to_be_bytes(), text.as_bytes()].concat()
    }

    /// What a peer says. It may be anything: it is cut, and what is no printable text is replaced.
    pub fn decode(bytes: &[u8]) -> Self {
        let (evidence, text) = match bytes.split_first_chunk::<9>() {
            Some((&[what, ref incarnation @ ..], text)) => {
                let incarnation = u64::from_be_bytes(*incarnation);
                let evidence = match what {
                    1 => Evidence::Settings { incarnation },
                    2 => Evidence::DuplicateId { incarnation },
                    _ => Evidence::Other,
                };
                (evidence, text)
            }
            None => (Evidence::Other, &[][..]),
        };
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_REASON)]);
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self::Theirs { evidence, text }
    }
}

/// Whether the gateway that has the certificate of `expected` and said `body` first may be a peer.
///
/// # Errors
/// If not, and [`HelloError`] if it is none that is spoken with at all.
pub fn judge(own: &Hello, expected: u16, body: &[u8]) -> Result<Result<Hello, Refusal>, HelloError> {
    let peer = match Hello::decode(body) {
        Ok(hello) => hello,
        Err(HelloError::NoCommonVersion(first, last)) => return Ok(Err(Refusal::Version { first, last })),
        Err(error) => return Err(error),
    };
    Ok(if peer.cluster != own.cluster {
        Err(Refusal::Cluster { theirs: peer.cluster, ours: own.cluster })
    } else if peer.id == own.id {
        Err(Refusal::DuplicateId { id: own.id, incarnation: peer.incarnation })
    } else if peer.id != expected {
        Err(Refusal::WrongId { expected, said: peer.id })
    } else {
        match difference(own, &peer) {
            sections if sections.is_empty() => Ok(peer),
            sections => Err(Refusal::Settings { sections, incarnation: peer.incarnation }),
        }
    })
}

/// The sections that the two do not have alike, in order.
fn difference(own: &Hello, peer: &Hello) -> Vec<Section> {
    let mut sections: Vec<Section> = own
        .sections
        .keys()
        .chain(peer.sections.keys())
        .filter(|section| own.sections.get(section) != peer.sections.get(section))
        .copied()
        .collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

/// What becomes of a connection that could be the session, at the gateway with the lower id. It alone decides, so that
/// the two never choose differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is the session; one there is ends.
    Take,
    /// There is one with the same incarnation: both had connected. It is closed without a word.
    Spare,
    /// An older incarnation than that of the session: two gateways run with one key and id.
    Copy,
}

/// Chooses, given the incarnation of the session, if there is one, and that of the candidate.
pub fn choose(session: Option<u64>, candidate: u64) -> Choice {
    match session {
        Some(session) if session == candidate => Choice::Spare,
        Some(session) if session > candidate => Choice::Copy,
        _ => Choice::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(id: u16) -> Hello {
        let sections = [(Section::MODE, [1; 32]), (Section::OVERLAYS, [2; 32])].into();
        Hello { versions: VERSIONS, cluster: 7, id, incarnation: 1000 + u64::from(id), weight: 100, sections }
    }

    /// What each says of the other.
    fn both(one: &Hello, other: &Hello) -> [Result<Hello, Refusal>; 2] {
        [judge(one, 2, &other.encode()).unwrap(), judge(other, 1, &one.encode()).unwrap()]
    }

    #[test]
    fn gateways_that_agree_are_peers() {
        assert_eq!(both(&hello(1), &hello(2)), [Ok(hello(2)), Ok(hello(1))]);
    }

    #[test]
    fn both_see_what_differs() {
        let mut other = hello(2);
        other.sections.insert(Section::OVERLAYS, [9; 32]);
        other.sections.insert(Section::SHARDS, [9; 32]);
        let refusal = |incarnation| Refusal::Settings {
            sections: vec![Section::SHARDS, Section::OVERLAYS],
            incarnation,
        };
        assert_eq!(both(&hello(1), &other), [Err(refusal(1002)), Err(refusal(1001))]);
        let refusal = refusal(1002);
        assert_eq!(refusal.evidence(), Evidence::Settings { incarnation: 1002 });
        assert!(refusal.to_string().starts_with("settings differ: shards, overlays;"), "{refusal}");

        let other = Hello { cluster: 8, ..hello(2) };
        let [one, two] = both(&hello(1), &other);
        assert_eq!(one, Err(Refusal::Cluster { theirs: 8, ours: 7 }));
        assert_eq!(two, Err(Refusal::Cluster { theirs: 7, ours: 8 }));

        let one = hello(1);
        let refusal = Refusal::DuplicateId { id: 1, incarnation: 1001 };
        assert_eq!(both(&one, &one), [Err(refusal.clone()), Err(refusal)]);
        let third = judge(&one, 2, &hello(3).encode()).unwrap();
        assert_eq!(third, Err(Refusal::WrongId { expected: 2, said: 3 }));

        let later = Hello { versions: 2..=3, ..hello(2) };
        let refusal = judge(&one, 2, &later.encode()).unwrap();
        assert_eq!(refusal, Err(Refusal::Version { first: 2, last: 3 }));
        assert_eq!(judge(&one, 2, b"?"), Err(HelloError::Short(1)));
    }

    #[test]
    fn a_reason_is_told_and_bounded() {
        let settings = Refusal::Settings { sections: vec![Section::MODE], incarnation: 5 };
        let copy = Refusal::Copy { id: 3, earlier: 5, later: 6 };
        for (refusal, evidence) in [
            (settings, Evidence::Settings { incarnation: 9 }),
            (Refusal::DuplicateId { id: 3, incarnation: 5 }, Evidence::DuplicateId { incarnation: 9 }),
            (copy, Evidence::DuplicateId { incarnation: 6 }),
            (Refusal::WrongId { expected: 1, said: 2 }, Evidence::Other),
        ] {
            let theirs = Refusal::decode(&refusal.encode(9));
            assert_eq!(theirs, Refusal::Theirs { evidence, text: refusal.to_string() });
            assert_eq!(theirs.evidence(), evidence);
        }
        let Refusal::Theirs { text, .. } = Refusal::decode(b"123456789\n\xffx") else { panic!() };
        assert_eq!(text, " \u{fffd}x");
        let Refusal::Theirs { text, .. } = Refusal::decode(&[b'x'; 70_000]) else { panic!() };
        assert_eq!(text.len(), MAX_REASON);
        for short in 0..9 {
            let nothing = Refusal::Theirs { evidence: Evidence::Other, text: String::new() };
            assert_eq!(Refusal::decode(&[1; 9][..short]), nothing);
        }
        let long = Refusal::Theirs { evidence: Evidence::Other, text: "é".repeat(1000) };
        assert!(long.encode(0).len() <= 9 + MAX_REASON);
    }

    #[test]
    fn one_connection_is_the_session() {
        assert_eq!(choose(None, 5), Choice::Take);
        assert_eq!(choose(Some(5), 5), Choice::Spare, "both had connected");
        assert_eq!(choose(Some(5), 6), Choice::Take, "the peer has restarted, and nobody has said so");
        assert_eq!(choose(Some(6), 5), Choice::Copy);
    }
}
