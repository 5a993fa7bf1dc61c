//! Why packets are discarded, counted.

use std::fmt;

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// Shorter than a packet, or than it says.
    Truncated,
    /// Not version 1.
    Version,
    /// Its length is too small for what it says to hold.
    Length,
    /// Detect multiplier 0.
    DetectMultiplier,
    /// The multipoint bit is set.
    Multipoint,
    /// My Discriminator 0.
    MyDiscriminator,
    /// Your Discriminator 0 in a state in which the peer has to know it.
    NoYourDiscriminator,
    /// No session has this discriminator.
    UnknownDiscriminator,
    /// No session with this peer on this path.
    UnknownPeer,
    /// The discriminator's session is with another peer, or on another interface.
    OtherPath,
    /// TTL or hop limit too low: it came from farther than it may (RFC 5881 §5, RFC 5883 §5).
    Ttl,
    /// Its authentication section is malformed.
    AuthLength,
    /// Not Meticulous Keyed SHA1.
    AuthType,
    /// A key with this number is not known.
    AuthKey,
    /// Made with another secret, or changed on its way.
    AuthHash,
    /// A sequence number from before, or too far ahead: replayed, late, or twice.
    AuthSequence,
    /// Not authenticated where it has to be.
    AuthMissing,
    /// Authenticated where that is not agreed.
    AuthUnexpected,
    /// Authenticated, and one of our own packets come back.
    Reflected,
    /// The session is held down here.
    AdminDown,
}

impl Discard {
    /// All reasons, in order.
    pub const ALL: [Self; 20] = [
        Self::Truncated,
        Self::Version,
        Self::Length,
        Self::DetectMultiplier,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::NoYourDiscriminator,
        Self::UnknownDiscriminator,
        Self::UnknownPeer,
        Self::OtherPath,
        Self::Ttl,
        Self::AuthLength,
        Self::AuthType,
        Self::AuthKey,
        Self::AuthHash,
        Self::AuthSequence,
        Self::AuthMissing,
        Self::AuthUnexpected,
        Self::Reflected,
        Self::AdminDown,
    ];

    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::Length => "length",
            Self::DetectMultiplier => "detect-multiplier",
            Self::Multipoint => "multipoint",
            Self::MyDiscriminator => "my-discriminator",
            Self::NoYourDiscriminator => "no-your-discriminator",
            Self::UnknownDiscriminator => "unknown-discriminator",
            Self::UnknownPeer => "unknown-peer",
            Self::OtherPath => "other-path",
            Self::Ttl => "ttl",
            Self::AuthLength => "auth-length",
            Self::AuthType => "auth-type",
            Self::AuthKey => "auth-key",
            Self::AuthHash => "auth-hash",
            Self::AuthSequence => "auth-sequence",
            Self::AuthMissing => "auth-missing",
            Self::AuthUnexpected => "auth-unexpected",
            Self::Reflected => "reflected",
            Self::AdminDown => "admin-down",
        }
    }
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Packets discarded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    pub(crate) fn count(&mut self, reason: Discard) {
        self.0[reason as usize] += 1;
    }

    /// How many for this reason.
    pub fn of(&self, reason: Discard) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons that were met, with how often.
    pub fn met(&self) -> impl Iterator<Item = (Discard, u64)> {
        Discard::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_place_and_name() {
        let mut discards = Discards::default();
        for (place, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            (0..=place).for_each(|_| discards.count(reason));
        }
        let names: std::collections::HashSet<_> = discards.met().map(|(reason, _)| reason.name()).collect();
        assert_eq!(names.len(), Discard::ALL.len());
        assert!(
            discards.met().all(|(reason, count)| count == reason as u64 + 1 && count == discards.of(reason))
        );
    }
}
