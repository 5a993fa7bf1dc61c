//! Meticulous Keyed SHA1 (RFC 5880 §4.4, §6.7.4). Other types are not taken: nobody who can choose should.

use std::fmt;

use arrayvec::ArrayVec;
use sha1::{Digest, Sha1};

use crate::discard::Discard;
use crate::packet::{LENGTH, MAX_LENGTH};

/// Bytes of the section.
pub const SHA1_LENGTH: usize = 28;

/// Longest secret in bytes.
pub const MAX_SECRET: usize = 20;

const METICULOUS_KEYED_SHA1: u8 = 5;

/// Where the hash is, or, while it is computed, the secret.
const HASH: std::ops::Range<usize> = LENGTH + 8..LENGTH + SHA1_LENGTH;

/// Packets by the detect multiplier that may be lost before the next is no longer taken (§6.7.4).
const WINDOW: u32 = 3;

/// A key with its number.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its number on the wire.
    pub id: u8,
    secret: [u8; MAX_SECRET],
}

impl Key {
    /// A key. The secret has 1 to [`MAX_SECRET`] bytes, those of a random number for best.
    pub fn new(id: u8, secret: &[u8]) -> Option<Self> {
        let mut padded = [0; MAX_SECRET];
        padded.get_mut(..secret.len()).filter(|place| !place.is_empty())?.copy_from_slice(secret);
        Some(Self { id, secret: padded })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The authentication section of a packet that was received, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The packet, up to its own length: at least two bytes of the section.
    packet: &'a [u8],
}

impl<'a> Section<'a> {
    /// `packet` has the length that its header says.
    pub(crate) fn new(packet: &'a [u8]) -> Result<Self, Discard> {
        // What follows the section, if its length says so, is nothing that anybody defined.
        match packet.get(LENGTH + 1) {
            Some(&length) if LENGTH + usize::from(length) == packet.len() => Ok(Self { packet }),
            _ => Err(Discard::AuthLength),
        }
    }

