//! The control packet (RFC 5880 §4.1).
//!
//! [`Packet::parse`] checks all that can be checked without knowing a session (§6.8.6); nothing here can panic, whatever
//! the bytes. The hash of an authentication section is checked by [`crate::auth`].

use std::fmt;

use crate::auth::Section;
use crate::discard::Discard;

/// Bytes without an authentication section.
pub const LENGTH: usize = 24;

/// Bytes of the longest packet that is sent: with keyed SHA1.
pub const MAX_LENGTH: usize = LENGTH + crate::auth::SHA1_LENGTH;

/// State of a session (RFC 5880 §4.1, §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Held down by its operator.
    AdminDown,
    /// Down, or just made.
    Down,
    /// Hears the peer, and does not know yet whether the peer hears it.
    Init,
    /// Up.
    Up,
}

impl State {
    const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session was last left (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Diagnostic {
    /// 0.
    None,
    /// 1: nothing was heard for the detection time.
    DetectionTimeExpired,
    /// 2.
    EchoFailed,
    /// 3: the peer said so.
    NeighborSignaledDown,
    /// 4.
    ForwardingPlaneReset,
    /// 5.
    PathDown,
    /// 6.
    ConcatenatedPathDown,
    /// 7: held down by the operator.
    AdministrativelyDown,
    /// 8.
    ReverseConcatenatedPathDown,
    /// Not assigned: 9 to 31.
    Unknown(u8),
}

impl Diagnostic {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::None,
            1 => Self::DetectionTimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborSignaledDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Unknown(other),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::DetectionTimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborSignaledDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Unknown(other) => other & 0x1f,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::DetectionTimeExpired => "detection time expired",
            Self::EchoFailed => "echo failed",
            Self::NeighborSignaledDown => "neighbor signaled down",
            Self::ForwardingPlaneReset => "forwarding plane reset",
            Self::PathDown => "path down",
            Self::ConcatenatedPathDown => "concatenated path down",
            Self::AdministrativelyDown => "administratively down",
            Self::ReverseConcatenatedPathDown => "reverse concatenated path down",
            Self::Unknown(_) => "unknown",
        })
    }
}

/// A control packet. Intervals are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session was last left.
    pub diagnostic: Diagnostic,
    /// State of the sender's session.
    pub state: State,
    /// The sender wants an answer with `is_final`.
    pub poll: bool,
    /// Answers a poll.
    pub is_final: bool,
    /// The sender's BFD does not share the fate of its control plane.
    pub control_plane_independent: bool,
    /// The sender wants no periodic packets while both are up (§6.6).
    pub demand: bool,
    /// Silent packets that end the session; never 0.
    pub detect_multiplier: u8,
    /// The sender's discriminator; never 0.
    pub my_discriminator: u32,
    /// The receiver's, as the sender knows it; 0: not known.
    pub your_discriminator: u32,
    /// The sender would like to send this often.
    pub desired_min_tx: u32,
    /// The sender can take packets this often; 0: it wants none.
    pub required_min_rx: u32,
    /// The same for echo packets; 0: it takes none.
    pub required_min_echo_rx: u32,
}

impl Packet {
    /// Reads the payload of a UDP datagram: the packet, and its authentication section if it has one. Bytes after the
    /// packet's own length are none of it.
    ///
    /// # Errors
    /// why it is to be discarded (RFC 5880 §6.8.6, up to the look-up of a session).
    pub fn parse(bytes: &[u8]) -> Result<(Self, Option<Section<'_>>), Discard> {
        let header: &[u8; LENGTH] = bytes.first_chunk().ok_or(Discard::Truncated)?;
        if header[0] >> 5 != 1 {
            return Err(Discard::Version);
        }
        let flags = header[1];
        let authenticated = flags & 0x04 != 0;
        let length = usize::from(header[3]);
        let least = if authenticated { LENGTH + 2 } else { LENGTH };
        if length < least {
            return Err(Discard::Length);
        }
        let packet = bytes.get(..length).ok_or(Discard::Truncated)?;
        if header[2] == 0 {
            return Err(Discard::DetectMultiplier);
        }
        if flags & 0x01 != 0 {
            return Err(Discard::Multipoint);
        }
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let parsed = Self {
            diagnostic: Diagnostic::from_bits(header[0] & 0x1f),
            state: State::ALL[usize::from(flags >> 6)],
            poll: flags & 0x20 != 0,
            is_final: flags & 0x10 != 0,
            control_plane_independent: flags & 0x08 != 0,
            demand: flags & 0x02 != 0,
            detect_multiplier: header[2],
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx: word(12),
            required_min_rx: word(16),
            required_min_echo_rx: word(20),
        };
        if parsed.my_discriminator == 0 {
            return Err(Discard::MyDiscriminator);
        }
        if parsed.your_discriminator == 0 && !matches!(parsed.state, State::Down | State::AdminDown) {
            return Err(Discard::NoYourDiscriminator);
        }
        let section = if authenticated { Some(Section::new(packet)?) } else { None };
        Ok((parsed, section))
    }

