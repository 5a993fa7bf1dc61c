//! The configuration file as it is written: its tables, keys and the texts in them.
//!
//! Only what can be told from one value alone is checked here; the parser then names the place by itself.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use engine::Role;
use ipnet::IpNet;
use port::{BindRequest, Idle, XdpRequest};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use wire::{MacAddr, Vni};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) gateway: Gateway,
    #[serde(default)]
    pub(super) port: Vec<Spanned<Port>>,
    #[serde(default)]
    pub(super) overlay: Vec<Spanned<Overlay>>,
    #[serde(default)]
    pub(super) overlay_block: Vec<Spanned<OverlayBlock>>,
    #[serde(default)]
    pub(super) station: Vec<Spanned<Station>>,
}

/// `[gateway]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Gateway {
    pub(super) router_mac: Spanned<Mac>,
    pub(super) blocks: Spanned<Vec<Spanned<Prefix>>>,
    pub(super) socket: Option<PathBuf>,
    #[serde(default)]
    pub(super) idle: IdleName,
    pub(super) core: Option<usize>,
    pub(super) max_flows: Option<u32>,
}

/// `[[port]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) interface: Spanned<Interface>,
    pub(super) role: RoleName,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<IpAddr>>,
    #[serde(default)]
    pub(super) xdp: XdpName,
    #[serde(default)]
    pub(super) bind: BindName,
}

/// `[[overlay]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overlay {
    pub(super) vni: VniNumber,
    pub(super) subnets: Vec<Spanned<Subnet>>,
    #[serde(default)]
    pub(super) endpoints: Vec<Spanned<IpAddr>>,
    pub(super) mtu: Option<u16>,
}

/// `[[overlay-block]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverlayBlock {
    pub(super) vnis: VniRange,
    pub(super) ipv4: Option<Spanned<Cut>>,
    pub(super) ipv6: Option<Spanned<Cut>>,
    #[serde(default)]
    pub(super) endpoints: Vec<Spanned<IpAddr>>,
    pub(super) mtu: Option<u16>,
}

/// A range that is cut into subnets of one length, one an overlay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    pub(super) range: Prefix,
    pub(super) length: u8,
}

/// `[[station]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Station {
    pub(super) vni: Spanned<VniNumber>,
    pub(super) mac: Spanned<Mac>,
    pub(super) endpoint: Spanned<IpAddr>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<IpAddr>>,
}

/// `"10.0.1.0/24"`, or `{ prefix = "10.0.1.0/24", router = "10.0.1.254" }`.
pub(super) struct Subnet {
    pub(super) prefix: IpNet,
    pub(super) router: Option<IpAddr>,
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            prefix: Prefix,
            router: Option<IpAddr>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Subnet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a prefix, or { prefix = \"…\", router = \"…\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Subnet, E> {
                let prefix = Prefix::deserialize(StrDeserializer::<E>::new(text))?;
                Ok(Subnet { prefix: prefix.0, router: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Subnet, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Subnet { prefix: table.prefix.0, router: table.router })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A prefix whose host bits are zero.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Prefix(pub(super) IpNet);

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
pub(super) struct Mac(pub(super) MacAddr);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is {error}"))
    }
}

/// The name of a netdev.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Interface(pub(super) String);

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
pub(super) struct VniNumber(pub(super) Vni);

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
pub(super) struct VniRange(pub(super) RangeInclusive<u32>);

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

/// Defines how a value of another crate's enum is written.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident => $target:ty { $($(#[$attribute:meta])* $variant:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum $name { $($(#[$attribute])* $variant),+ }

        impl From<$name> for $target {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

names!(
    /// What a port is for.
    RoleName => Role { Underlay, Uplink }
);
names!(
    /// What a worker does when there is nothing to do.
    #[derive(Default)]
    IdleName => Idle { #[default] Spin, Block }
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
