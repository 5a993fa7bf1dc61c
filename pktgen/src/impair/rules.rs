//! What shall happen to test packets, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// What shall happen. A packet meets with one thing at most: the first of these that is for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Decides what is left to chance.
    pub seed: u64,
    /// Which packets are lost.
    pub lose: When,
    /// Which are sent twice.
    pub duplicate: When,
    /// In which a bit is flipped. One without a checksum over its payload is left alone.
    pub corrupt: When,
    /// Which are held back until others overtook them: one at a time; another that is to be held meanwhile passes.
    pub hold: When,
    /// How many of the same stream shall overtake one that is held.
    pub hold_for: u32,
    /// How long every frame takes, those that are no test packets too.
    pub delay: Duration,
}

/// Which packets a rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum When {
    /// None.
    #[default]
    Never,
    /// One in so many: the first is the packet with that number, counted from 1.
    Every(u64),
    /// Each with this probability, 0 to 1.
    Chance(f64),
}

impl When {
    /// Whether it is for the `number`th packet, counted from 0.
    pub(super) fn applies(self, number: u64, random: &mut fastrand::Rng) -> bool {
        match self {
            Self::Never => false,
            Self::Every(every) => (number + 1).is_multiple_of(every),
            Self::Chance(chance) => random.f64() < chance,
        }
    }
}

/// A text that says not when.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} does not say how often: `1%` is by chance, `every:100` each hundredth")]
pub struct ParseWhenError(String);

impl FromStr for When {
    type Err = ParseWhenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let every =
            text.strip_prefix("every:").and_then(|every| every.parse().ok()).filter(|every| *every > 0);
        let chance = text.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
        let chance = chance.filter(|percent| (0.0..=100.0).contains(percent));
        match (every, chance) {
            (Some(every), _) => Ok(Self::Every(every)),
            (None, Some(percent)) => Ok(Self::Chance(percent / 100.0)),
            (None, None) => Err(ParseWhenError(text.to_owned())),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Every(every) => write!(f, "every:{every}"),
            Self::Chance(chance) => write!(f, "{}%", chance * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!("every:100".parse(), Ok(When::Every(100)));
        assert_eq!("0.5%".parse(), Ok(When::Chance(0.005)));
        for wrong in ["", "every:0", "every:x", "101%", "-1%", "NaN%", "5"] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
        for text in ["every:7", "25%"] {
            assert_eq!(text.parse::<When>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn exact_rules_count_from_the_first() {
        let mut random = fastrand::Rng::with_seed(1);
        let hit: Vec<u64> = (0..10).filter(|n| When::Every(3).applies(*n, &mut random)).collect();
        assert_eq!(hit, [2, 5, 8]);
        assert!(When::Chance(1.0).applies(0, &mut random) && !When::Chance(0.0).applies(0, &mut random));
    }
}
