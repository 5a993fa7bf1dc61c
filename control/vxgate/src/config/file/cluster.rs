//! `[cluster]`.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use wire::MacAddr;

use super::{OneOrMany, Prefix, Track, UplinkRouter};
use crate::cluster::Pin;
use crate::config::cluster::{AddressRange, DEFAULT_PORT};
use crate::config::shards::own_mac;

/// `[cluster]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Cluster {
    pub(in crate::config) number: Spanned<NonZeroU16>,
    pub(in crate::config) id: NonZeroU16,
    pub(in crate::config) mode: Spanned<ModeName>,
    pub(in crate::config) weight: Option<NonZeroU16>,
    pub(in crate::config) discover: Option<Spanned<bool>>,
    pub(in crate::config) key: PathBuf,
    pub(in crate::config) certificate: PathBuf,
    pub(in crate::config) listen: Option<OneOrMany<SessionAddress>>,
    pub(in crate::config) keepalive: Option<NonZeroU32>,
    pub(in crate::config) hold_time: Option<Spanned<NonZeroU32>>,
    #[serde(default)]
    pub(in crate::config) gateway: Vec<Spanned<ClusterGateway>>,
    pub(in crate::config) floating: Option<Spanned<Floating>>,
    pub(in crate::config) move_limit: Option<Spanned<MoveLimit>>,
    pub(in crate::config) bfd: Option<Spanned<ClusterBfd>>,
    #[serde(default)]
    pub(in crate::config) uplink_router: Vec<Spanned<UplinkRouter>>,
    #[serde(default)]
    pub(in crate::config) tracks: Vec<Track>,
}

impl Cluster {
    /// What this gateway has as its own in overlays that say nothing.
    pub(in crate::config) fn own_mac(&self) -> MacAddr {
        own_mac(self.id.get())
    }
}

/// How often an overlay may move.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MoveLimit {
    pub(in crate::config) moves: Option<NonZeroU8>,
    /// Seconds.
    pub(in crate::config) window: Option<NonZeroU32>,
}

/// `[cluster.bfd]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClusterBfd {
    /// Milliseconds.
    pub(in crate::config) interval: Option<u32>,
    pub(in crate::config) multiplier: Option<u8>,
    #[serde(default)]
    pub(in crate::config) keys: Vec<Spanned<BfdKey>>,
}

/// One of `keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct BfdKey {
    pub(in crate::config) id: u8,
    pub(in crate::config) secret: Option<String>,
    pub(in crate::config) file: Option<PathBuf>,
}

/// How responsibility is shared.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum ModeName {
    Announce,
    Floating,
}

/// `[[cluster.gateway]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClusterGateway {
    pub(in crate::config) id: NonZeroU16,
    pub(in crate::config) session: Spanned<SessionAddress>,
    pub(in crate::config) pin: Spanned<PinText>,
    #[serde(default)]
    pub(in crate::config) underlay: Vec<Spanned<IpAddr>>,
    #[serde(default)]
    pub(in crate::config) uplink: Vec<Spanned<IpAddr>>,
    pub(in crate::config) weight: Option<NonZeroU16>,
}

/// `[cluster.floating]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Floating {
    pub(in crate::config) shards: Option<Spanned<u16>>,
    pub(in crate::config) vtep: Spanned<Vec<Spanned<RangeText>>>,
    pub(in crate::config) uplink: Spanned<Vec<Spanned<RangeText>>>,
}

/// An address, with a port or without.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct SessionAddress(pub(in crate::config) SocketAddr);

impl TryFrom<String> for SessionAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let alone = || text.parse().map(|address: IpAddr| SocketAddr::from((address, DEFAULT_PORT)));
        match text.parse().or_else(|_| alone()) {
            Ok(address) if address.port() != 0 => Ok(Self(address)),
            _ => Err(format!(
                "{text:?} is no address: write \"192.0.2.2\", \"192.0.2.2:{DEFAULT_PORT}\" or \
                 \"[2001:db8::2]:{DEFAULT_PORT}\", say"
            )),
        }
    }
}

/// `"sha256:…"`
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct PinText(pub(in crate::config) Pin);

impl TryFrom<String> for PinText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!(
                "{text:?} is no pin: write the \"sha256:\" and 64 hexadecimal digits that `vxgate cluster keygen` \
                 printed on that gateway"
            )
        })
    }
}

/// `"198.18.1.0/24"`, `"198.18.1.1-198.18.1.100"`, or one address.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::config) struct RangeText(pub(in crate::config) AddressRange);

impl TryFrom<String> for RangeText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('/') {
            let Prefix(prefix) = Prefix::try_from(text)?;
            return Ok(Self(AddressRange { first: prefix.network(), last: prefix.broadcast() }));
        }
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse::<IpAddr>(), last.trim().parse::<IpAddr>()) {
            (Ok(first), Ok(last)) if first.is_ipv4() == last.is_ipv4() && first <= last => {
                Ok(Self(AddressRange { first, last }))
            }
            _ => Err(format!(
                "{text:?} is no range: write a prefix, or the first and the last address, such as \
                 \"198.18.1.1-198.18.1.100\""
            )),
        }
    }
}
