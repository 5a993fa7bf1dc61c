//! The keys that say how the stations of an overlay are treated: in `[defaults]`, and in each table of overlays.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use engine::RateLimit;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{
    AddressesPerStation, AdmissionName, Cut, Domain, DscpValue, ExplicitTargets, Mac, PerSecond, ProxyName,
    Subnet, VniNumber, VniRange,
};

/// Defines a table with keys of its own and those of [`Policy`]. (What serde can flatten into a table it cannot check
/// for unknown keys, nor tell where it was written.)
macro_rules! with_policy {
    ($(#[$meta:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(in crate::config) struct $name {
            $($(#[$attribute])* pub(in crate::config) $field: $type,)*
            admission: Option<AdmissionName>,
            proxy: Option<ProxyName>,
            addresses_per_station: Option<AddressesPerStation>,
            dhcp_servers: Option<Vec<Spanned<IpAddr>>>,
            dscp: Option<DscpValue>,
            egress_limit: Option<Limit>,
            ingress_limit: Option<Limit>,
            advertise: Option<Spanned<Advertise>>,
            owner: Option<bool>,
            own_mac: Option<Spanned<Mac>>,
        }

        impl $name {
            /// The policy in it, taken out.
            pub(in crate::config) fn take_policy(&mut self) -> Policy {
                Policy {
                    admission: self.admission.take(),
                    proxy: self.proxy.take(),
                    addresses_per_station: self.addresses_per_station.take(),
                    dhcp_servers: self.dhcp_servers.take(),
                    dscp: self.dscp.take(),
                    egress_limit: self.egress_limit.take(),
                    ingress_limit: self.ingress_limit.take(),
                    advertise: self.advertise.take(),
                    owner: self.owner.take(),
                    own_mac: self.own_mac.take(),
                }
            }
        }
    };
}

with_policy!(
    /// `[[overlay]]`
    Overlay {
        vni: VniNumber,
        subnets: Vec<Spanned<Subnet>>,
        #[serde(default)]
        endpoints: Vec<Spanned<IpAddr>>,
        mtu: Option<u16>,
        route_targets: Option<Spanned<ExplicitTargets>>,
    }
);

with_policy!(
    /// `[[overlay-block]]`
    OverlayBlock {
        vnis: VniRange,
        ipv4: Option<Spanned<Cut>>,
        ipv6: Option<Spanned<Cut>>,
        #[serde(default)]
        endpoints: Vec<Spanned<IpAddr>>,
        mtu: Option<u16>,
    }
);

/// How stations are treated, as far as it is said; `[defaults]` has nothing else.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Policy {
    pub(in crate::config) admission: Option<AdmissionName>,
    pub(in crate::config) proxy: Option<ProxyName>,
    pub(in crate::config) addresses_per_station: Option<AddressesPerStation>,
    pub(in crate::config) dhcp_servers: Option<Vec<Spanned<IpAddr>>>,
    pub(in crate::config) dscp: Option<DscpValue>,
    pub(in crate::config) egress_limit: Option<Limit>,
    pub(in crate::config) ingress_limit: Option<Limit>,
    pub(in crate::config) advertise: Option<Spanned<Advertise>>,
    pub(in crate::config) owner: Option<bool>,
    pub(in crate::config) own_mac: Option<Spanned<Mac>>,
}

impl Policy {
    /// Whether nothing is said.
    pub(in crate::config) fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                admission: None,
                proxy: None,
                addresses_per_station: None,
                dhcp_servers: None,
                dscp: None,
                egress_limit: None,
                ingress_limit: None,
                advertise: None,
                owner: None,
                own_mac: None,
            }
        )
    }
}

