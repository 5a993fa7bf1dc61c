//! Sizes of frames.

use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::field::{self, Field};
use super::value::Number;

/// The simple Internet mix: seven frames of 64 bytes, four of 594, one of 1 518, as IP packets of 40 (padded), 576 and
/// 1 500 bytes make; spread so that no two large ones meet.
const IMIX: [u128; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64];

/// Bytes of a frame on L2 with its FCS.
#[derive(Clone, Debug)]
pub(super) struct Size(pub(super) Field);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("imix") {
            return Ok(Self(imix()));
        }
        field::of::<Number<65535>, _>(value.into_deserializer()).map(Self).map_err(de::Error::custom)
    }
}

/// The mix.
pub(crate) fn imix() -> Field {
    Field::list(IMIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_seven_four_one() {
        let count = |size| imix().values().filter(|&value| value == size).count();
        assert_eq!([64, 594, 1518].map(count), [7, 4, 1]);
    }
}
