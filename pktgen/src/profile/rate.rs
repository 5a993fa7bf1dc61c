//! How fast frames go out, and for how long.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// Bytes that a frame takes on a wire beside those from its destination MAC address to its FCS: preamble, start
/// delimiter and the least gap (IEEE 802.3 §4.4.2).
pub const L1_OVERHEAD: usize = 20;
/// Bytes of the frame check sequence, which the NIC adds.
pub const FCS_LEN: usize = 4;
/// Bytes of the shortest frame on a wire, without FCS (IEEE 802.3 §3.2.8); shorter ones are padded.
pub const MIN_LEN: usize = 60;

/// What of a frame counts as bits of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// All that a wire carries: the frame, its FCS, preamble and gap.
    L1,
    /// The frame with its FCS.
    L2,
}

/// How fast frames go out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rate {
    /// As fast as it goes.
    #[default]
    Max,
    /// Packets a second.
    Packets(f64),
    /// Bits a second.
    Bits(f64, Layer),
    /// Per cent of a link's speed, on L1.
    Percent(f64),
    /// So many packets at once, again and again.
    Burst(u64, Duration),
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Packets(rate) => write!(f, "{}pps", Prefixed(*rate)),
            Self::Bits(rate, Layer::L1) => write!(f, "{}bps l1", Prefixed(*rate)),
            Self::Bits(rate, Layer::L2) => write!(f, "{}bps l2", Prefixed(*rate)),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Burst(packets, every) => write!(f, "{packets} packets every {every:?}"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number with the largest prefix that it reaches.
struct Prefixed(f64);

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PREFIXES.iter().rev().find(|(_, factor)| self.0 >= *factor);
        let (prefix, factor) = prefix.map_or((None, 1.0), |&(prefix, factor)| (Some(prefix), factor));
        write!(f, "{}", self.0 / factor)?;
        prefix.map_or(Ok(()), |prefix| write!(f, "{prefix}"))
    }
}

const PREFIXES: [(char, f64); 3] = [('k', 1e3), ('M', 1e6), ('G', 1e9)];

/// The slowest rate, so that all times stay in what clocks count.
const SLOWEST: f64 = 1e-6;
/// The longest time, about as long as a machine lasts.
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// A number above zero with k, M or G.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let prefixed = PREFIXES.iter().find_map(|&(prefix, factor)| Some((text.strip_suffix(prefix)?, factor)));
    let (digits, factor) = prefixed.unwrap_or((text, 1.0));
    let value = digits.trim_end().parse::<f64>().ok()? * factor;
    (value.is_finite() && value >= SLOWEST).then_some(value)
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim();
        let rate = if lower == "max" {
            Some(Self::Max)
        } else if let Some(percent) = lower.strip_suffix('%') {
            number(percent).filter(|&percent| percent <= 100.0).map(Self::Percent)
        } else if let Some(packets) = lower.strip_suffix("pps") {
            number(packets).map(Self::Packets)
        } else {
            let layers = [(" l1", Layer::L1), (" l2", Layer::L2), ("", Layer::L2)];
            layers.iter().find_map(|&(suffix, layer)| {
                let bits = lower.strip_suffix(suffix)?.strip_suffix("bps")?;
                number(bits).map(|bits| Self::Bits(bits, layer))
            })
        };
        rate.ok_or_else(|| {
            format!(
                "{text:?} is no rate: write packets a second (\"1.5Mpps\"), bits a second on L2 (\"1Gbps\") or on L1 \
                 (\"1Gbps l1\"), per cent of link-speed (\"50%\"), or \"max\""
            )
        })
    }
}

/// The speed of a link in bits a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSpeed(pub f64);

impl FromStr for LinkSpeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let speed = text.trim().strip_suffix("bps").and_then(number);
        speed.map(Self).ok_or_else(|| format!("{text:?} is no link speed: write such as \"10Gbps\""))
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("min", 60.0),
            ("h", 3600.0),
            ("s", 1.0),
        ];
        let seconds = units.iter().find_map(|&(unit, factor)| {
            Some(text.trim().strip_suffix(unit)?.trim_end().parse::<f64>().ok()? * factor)
        });
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.filter(|span| !span.is_zero() && *span <= LONGEST).map(Self).ok_or_else(|| {
            format!("{text:?} is no time: write a number with ns, us, ms, s, min or h, such as \"10s\"")
        })
    }
}

/// So many packets at once, again and again.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// How many.
    pub packets: NonZeroU32,
    /// From the start of one to that of the next.
    pub every: Span,
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no burst: write packets and a time, such as \"32/1ms\"");
        let (packets, every) = text.split_once('/').ok_or_else(wrong)?;
        Ok(Self { packets: packets.trim().parse().map_err(|_| wrong())?, every: every.parse()? })
    }
}

impl From<Burst> for Rate {
    fn from(burst: Burst) -> Self {
        Self::Burst(burst.packets.get().into(), burst.every.0)
    }
}

/// Reads what is written as a text.
macro_rules! deserialize_text {
    ($($name:ty),*) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        })*
    };
}

deserialize_text!(Rate, LinkSpeed, Span);

impl Rate {
    /// The rate in absolute terms.
    ///
    /// # Errors
    /// If it is per cent, and of what is not stated.
    pub fn of_link(self, speed: Option<LinkSpeed>) -> Result<Self, RateError> {
        match (self, speed) {
            (Self::Percent(percent), Some(LinkSpeed(speed))) => {
                Ok(Self::Bits(speed * percent / 100.0, Layer::L1))
            }
            (Self::Percent(_), None) => Err(RateError),
            (absolute, _) => Ok(absolute),
        }
    }
}

/// Per cent of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate in per cent needs the speed that it is of: state link-speed, such as \"10Gbps\"")]
pub struct RateError;

/// When sending ends; at both limits, whichever is met first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// After this time.
    pub duration: Option<Duration>,
    /// After so many packets.
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let rate = |text: &str| text.parse::<Rate>();
        assert_eq!(rate("1.5Mpps"), Ok(Rate::Packets(1.5e6)));
        assert_eq!(rate("10 kpps"), Ok(Rate::Packets(1e4)));
        assert_eq!(rate("1Gbps"), Ok(Rate::Bits(1e9, Layer::L2)));
        assert_eq!(rate("9.5Gbps l1"), Ok(Rate::Bits(9.5e9, Layer::L1)));
        assert_eq!(rate("50%"), Ok(Rate::Percent(50.0)));
        assert_eq!(rate("max"), Ok(Rate::Max));
        for wrong in ["", "5", "0pps", "-1pps", "1e-9pps", "infpps", "NaNpps", "101%", "5Mbit", "1Gbps l3"] {
            assert!(rate(wrong).unwrap_err().contains("per cent"), "{wrong}");
        }
        for text in ["1.5Mpps", "10kpps", "1Gbps l2", "9.5Gbps l1", "50%", "max", "7pps"] {
            assert_eq!(rate(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn per_cent_is_of_a_link_on_l1() {
        let half = Rate::Percent(50.0);
        assert_eq!(half.of_link(Some(LinkSpeed(1e10))), Ok(Rate::Bits(5e9, Layer::L1)));
        assert!(half.of_link(None).is_err());
        assert_eq!(Rate::Max.of_link(None), Ok(Rate::Max));
    }

    #[test]
    fn times() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(span("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(span("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(span("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "0s", "-1s", "1e99s", "1e10h", "s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
