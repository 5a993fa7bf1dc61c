//! `[bgp]`, and the route targets of an overlay.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use evpn::{Family, RouteTargets};
use serde::Deserialize;
use toml::Spanned;

use super::OneOrMany;

/// `[bgp]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Bgp {
    pub(in crate::config) asn: Spanned<u32>,
    pub(in crate::config) router_id: Spanned<Ipv4Addr>,
    pub(in crate::config) cluster_number: Option<Spanned<u16>>,
    #[serde(default)]
    pub(in crate::config) route_target: DerivedTarget,
    pub(in crate::config) listen: Option<Vec<IpAddr>>,
    #[serde(default)]
    pub(in crate::config) duplicates: Duplicates,
    pub(in crate::config) ingress: Option<Spanned<Ingress>>,
    #[serde(default)]
    pub(in crate::config) peer: Vec<Spanned<Peer>>,
}

/// How route targets are derived.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum DerivedTarget {
    #[default]
    Frr,
    Rfc8365,
}

impl From<DerivedTarget> for RouteTargets {
    fn from(name: DerivedTarget) -> Self {
        match name {
            DerivedTarget::Frr => Self::Frr,
            DerivedTarget::Rfc8365 => Self::Rfc8365,
        }
    }
}

/// When a MAC address that jumps between endpoints is held.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Duplicates {
    pub(in crate::config) moves: Option<std::num::NonZeroU16>,
    pub(in crate::config) window: Option<Seconds>,
    pub(in crate::config) recovery: Option<Recovery>,
}

/// Whole seconds.
#[derive(Clone, Copy, Deserialize)]
#[serde(from = "u32")]
pub(in crate::config) struct Seconds(pub(in crate::config) Duration);

impl From<u32> for Seconds {
    fn from(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds.into()))
    }
}

/// Seconds, or `"never"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "super::values::NumberOrText")]
pub(in crate::config) struct Recovery(pub(in crate::config) Option<Duration>);

impl TryFrom<super::values::NumberOrText> for Recovery {
    type Error = String;

    fn try_from(value: super::values::NumberOrText) -> Result<Self, String> {
        use super::values::NumberOrText::{Number, Text};
        match &value {
            Text(text) if text == "never" => Ok(Self(None)),
            Number(number @ 1..=86_400) => Ok(Self(Some(Duration::from_secs(*number as u64)))),
            _ => Err(format!("{value} is no time to wait: write 1 to 86400 seconds, or \"never\"")),
        }
    }
}

/// `[[bgp.peer]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Peer {
    pub(in crate::config) address: Spanned<IpAddr>,
    pub(in crate::config) remote_asn: Spanned<RemoteAsn>,
    pub(in crate::config) local_address: Option<IpAddr>,
    pub(in crate::config) port: Option<std::num::NonZeroU16>,
    pub(in crate::config) password: Option<Spanned<String>>,
    pub(in crate::config) password_file: Option<Spanned<PathBuf>>,
    pub(in crate::config) ttl_security: Option<Spanned<u8>>,
    pub(in crate::config) multihop: Option<Spanned<u8>>,
    #[serde(default)]
    pub(in crate::config) passive: bool,
    pub(in crate::config) hold_time: Option<u16>,
    pub(in crate::config) connect_retry: Option<Seconds>,
    pub(in crate::config) families: Option<Spanned<OneOrMany<FamilyName>>>,
    #[serde(default)]
    pub(in crate::config) announce_ipv6_vtep: bool,
    pub(in crate::config) announce_router_flag: Option<bool>,
    pub(in crate::config) ingress: Option<Spanned<bool>>,
    pub(in crate::config) host_routes: Option<Spanned<bool>>,
    pub(in crate::config) maximum_prefixes: Option<usize>,
    pub(in crate::config) maximum_prefixes_restart: Option<Seconds>,
    pub(in crate::config) graceful_restart: Option<Spanned<u16>>,
    pub(in crate::config) bfd: Option<Spanned<PeerBfd>>,
}

impl Peer {
    /// Whether BFD is to watch it.
    pub(in crate::config) fn has_bfd(&self) -> bool {
        self.bfd.as_ref().is_some_and(|bfd| !matches!(bfd.get_ref(), PeerBfd::Plain(false)))
    }
}

/// `true`, or what is not as usual.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "true, or a table of interval, multiplier, multihop and minimum-ttl, is needed"
)]
pub(in crate::config) enum PeerBfd {
    Plain(bool),
    Table(PeerBfdTable),
}

/// `{ interval = 50, multiplier = 3 }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct PeerBfdTable {
    /// Milliseconds.
    pub(in crate::config) interval: Option<u32>,
    pub(in crate::config) multiplier: Option<u8>,
    pub(in crate::config) multihop: Option<bool>,
    pub(in crate::config) minimum_ttl: Option<std::num::NonZeroU8>,
}

/// `[bgp.ingress]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Ingress {
    #[serde(default)]
    pub(in crate::config) next_hop: Vec<Spanned<IpAddr>>,
    pub(in crate::config) communities: Option<OneOrMany<Community>>,
    #[serde(default)]
    pub(in crate::config) med: MedTable,
}

/// `{ base = 100, step = 10 }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MedTable {
    pub(in crate::config) base: Option<u32>,
    pub(in crate::config) step: Option<u32>,
}

/// `"65000:7"`, or the name of a well-known one.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct Community(pub(in crate::config) u32);

impl TryFrom<String> for Community {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // RFC 1997.
        match text.as_str() {
            "no-export" => return Ok(Self(0xffff_ff01)),
            "no-advertise" => return Ok(Self(0xffff_ff02)),
            _ => {}
        }
        let halves = text
            .split_once(':')
            .and_then(|(asn, value)| Some((asn.parse::<u16>().ok()?, value.parse::<u16>().ok()?)));
        match halves {
            Some((asn, value)) => Ok(Self(u32::from(asn) << 16 | u32::from(value))),
            None => Err(format!(
                "{text:?} is no community: write \"65000:7\", say, \"no-export\" or \"no-advertise\""
            )),
        }
    }
}

/// An AS number, or `"external"`: any but our own.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "super::values::NumberOrText")]
pub(in crate::config) struct RemoteAsn(pub(in crate::config) Option<u32>);

impl TryFrom<super::values::NumberOrText> for RemoteAsn {
    type Error = String;

    fn try_from(value: super::values::NumberOrText) -> Result<Self, String> {
        use super::values::NumberOrText::{Number, Text};
        match &value {
            Text(text) if text == "external" => Ok(Self(None)),
            Number(number) if u32::try_from(*number).is_ok() => Ok(Self(Some(*number as u32))),
            _ => Err(format!("{value} is no AS number: write 1 to 4294967295, or \"external\"")),
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum FamilyName {
    Evpn,
    Ipv4,
    Ipv6,
}

impl From<FamilyName> for Family {
    fn from(name: FamilyName) -> Self {
        match name {
            FamilyName::Evpn => Self::Evpn,
            FamilyName::Ipv4 => Self::Ipv4,
            FamilyName::Ipv6 => Self::Ipv6,
        }
    }
}

/// `{ import = ["65000:100"], export = ["65000:100"] }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ExplicitTargets {
    pub(in crate::config) import: OneOrMany<TargetText>,
    pub(in crate::config) export: OneOrMany<TargetText>,
}

/// `AS:NUMBER`
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct TargetText(pub(in crate::config) evpn::RouteTarget);

impl TryFrom<String> for TargetText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is {error}"))
    }
}
