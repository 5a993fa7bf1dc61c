//! From the keys of `[defaults]` and of a table of overlays to how the stations of its overlays are treated.

use std::net::Ipv6Addr;
use std::sync::Arc;

use engine::{OverlayPolicy, RouterAdvertisement};
use ipnet::IpNet;
use toml::Spanned;
use wire::MacAddr;
use wire::ndp::PrefixInformation;

use super::file::{self, Advertise, Advertisement, Policy};
use super::validate;
use super::{Fault, Lines, Place, Problem};

/// Largest router advertisement that any link takes in one piece (RFC 8200 §5), in bytes without the IPv6 header.
const MAX_ADVERTISEMENT: usize = 1280 - 40;

/// SLAAC is for prefixes of this length (RFC 4291 §2.5.1, RFC 4862 §5.5.3).
const SLAAC_LENGTH: u8 = 64;

/// What there is to know of the rest of the file.
pub(super) struct Context<'a> {
    pub(super) lines: &'a Lines,
    pub(super) blocks: &'a [IpNet],
    pub(super) router_mac: MacAddr,
    /// What this gateway has as its own in overlays that say nothing.
    pub(super) own_mac: Option<MacAddr>,
}

/// The lengths of each overlay's IPv6 prefixes.
pub(super) struct Ipv6Lengths(pub(super) Vec<u8>);

impl Ipv6Lengths {
    pub(super) fn of<'a>(prefixes: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let is_ipv6 = |prefix: &&IpNet| prefix.addr().is_ipv6();
        Self(prefixes.into_iter().filter(is_ipv6).map(IpNet::prefix_len).collect())
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn not_for_slaac(&self) -> Option<u8> {
        self.0.iter().copied().find(|&length| length != SLAAC_LENGTH)
    }
}

/// What a table's overlays have in common.
pub(super) struct Treatment {
    pub(super) policy: Arc<OverlayPolicy>,
    pub(super) owner: bool,
    pub(super) own_mac: Option<MacAddr>,
}

/// Makes the policies of tables, each over the defaults.
pub(super) struct Policies<'a> {
    context: Context<'a>,
    defaults: Policy,
    /// Those that come of the defaults alone; they differ by the kinds of IPv6 prefixes.
    shared: Vec<Arc<OverlayPolicy>>,
}

impl<'a> Policies<'a> {
    /// Checks the defaults.
    pub(super) fn new(context: Context<'a>, defaults: Policy) -> Result<Self, Fault> {
        context.check(&defaults)?;
        Ok(Self { context, defaults, shared: Vec::new() })
    }

    /// How the overlays of the table at `place` are treated, each of which has IPv6 prefixes of these lengths.
    pub(super) fn of_table(
        &mut self,
        place: Place,
        own: &Policy,
        lengths: &Ipv6Lengths,
    ) -> Result<Treatment, Fault> {
        self.context.check(own)?;
        let defaults = &self.defaults;
        let own_mac = own.own_mac.as_ref().or(defaults.own_mac.as_ref()).map(|mac| mac.get_ref().0);
        let own_mac = own_mac.or(self.context.own_mac);
        let owner = own.owner.or(defaults.owner).unwrap_or(true);
        if !owner && own_mac.is_none() {
            return Err(Fault { place, problem: Problem::OwnMacMissing });
        }
        let policy = self.merge(place, own, lengths)?;
        let known = match own.is_empty() {
            true => self.shared.iter().find(|shared| ***shared == policy).cloned(),
            false => None,
        };
        let policy = known.unwrap_or_else(|| {
            let policy = Arc::new(policy);
            if own.is_empty() {
                self.shared.push(Arc::clone(&policy));
            }
            policy
        });
        Ok(Treatment { policy, owner, own_mac })
    }