    /// The packet without authentication.
    pub fn emit(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; LENGTH];
        bytes[0] = 1 << 5 | self.diagnostic.bits();
        bytes[1] = (self.state as u8) << 6
            | flag(self.poll, 0x20)
            | flag(self.is_final, 0x10)
            | flag(self.control_plane_independent, 0x08)
            | flag(self.demand, 0x02);
        bytes[2] = self.detect_multiplier;
        bytes[3] = LENGTH as u8;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (field, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: [u8; LENGTH] = [
        0x21, 0xe0, 3, 24, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0x27, 0x10, 0, 0, 0x4e,
        0x20, 0, 0, 0, 0,
    ];

    fn golden() -> Packet {
        Packet {
            diagnostic: Diagnostic::DetectionTimeExpired,
            state: State::Up,
            poll: true,
            is_final: false,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: 3,
            my_discriminator: 0x1122_3344,
            your_discriminator: 0x5566_7788,
            desired_min_tx: 10_000,
            required_min_rx: 20_000,
            required_min_echo_rx: 0,
        }
    }

    #[test]
    fn parse() {
        assert_eq!(Packet::parse(&GOLDEN), Ok((golden(), None)));
        // What follows is none of it.
        assert_eq!(Packet::parse(&[&GOLDEN[..], &[0xff; 9]].concat()), Ok((golden(), None)));
    }

    #[test]
    fn emit() {
        assert_eq!(golden().emit(), GOLDEN);
    }

    #[test]
    fn every_diagnostic_comes_back() {
        for bits in 0..32 {
            assert_eq!(Diagnostic::from_bits(bits).bits(), bits);
        }
    }

    #[test]
    fn what_is_wrong_is_dropped_for_its_reason() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = GOLDEN;
            bytes[at] = byte;
            Packet::parse(&bytes).map(drop)
        };
        for length in 0..LENGTH {
            assert_eq!(Packet::parse(&GOLDEN[..length]), Err(Discard::Truncated));
        }
        assert_eq!(changed(0, 0x01), Err(Discard::Version));
        assert_eq!(changed(0, 0x41), Err(Discard::Version));
        assert_eq!(changed(1, 0xe1), Err(Discard::Multipoint));
        assert_eq!(changed(2, 0), Err(Discard::DetectMultiplier));
        assert_eq!(changed(3, 23), Err(Discard::Length));
        assert_eq!(changed(3, 25), Err(Discard::Truncated));
        // A section is said to be there, and is not.
        assert_eq!(changed(1, 0xe4), Err(Discard::Length));
        let mut unnamed = GOLDEN;
        unnamed[4..8].fill(0);
        assert_eq!(Packet::parse(&unnamed), Err(Discard::MyDiscriminator));
        for (flags, taken) in [(0x00, true), (0x40, true), (0x80, false), (0xc0, false)] {
            let mut bytes = GOLDEN;
            bytes[1] = flags;
            bytes[8..12].fill(0);
            let parsed = Packet::parse(&bytes).map(drop);
            assert_eq!(parsed, if taken { Ok(()) } else { Err(Discard::NoYourDiscriminator) });
        }
    }
}