    /// Whether one of `keys` made this; the sequence number of the packet.
    pub(crate) fn check(&self, keys: &[Key]) -> Result<u32, Discard> {
        if self.packet[LENGTH] != METICULOUS_KEYED_SHA1 {
            return Err(Discard::AuthType);
        }
        let packet: &[u8; MAX_LENGTH] = self.packet.try_into().map_err(|_| Discard::AuthLength)?;
        let key = keys.iter().find(|key| key.id == packet[LENGTH + 2]).ok_or(Discard::AuthKey)?;
        let expected = hash(packet, key);
        // All bytes are looked at: how long this takes says nothing about where they differ.
        let differs = expected.iter().zip(&packet[HASH]).fold(0, |differs, (a, b)| differs | (a ^ b));
        if differs != 0 {
            return Err(Discard::AuthHash);
        }
        Ok(u32::from_be_bytes([
            packet[LENGTH + 4],
            packet[LENGTH + 5],
            packet[LENGTH + 6],
            packet[LENGTH + 7],
        ]))
    }
}

/// The packet with an authentication section.
pub(crate) fn sign(packet: [u8; LENGTH], key: &Key, sequence: u32) -> ArrayVec<u8, MAX_LENGTH> {
    let mut bytes = [0; MAX_LENGTH];
    bytes[..LENGTH].copy_from_slice(&packet);
    bytes[1] |= 0x04;
    bytes[3] = MAX_LENGTH as u8;
    bytes[LENGTH..LENGTH + 4].copy_from_slice(&[METICULOUS_KEYED_SHA1, SHA1_LENGTH as u8, key.id, 0]);
    bytes[LENGTH + 4..LENGTH + 8].copy_from_slice(&sequence.to_be_bytes());
    let hash = hash(&bytes, key);
    bytes[HASH].copy_from_slice(&hash);
    bytes.into()
}

fn hash(packet: &[u8; MAX_LENGTH], key: &Key) -> [u8; 20] {
    let mut keyed = *packet;
    keyed[HASH].copy_from_slice(&key.secret);
    Sha1::digest(keyed).into()
}

/// Whether a sequence number may follow the last one (§6.7.4): each packet has a new one, some may be lost.
pub(crate) fn may_follow(last: u32, sequence: u32, detect_multiplier: u8) -> bool {
    let ahead = sequence.wrapping_sub(last);
    (1..=WINDOW * u32::from(detect_multiplier)).contains(&ahead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    const PACKET: [u8; LENGTH] =
        [0x20, 0xc0, 3, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10, 0, 0, 0, 0];

    fn key() -> Key {
        Key::new(7, b"secret").unwrap()
    }

    fn check(bytes: &[u8], keys: &[Key]) -> Result<u32, Discard> {
        let (_, section) = Packet::parse(bytes)?;
        section.unwrap().check(keys)
    }

    #[test]
    fn the_hash_is_that_of_another_implementation() {
        // Python: hashlib.sha1(packet[:32] + b"secret".ljust(20, b"\0")).hexdigest()
        let signed = sign(PACKET, &key(), 0x0102_0304);
        let hash: String = signed[HASH].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "310221dcceb6bec431bd98645e2eb85ce98b050b");
    }

    #[test]
    fn what_was_signed_is_taken_and_nothing_else() {
        let signed = sign(PACKET, &key(), 9);
        let other = Key::new(7, b"other").unwrap();
        let third = Key::new(8, b"secret").unwrap();
        assert_eq!(check(&signed, &[third.clone(), key()]), Ok(9));
        assert_eq!(check(&signed, &[other]), Err(Discard::AuthHash));
        assert_eq!(check(&signed, &[third]), Err(Discard::AuthKey));
        for at in 0..MAX_LENGTH {
            for bit in 0..8 {
                let mut forged = signed.clone();
                forged[at] ^= 1 << bit;
                let forged = Packet::parse(&forged).and_then(|(_, section)| match section {
                    Some(section) => section.check(&[key()]),
                    None => Err(Discard::AuthMissing),
                });
                assert!(forged.is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn other_types_and_lengths_are_refused() {
        let signed = sign(PACKET, &key(), 9);
        for kind in [0, 1, 2, 3, 4, 6, 255] {
            let mut other = signed.clone();
            other[LENGTH] = kind;
            assert_eq!(check(&other, &[key()]), Err(Discard::AuthType));
        }
        for length in (0..=255).filter(|&length| length != SHA1_LENGTH as u8) {
            let mut other = signed.clone();
            other[LENGTH + 1] = length;
            assert_eq!(check(&other, &[key()]), Err(Discard::AuthLength));
        }
        // Its own length is right, and it is no SHA1.
        let mut short = signed[..LENGTH + 2].to_vec();
        (short[3], short[LENGTH + 1]) = (LENGTH as u8 + 2, 2);
        assert_eq!(check(&short, &[key()]), Err(Discard::AuthLength));
    }

    #[test]
    fn numbers_rise_by_the_window_at_most_and_wrap() {
        for last in [0, 5, u32::MAX - 3, u32::MAX] {
            assert!(!may_follow(last, last, 3));
            assert!(!may_follow(last, last.wrapping_sub(1), 3));
            assert!(may_follow(last, last.wrapping_add(1), 3));
            assert!(may_follow(last, last.wrapping_add(9), 3));
            assert!(!may_follow(last, last.wrapping_add(10), 3));
        }
    }

    #[test]
    fn secrets_have_1_to_20_bytes_and_are_not_shown() {
        assert_eq!((Key::new(1, b""), Key::new(1, &[1; 21])), (None, None));
        assert!(Key::new(1, &[1; 20]).is_some());
        assert_eq!(format!("{:?}", key()), "Key { id: 7, .. }");
    }
}