    fn merge(&self, place: Place, own: &Policy, lengths: &Ipv6Lengths) -> Result<OverlayPolicy, Fault> {
        let Self { defaults, .. } = self;
        let standard = OverlayPolicy::default();
        let limit = |own: Option<file::Limit>, default: Option<file::Limit>| {
            own.or(default).map(|file::Limit(limit)| limit).unwrap_or_default()
        };
        Ok(OverlayPolicy {
            admission: own.admission.or(defaults.admission).map_or(standard.admission, Into::into),
            proxy: own.proxy.or(defaults.proxy).map_or(standard.proxy, Into::into),
            addresses_per_station: own
                .addresses_per_station
                .or(defaults.addresses_per_station)
                .map_or(standard.addresses_per_station, |number| number.0),
            advertisement: self.advertisement(place, own, lengths)?,
            dhcp_servers: own
                .dhcp_servers
                .as_ref()
                .or(defaults.dhcp_servers.as_ref())
                .map(|servers| servers.iter().map(|server| *server.get_ref()).collect())
                .unwrap_or_default(),
            dscp: own.dscp.or(defaults.dscp).map_or(standard.dscp, |dscp| dscp.0),
            egress_limit: limit(own.egress_limit, defaults.egress_limit),
            ingress_limit: limit(own.ingress_limit, defaults.ingress_limit),
        })
    }

    fn advertisement(
        &self,
        place: Place,
        own: &Policy,
        lengths: &Ipv6Lengths,
    ) -> Result<Option<RouterAdvertisement>, Fault> {
        let own_place = own.advertise.as_ref().map(|advertise| self.context.place(advertise));
        let said = own.advertise.as_ref().or(self.defaults.advertise.as_ref()).map(Spanned::get_ref);
        let Some(Advertise::Always(advertisement)) = said else { return Ok(None) };
        if !lengths.any() {
            // The defaults are also for overlays without IPv6.
            return match own_place {
                Some(place) => Err(Fault { place, problem: Problem::AdvertiseWithoutIpv6 }),
                None => Ok(None),
            };
        }
        let place = own_place.unwrap_or(place);
        let odd = lengths.not_for_slaac();
        if let (Some(true), Some(length)) = (advertisement.autonomous, odd) {
            return Err(Fault { place, problem: Problem::AutonomousLength { length } });
        }
        let len = message_len(advertisement, lengths.0.len());
        if len > MAX_ADVERTISEMENT {
            return Err(Fault {
                place,
                problem: Problem::AdvertisementTooLong { len, max: MAX_ADVERTISEMENT },
            });
        }
        Ok(Some(RouterAdvertisement {
            managed: advertisement.managed,
            other: advertisement.other,
            autonomous: advertisement.autonomous.unwrap_or(odd.is_none()),
            router_lifetime: advertisement.router_lifetime,
            preferred_lifetime: advertisement.preferred_lifetime,
            valid_lifetime: advertisement.valid_lifetime,
            interval: advertisement.interval,
            dns_servers: advertisement.dns_servers.clone(),
            dns_search: advertisement.dns_search.iter().map(|domain| domain.0.to_string()).collect(),
        }))
    }
}

impl Context<'_> {
    fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.lines.place(value.span().start)
    }

    fn check(&self, policy: &Policy) -> Result<(), Fault> {
        for server in policy.dhcp_servers.iter().flatten() {
            validate::dhcp_server(self.place(server), *server.get_ref(), self.blocks)?;
        }
        if let Some(mac) = &policy.own_mac {
            validate::own_mac(self.place(mac), mac.get_ref().0, self.router_mac)?;
        }
        Ok(())
    }
}

/// Bytes of the ICMPv6 message.
fn message_len(advertisement: &Advertisement, prefixes: usize) -> usize {
    let prefix = PrefixInformation {
        prefix: Ipv6Addr::UNSPECIFIED,
        prefix_len: SLAAC_LENGTH,
        on_link: true,
        autonomous: true,
        valid_lifetime: 0,
        preferred_lifetime: 0,
    };
    let domains: Vec<_> = advertisement.dns_search.iter().map(|domain| domain.0.clone()).collect();
    let message = wire::ndp::RouterAdvertisement {
        hop_limit: 0,
        managed: false,
        other: false,
        lifetime: 0,
        reachable_time: 0,
        retrans_timer: 0,
        source_mac: Some(MacAddr::ZERO),
        mtu: Some(0),
        prefixes: vec![prefix; prefixes].into(),
        dns_servers: (&advertisement.dns_servers).into(),
        search_domains: domains.into(),
        dns_lifetime: 0,
    };
    message.buffer_len()
}
