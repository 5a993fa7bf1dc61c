//! What each gateway says of itself first.
//!
//! ```text
//!  lowest version u16 | highest version u16                          as all versions have it
//!  cluster u16 | id u16 | incarnation u64 | weight u32 | sections u8
//!  then for each section: its number u8 | SHA-256 of its settings    all big endian
//! ```
//! What follows is of later versions, and skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

/// Versions of what gateways say to each other that this one speaks.
pub const VERSIONS: RangeInclusive<u16> = 1..=1;

/// SHA-256 of the settings of one section.
pub type Digest = [u8; 32];

/// A part of the settings that must be the same on all gateways of a cluster; its number is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Section(pub u8);

impl Section {
    /// How responsibility is shared.
    pub const MODE: Self = Self(1);
    /// The shards and their addresses.
    pub const SHARDS: Self = Self(2);
    /// The MAC address of all overlays' router.
    pub const ROUTER_MAC: Self = Self(3);
    /// The blocks.
    pub const BLOCKS: Self = Self(4);
    /// The overlays with their subnets, routers and MTU.
    pub const OVERLAYS: Self = Self(5);
    /// The AS number and how route targets are made.
    pub const ROUTE_TARGETS: Self = Self(6);
    /// The gateways' ids and certificates.
    pub const GATEWAYS: Self = Self(7);
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::MODE => "mode",
            Self::SHARDS => "shards",
            Self::ROUTER_MAC => "router-mac",
            Self::BLOCKS => "blocks",
            Self::OVERLAYS => "overlays",
            Self::ROUTE_TARGETS => "route targets",
            Self::GATEWAYS => "gateways",
            Self(number) => return write!(f, "section {number}"),
        })
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a gateway is, and what it has in its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions it speaks.
    pub versions: RangeInclusive<u16>,
    /// The number of its cluster.
    pub cluster: u16,
    /// Its number in the cluster.
    pub id: u16,
    /// Nanoseconds since 1970 when it started, as its clock had it: a restarted gateway is another incarnation.
    pub incarnation: u64,
    /// How much of the work it is to get, compared with the others.
    pub weight: u32,
    /// Its settings.
    pub sections: BTreeMap<Section, Digest>,
}

/// What is no hello.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HelloError {
    /// It ends too early.
    #[error("a hello of {0} bytes is too short")]
    Short(usize),
    /// No version is within these limits.
    #[error("a hello of the versions {0} to {1}")]
    Versions(u16, u16),
    /// There is no version that both speak; the rest was not read.
    #[error("the versions {0} to {1}, none of which is spoken here")]
    NoCommonVersion(u16, u16),
    /// A section is there twice.
    #[error("a hello with the section {0} twice")]
    SectionTwice(Section),
}

impl Hello {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(21 + 33 * self.sections.len());
        bytes.extend(self.versions.start().to_be_bytes());
        bytes.extend(self.versions.end().to_be_bytes());
        bytes.extend(self.cluster.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.extend(self.weight.to_be_bytes());
        // No two of a map's keys of one byte are alike; all 256 are never used.
        let sections = self.sections.iter().take(255);
        bytes.push(sections.len() as u8);
        for (section, digest) in sections {
            bytes.push(section.0);
            bytes.extend(digest);
        }
        bytes
    }

    /// What was sent.
    ///
    /// # Errors
    /// If it is no hello, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        let mut reader = Reader { rest: bytes, len: bytes.len() };
        let (first, last) = (u16::from_be_bytes(reader.take()?), u16::from_be_bytes(reader.take()?));
        if first == 0 || first > last {
            return Err(HelloError::Versions(first, last));
        }
        if last < *VERSIONS.start() || first > *VERSIONS.end() {
            return Err(HelloError::NoCommonVersion(first, last));
        }
        let mut hello = Self {
            versions: first..=last,
            cluster: u16::from_be_bytes(reader.take()?),
            id: u16::from_be_bytes(reader.take()?),
            incarnation: u64::from_be_bytes(reader.take()?),
            weight: u32::from_be_bytes(reader.take()?),
            sections: BTreeMap::new(),
        };
        let [count] = reader.take()?;
        for _ in 0..count {
            let [number] = reader.take()?;
            if hello.sections.insert(Section(number), reader.take()?).is_some() {
                return Err(HelloError::SectionTwice(Section(number)));
            }
        }
        Ok(hello)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(HelloError::Short(self.len))?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: 1..=2,
            cluster: 0x0102,
            id: 0x0304,
            incarnation: 0x0506_0708_090a_0b0c,
            weight: 100,
            sections: [(Section::MODE, [1; 32]), (Section(200), [2; 32])].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = hello().encode();
        assert_eq!(
            bytes[..22],
            [0, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 100, 2, 1],
            "the layout is fixed"
        );
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        for short in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..short]), Err(HelloError::Short(short)));
        }
        let later = [&bytes[..], b"what a later version adds"].concat();
        assert_eq!(Hello::decode(&later), Ok(hello()));
    }

    #[test]
    fn versions_are_looked_at_before_anything_else() {
        assert_eq!(Hello::decode(&[0, 2, 0, 3, 9]), Err(HelloError::NoCommonVersion(2, 3)));
        assert_eq!(Hello::decode(&[0, 2, 0, 1]), Err(HelloError::Versions(2, 1)));
        assert_eq!(Hello::decode(&[0, 0, 0, 1]), Err(HelloError::Versions(0, 1)));
    }

    #[test]
    fn a_section_is_there_once() {
        let mut bytes = Hello { sections: [(Section(9), [0; 32])].into(), ..hello() }.encode();
        bytes[20] = 2;
        bytes.push(9);
        bytes.extend([1; 32]);
        assert_eq!(Hello::decode(&bytes), Err(HelloError::SectionTwice(Section(9))));
    }
}
