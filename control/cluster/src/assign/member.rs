//! Gateways as assignment sees them: a number and a weight.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use thiserror::Error;

/// The number of a gateway in its cluster, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(NonZeroU16);

impl GatewayId {
    /// None if zero.
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    pub const fn value(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GatewayId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How much a gateway takes beside the others, in any unit that they share. Zero takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u16);

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// One gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, which no other member has.
    pub id: GatewayId,
    /// Its weight.
    pub weight: Weight,
}

/// Why members are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MembersError {
    /// Two have one number.
    #[error("gateway {0} is there twice; give each gateway of a cluster an id of its own")]
    Duplicate(GatewayId),
    /// More than [`Members::MAX`].
    #[error("{0} gateways; a cluster has at most {max}", max = Members::MAX)]
    TooMany(usize),
}

/// The gateways of a cluster, by id: the order in which they were given changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<Member>);

impl Members {
    /// How many gateways a cluster may have.
    pub const MAX: usize = 128;

    /// Refuses one id twice, and too many.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, MembersError> {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by_key(|member| member.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(MembersError::Duplicate(pair[0].id));
        }
        if members.len() > Self::MAX {
            return Err(MembersError::TooMany(members.len()));
        }
        Ok(Self(members))
    }

    /// The member with this id.
    pub fn find(&self, id: GatewayId) -> Option<Member> {
        self.0.binary_search_by_key(&id, |member| member.id).ok().map(|index| self.0[index])
    }

    /// All, by id.
    pub fn as_slice(&self) -> &[Member] {
        &self.0
    }

    /// The sum of the weights.
    pub fn total_weight(&self) -> u32 {
        // At most 128 · 65535.
        self.0.iter().map(|member| u32::from(member.weight.0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u16) -> Member {
        Member { id: GatewayId::new(id).unwrap(), weight: Weight::default() }
    }

    #[test]
    fn an_id_is_there_once() {
        let duplicate = MembersError::Duplicate(GatewayId::new(7).unwrap());
        assert_eq!(Members::new([member(7), member(1), member(7)]), Err(duplicate));
        assert_eq!(Members::new((1..=129).map(member)), Err(MembersError::TooMany(129)));
        assert!(Members::new((1..=128).map(member)).is_ok());
        assert!("0".parse::<GatewayId>().is_err() && "65536".parse::<GatewayId>().is_err());
    }
}
