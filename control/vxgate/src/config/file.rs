//! The configuration file as it is written: its tables, keys and the texts in them.
//!
//! Only what can be told from one value or table alone is checked here; the parser then names the place by itself.

mod bgp;
mod cluster;
mod health;
mod policy;
mod rule;
mod values;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

pub(super) use bgp::{
    Bgp, Community, ExplicitTargets, FamilyName, Ingress, Peer, PeerBfd, PeerBfdTable, Recovery, Seconds,
    TargetText,
};
pub(super) use cluster::{
    BfdKey, Cluster, ClusterBfd, ClusterGateway, Floating, ModeName, MoveLimit, PinText, RangeText,
    SessionAddress,
};
pub(super) use health::{By, Track, UplinkRouter};
pub(super) use policy::{Advertise, Advertisement, Limit, Overlay, OverlayBlock, Policy};
pub(super) use rule::{Destination, Ports, Protocols, Rule, has_ports};
pub(super) use values::{
    AddressesPerStation, AdmissionName, BindName, Domain, DscpValue, Interface, Mac, OneOrMany, PerSecond,
    PollingName, Prefix, ProxyName, Roles, VniNumber, VniRange, XdpName,
};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) gateway: Gateway,
    #[serde(default)]
    pub(super) port: Vec<Spanned<Port>>,
    #[serde(default)]
    pub(super) defaults: Policy,
    #[serde(default)]
    pub(super) overlay: Vec<Spanned<Overlay>>,
    #[serde(default)]
    pub(super) overlay_block: Vec<Spanned<OverlayBlock>>,
    #[serde(default)]
    pub(super) station: Vec<Spanned<Station>>,
    #[serde(default)]
    pub(super) station_block: Vec<Spanned<StationBlock>>,
    #[serde(default)]
    pub(super) rule: Vec<Spanned<Rule>>,
    pub(super) bgp: Option<Spanned<Bgp>>,
    pub(super) cluster: Option<Spanned<Cluster>>,
}

/// `[gateway]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Gateway {
    pub(super) router_mac: Spanned<Mac>,
    pub(super) blocks: Spanned<Vec<Spanned<Prefix>>>,
    pub(super) vtep: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub(super) socket: Option<PathBuf>,
    #[serde(default)]
    pub(super) polling: PollingName,
    pub(super) workers: Option<Spanned<NonZeroU32>>,
    pub(super) cores: Option<Spanned<Vec<Spanned<usize>>>>,
    pub(super) max_flows: Option<u32>,
    pub(super) igp: Option<Spanned<IgpName>>,
    #[serde(default)]
    pub(super) punts: Punts,
}

/// How routing daemons other than BGP are told of the overlays' prefixes.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IgpName {
    Kernel,
}

/// What the slow path is given, by class.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Punts {
    #[serde(default)]
    pub(super) neighbour: PuntRates,
    #[serde(default)]
    pub(super) resolve: PuntRates,
    #[serde(default)]
    pub(super) stranger: PuntRates,
    #[serde(default)]
    pub(super) host: PuntRates,
    #[serde(default)]
    pub(super) error: PuntRates,
}

/// Limits of one class: of each overlay, and of all together.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PuntRates {
    #[serde(default)]
    pub(super) overlay: PuntRate,
    #[serde(default)]
    pub(super) total: PuntRate,
}

/// Packets in a second, and at once.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PuntRate {
    pub(super) rate: Option<NonZeroU32>,
    pub(super) burst: Option<NonZeroU32>,
}

/// `[[port]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) interface: Spanned<Interface>,
    pub(super) role: Roles,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<IpAddr>>,
    #[serde(default)]
    pub(super) xdp: XdpName,
    #[serde(default)]
    pub(super) bind: BindName,
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

/// `[[station-block]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StationBlock {
    pub(super) vnis: Spanned<VniRange>,
    pub(super) per_overlay: NonZeroU32,
    pub(super) first_mac: Spanned<Mac>,
    pub(super) first_address: Spanned<NonZeroU32>,
    pub(super) endpoints: Spanned<OneOrMany<IpAddr>>,
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