/// `{ bits = "100M", packets = 10000 }`, or `"none"`.
#[derive(Clone, Copy)]
pub(in crate::config) struct Limit(pub(in crate::config) RateLimit);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            bits: Option<PerSecond>,
            packets: Option<PerSecond>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", or { bits = …, packets = … }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "none" => Ok(Limit(RateLimit::default())),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let limit = RateLimit {
                    bits: table.bits.map(|PerSecond(rate)| rate),
                    packets: table.packets.map(|PerSecond(rate)| rate),
                };
                match limit == RateLimit::default() {
                    true => Err(de::Error::custom(
                        "a limit without bits and packets limits nothing: write one of them, or \"none\"",
                    )),
                    false => Ok(Limit(limit)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `true`, `false`, or a table of what router advertisements say.
#[derive(Clone)]
pub(in crate::config) enum Advertise {
    Never,
    Always(Advertisement),
}

/// What router advertisements say, times checked.
#[derive(Clone)]
pub(in crate::config) struct Advertisement {
    pub(in crate::config) managed: bool,
    pub(in crate::config) other: bool,
    /// `None`: where all IPv6 prefixes of the overlay are /64.
    pub(in crate::config) autonomous: Option<bool>,
    pub(in crate::config) router_lifetime: Duration,
    pub(in crate::config) preferred_lifetime: Duration,
    pub(in crate::config) valid_lifetime: Duration,
    pub(in crate::config) interval: Duration,
    pub(in crate::config) dns_servers: Vec<Ipv6Addr>,
    pub(in crate::config) dns_search: Vec<Domain>,
}

/// As written: times in seconds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AdvertiseTable {
    #[serde(default)]
    managed: bool,
    #[serde(default)]
    other: bool,
    autonomous: Option<bool>,
    router_lifetime: Option<u32>,
    preferred_lifetime: Option<u32>,
    valid_lifetime: Option<u32>,
    interval: Option<u32>,
    #[serde(default)]
    dns_servers: Vec<Ipv6Addr>,
    #[serde(default)]
    dns_search: Vec<Domain>,
}

/// MaxRtrAdvInterval, AdvDefaultLifetime, AdvPreferredLifetime and AdvValidLifetime: bounds and defaults of RFC 4861
/// §6.2.1.
const INTERVAL: u32 = 600;
const MIN_INTERVAL: u32 = 4;
const MAX_INTERVAL: u32 = 1800;
const MAX_ROUTER_LIFETIME: u32 = 9000;
const PREFERRED_LIFETIME: u32 = 604_800;
const VALID_LIFETIME: u32 = 2_592_000;

impl TryFrom<AdvertiseTable> for Advertisement {
    type Error = String;

    fn try_from(table: AdvertiseTable) -> Result<Self, String> {
        let interval = table.interval.unwrap_or(INTERVAL);
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
            return Err(format!(
                "interval {interval} is out of range: take {MIN_INTERVAL} to {MAX_INTERVAL} seconds"
            ));
        }
        let router_lifetime = table.router_lifetime.unwrap_or(3 * interval);
        if router_lifetime != 0 && !(interval..=MAX_ROUTER_LIFETIME).contains(&router_lifetime) {
            return Err(format!(
                "router-lifetime {router_lifetime} is out of range: take 0 (no default router), or the interval \
                 ({interval}) to {MAX_ROUTER_LIFETIME} seconds"
            ));
        }
        let valid = table.valid_lifetime.unwrap_or(VALID_LIFETIME);
        let preferred = table.preferred_lifetime.unwrap_or(PREFERRED_LIFETIME.min(valid));
        if preferred > valid {
            return Err(format!(
                "preferred-lifetime {preferred} is longer than valid-lifetime {valid}: lower it, or raise the other"
            ));
        }
        let is_unicast =
            |server: &Ipv6Addr| !(server.is_multicast() || server.is_unspecified() || server.is_loopback());
        if let Some(server) = table.dns_servers.iter().find(|server| !is_unicast(server)) {
            return Err(format!("{server} cannot be the address of a DNS server: name a unicast one"));
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Ok(Self {
            managed: table.managed,
            other: table.other,
            autonomous: table.autonomous,
            router_lifetime: seconds(router_lifetime),
            preferred_lifetime: seconds(preferred),
            valid_lifetime: seconds(valid),
            interval: seconds(interval),
            dns_servers: table.dns_servers,
            dns_search: table.dns_search,
        })
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Advertise;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a table of what router advertisements say")
            }

            fn visit_bool<E: de::Error>(self, advertise: bool) -> Result<Advertise, E> {
                match advertise {
                    true => AdvertiseTable::default().try_into().map(Advertise::Always).map_err(E::custom),
                    false => Ok(Advertise::Never),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Advertise, A::Error> {
                let table = AdvertiseTable::deserialize(MapAccessDeserializer::new(map))?;
                table.try_into().map(Advertise::Always).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
