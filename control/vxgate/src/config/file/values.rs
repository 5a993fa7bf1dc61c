//! The texts and numbers of the file: each value alone, and what is wrong with it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use engine::{Admission, Dscp, Proxy, Role};
use ipnet::IpNet;
use port::{BindRequest, Polling, XdpRequest};
use serde::de::value::{I64Deserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wire::{DomainName, MacAddr, Vni};

/// One value, or a list of them that is not empty.
pub(in crate::config) struct OneOrMany<T>(pub(in crate::config) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of them")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
                T::deserialize(I64Deserializer::new(number)).map(|value| vec![value])
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                T::deserialize(StrDeserializer::new(text)).map(|value| vec![value])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                let values = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                match values.is_empty() {
                    true => Err(de::Error::custom("an empty list: name at least one, or leave the key out")),
                    false => Ok(values),
                }
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// A number or a text, for values that may be written as either.
pub(super) enum NumberOrText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = NumberOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl fmt::Display for NumberOrText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A prefix whose host bits are zero.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct Prefix(pub(in crate::config) IpNet);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net: IpNet = text.parse().map_err(|_| {
            format!("{text:?} is not a prefix: write an address and a length, such as \"10.0.1.0/24\"")
        })?;
        match net == net.trunc() {
            true => Ok(Self(net)),
            false => Err(format!("{text} has bits set after its length: write {}", net.trunc())),
        }
    }
}

/// A MAC address.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct Mac(pub(in crate::config) MacAddr);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is {error}"))
    }
}

/// The name of a netdev.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct Interface(pub(in crate::config) String);

impl TryFrom<String> for Interface {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // The kernel's own rule: dev_valid_name() in net/core/dev.c.
        let valid = (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        match valid {
            true => Ok(Self(name)),
            false => Err(format!("{name:?} cannot be the name of a netdev: `ip link` lists those there are")),
        }
    }
}

/// A VXLAN network identifier.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "i64")]
pub(in crate::config) struct VniNumber(pub(in crate::config) Vni);

impl TryFrom<i64> for VniNumber {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .and_then(Vni::new)
            .map(Self)
            .ok_or_else(|| format!("VNI {number} is out of range: take one from 1 to {}", Vni::MAX))
    }
}

/// `"1-65536"`, or `"7"` for one alone.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct VniRange(pub(in crate::config) RangeInclusive<u32>);

impl TryFrom<String> for VniRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let number = |part: &str| part.trim().parse().ok().and_then(Vni::new).map(Vni::value);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!(
                "{text:?} is not a range of VNIs: write the first and the last, such as \"1-65536\", \
                 both from 1 to {}",
                Vni::MAX
            )),
        }
    }
}

/// `"underlay"`, `"uplink"`, or both in a list.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "OneOrMany<RoleName>")]
pub(in crate::config) struct Roles(pub(in crate::config) Role);

impl TryFrom<OneOrMany<RoleName>> for Roles {
    type Error = &'static str;

    fn try_from(OneOrMany(names): OneOrMany<RoleName>) -> Result<Self, Self::Error> {
        match names[..] {
            [RoleName::Underlay] => Ok(Self(Role::Underlay)),
            [RoleName::Uplink] => Ok(Self(Role::Uplink)),
            [RoleName::Underlay, RoleName::Uplink] | [RoleName::Uplink, RoleName::Underlay] => {
                Ok(Self(Role::Both))
            }
            _ => Err("a port is for one or both of \"underlay\" and \"uplink\": name each once"),
        }
    }
}

/// Something in a second: a number above zero, or one with a decimal suffix, such as `"100M"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(in crate::config) struct PerSecond(pub(in crate::config) u64);

impl TryFrom<NumberOrText> for PerSecond {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        let rate = match &value {
            NumberOrText::Number(number) => u64::try_from(*number).ok(),
            NumberOrText::Text(text) => {
                let suffixes = [('k', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];
                let (digits, unit) = suffixes
                    .iter()
                    .find_map(|&(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
                    .unwrap_or((text, 1));
                digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit))
            }
        };
        rate.filter(|&rate| rate > 0).map(Self).ok_or_else(|| {
            format!("{value} is no rate: write a number above zero, or one with k, M or G, such as \"100M\"")
        })
    }
}

/// `"copy"`, or a number.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(in crate::config) struct DscpValue(pub(in crate::config) Dscp);

impl TryFrom<NumberOrText> for DscpValue {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match &value {
            NumberOrText::Number(number @ 0..=63) => Ok(Self(Dscp::Set(*number as u8))),
            NumberOrText::Text(text) if text == "copy" => Ok(Self(Dscp::Copy)),
            _ => Err(format!("{value} is no DSCP: write \"copy\", or a number from 0 to 63")),
        }
    }
}

/// How many addresses may be learned of one station.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "i64")]
pub(in crate::config) struct AddressesPerStation(pub(in crate::config) u16);

impl AddressesPerStation {
    const MAX: i64 = 4096;
}

impl TryFrom<i64> for AddressesPerStation {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match number {
            1..=Self::MAX => Ok(Self(number as u16)),
            _ => Err(format!("{number} addresses per station are out of range: take 1 to {}", Self::MAX)),
        }
    }
}

/// A domain name, in the form that the engine takes.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct Domain(pub(in crate::config) DomainName);

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is {error}"))
    }
}

/// Defines how a value of another crate's enum is written.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident => $target:ty { $($(#[$attribute:meta])* $variant:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(in crate::config) enum $name { $($(#[$attribute])* $variant),+ }

        impl From<$name> for $target {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

/// What a port is for.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RoleName {
    Underlay,
    Uplink,
}

names!(
    /// What workers do when there is nothing to do.
    #[derive(Default)]
    PollingName => Polling { #[default] Busy, Adaptive }
);
names!(
    /// How the XDP program is attached.
    #[derive(Default)]
    XdpName => XdpRequest { #[default] Auto, Native, Generic }
);
names!(
    /// How the socket is bound.
    #[derive(Default)]
    BindName => BindRequest { #[default] Auto, Copy, ZeroCopy }
);
names!(
    /// What becomes of stations that are where they are not expected.
    AdmissionName => Admission { Loose, Strict }
);
names!(
    /// For whom the router answers ARP and neighbour solicitations.
    ProxyName => Proxy { Own, Known, Isolate }
);
