//! Overlays, found by VNI from the underlay and by prefix from the uplink.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use wire::{MacAddr, Vni};

use super::group::GroupState;
use super::lpm::Lpm;
use super::members::Set;
use super::shards::{NO_SHARD, ShardRecord, ShardTable};
use crate::api::{Dscp, Overlay, RateLimit, Responsibility, Subnet};
use crate::counters::Reason;
use crate::limit::{self, Limiter};

/// Index of an overlay in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OverlayIndex(pub(crate) u32);

impl OverlayIndex {
    /// No overlay's.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// All overlays.
#[derive(Debug)]
pub(crate) struct OverlayTable {
    overlays: Vec<Overlay>,
    sources: Vec<SourceCheck>,
    by_vni: HashMap<Vni, OverlayIndex, RandomState>,
    by_prefix: Lpm<OverlayIndex>,
    treatments: Vec<TreatmentRecord>,
    pub(crate) shards: ShardTable,
    /// Egress and ingress; empty if no overlay has a limit.
    limiters: Vec<[Limiter; 2]>,
}

/// What must be known of an overlay for each packet into it: so small that all of them stay in a cache.
#[derive(Debug)]
struct TreatmentRecord {
    /// Of [`Treatment`]; whether it is owned changes, as the overlay's [`SourceCheck::own`] does.
    flags: AtomicU16,
    /// The overlay's shard, whose state counts then; or [`NO_SHARD`].
    shard: u16,
}

impl TreatmentRecord {
    fn new(overlay: &Overlay) -> Self {
        let owned = if overlay.shard.is_none() && overlay.owner { Treatment::OWNED } else { 0 };
        let limited =
            if overlay.policy.ingress_limit == RateLimit::default() { 0 } else { Treatment::LIMITED };
        let dscp = match overlay.policy.dscp {
            Dscp::Copy => 0,
            Dscp::Set(dscp) => Treatment::SETS_DSCP | u16::from(dscp) << Treatment::DSCP_SHIFT,
        };
        let flags = AtomicU16::new(owned | limited | dscp);
        Self { flags, shard: overlay.shard.unwrap_or(NO_SHARD) }
    }

    fn set_owned(&self, is_owner: bool) {
        let flags = self.flags.load(Ordering::Relaxed) & !Treatment::OWNED;
        self.flags.store(flags | if is_owner { Treatment::OWNED } else { 0 }, Ordering::Relaxed);
    }
}

/// How a packet into an overlay is treated, at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treatment<'a> {
    flags: u16,
    /// The shard of the overlay, which the outer source address is of.
    pub(crate) shard: Option<&'a ShardRecord>,
}

impl Treatment<'_> {
    const OWNED: u16 = 1;
    const LIMITED: u16 = 2;
    const SETS_DSCP: u16 = 4;
    const DSCP_SHIFT: u32 = 8;

    /// Whether this gateway is the overlay's owner, and there is no limit to what enters it.
    #[inline]
    pub(crate) fn is_usual(self) -> bool {
        self.flags & (Self::OWNED | Self::LIMITED) == Self::OWNED
    }

    /// Whether this gateway is the overlay's owner.
    #[inline]
    pub(crate) fn is_owned(self) -> bool {
        self.flags & Self::OWNED != 0
    }

    #[inline]
    pub(crate) fn dscp(self) -> Dscp {
        if self.flags & Self::SETS_DSCP == 0 {
            Dscp::Copy
        } else {
            Dscp::Set((self.flags >> Self::DSCP_SHIFT) as u8)
        }
    }
}

impl OverlayTable {
    pub(crate) fn build(overlays: Vec<Overlay>, shards: ShardTable) -> Self {
        let index_of = |(index, overlay): (usize, &Overlay)| (overlay.vni, OverlayIndex(index as u32));
        let by_vni = overlays.iter().enumerate().map(index_of).collect();
        let by_prefix = Lpm::build(overlays.iter().enumerate().flat_map(|(index, overlay)| {
            overlay.subnets.iter().map(move |subnet| (subnet.prefix, OverlayIndex(index as u32)))
        }));
        let sources = overlays.iter().map(SourceCheck::new).collect();
        let treatments = overlays.iter().map(TreatmentRecord::new).collect();
        let is_limited = |overlay: &Overlay| {
            [overlay.policy.egress_limit, overlay.policy.ingress_limit] != [RateLimit::default(); 2]
        };
        let limiters = match overlays.iter().any(is_limited) {
            true => overlays
                .iter()
                .map(|overlay| [overlay.policy.egress_limit, overlay.policy.ingress_limit].map(Limiter::new))
                .collect(),
            false => Vec::new(),
        };
        Self { overlays, sources, by_vni, by_prefix, treatments, shards, limiters }
    }

    #[inline(always)]
    pub(crate) fn treatment(&self, index: OverlayIndex) -> Treatment<'_> {
        let record = &self.treatments[index.0 as usize];
        let flags = record.flags.load(Ordering::Relaxed);
        // An overlay in a shard never has the flag of its own.
        if flags & Treatment::OWNED != 0 {
            return Treatment { flags, shard: None };
        }
        match self.shards.get(record.shard) {
            None => Treatment { flags, shard: None },
            Some(shard) => {
                let owned = if shard.state.is_owner() { Treatment::OWNED } else { 0 };
                Treatment { flags: flags | owned, shard: Some(shard) }
            }
        }
    }

    /// Hints that [`treatment`](Self::treatment) will be asked.
    #[inline]
    pub(crate) fn prefetch_treatment(&self, index: OverlayIndex) {
        sys::prefetch::read_at(&self.treatments, index.0 as usize);
    }

    /// Whether this gateway is the overlay's owner.
    #[inline(always)]
    pub(crate) fn is_owner(&self, index: OverlayIndex) -> bool {
        let check = &self.sources[index.0 as usize];
        check.own.is_owner() || self.shards.get(check.shard).is_some_and(|shard| shard.state.is_owner())
    }

    /// Whether frames for the shared MAC address are forwarded here, though this gateway is not the owner. In a shard
    /// they were sent to the shard's address, and no other gateway has them. Without shards all have what is flooded, and
    /// only who was the owner until now forwards it for a while.
    #[cold]
    pub(crate) fn forwards_for_owner(&self, index: OverlayIndex) -> bool {
        let check = &self.sources[index.0 as usize];
        self.shards.get(check.shard).is_some() || check.own.forwards()
    }

    /// The shard of the overlay.
    pub(crate) fn shard_of(&self, index: OverlayIndex) -> Option<&ShardRecord> {
        self.shards.get(self.sources[index.0 as usize].shard)
    }

    /// Whether this is the VTEP address of the overlay's shard.
    #[inline(always)]
    pub(crate) fn is_shard_vtep(&self, index: OverlayIndex, address: IpAddr) -> bool {
        self.shards.get(self.sources[index.0 as usize].shard).is_some_and(|shard| shard.is_vtep(address))
    }

    /// Takes over what control says of an overlay that is in no shard.
    pub(super) fn set(&self, index: OverlayIndex, responsibility: Responsibility, now: u64) {
        let (check, treatment) = (&self.sources[index.0 as usize], &self.treatments[index.0 as usize]);
        if check.shard == NO_SHARD {
            check.own.set(responsibility, now);
            treatment.set_owned(check.own.is_owner());
        }
    }

    /// What the gateway sends from in an overlay: as its owner, or as itself.
    pub(crate) fn sender(&self, index: OverlayIndex, router_mac: MacAddr) -> MacAddr {
        if self.is_owner(index) { router_mac } else { self.get(index).own_mac.unwrap_or(router_mac) }
    }

    /// Counts a packet out of the overlay against its limit.
    #[inline]
    pub(crate) fn limit_egress(&self, index: OverlayIndex, bytes: u16) -> Result<(), Reason> {
        if self.sources[index.0 as usize].is_limited { self.limit(index, 0, bytes) } else { Ok(()) }
    }

    /// The same into it.
    #[inline]
    pub(crate) fn limit_ingress(
        &self,
        index: OverlayIndex,
        treatment: Treatment<'_>,
        bytes: u16,
    ) -> Result<(), Reason> {
        if treatment.flags & Treatment::LIMITED != 0 { self.limit(index, 1, bytes) } else { Ok(()) }
    }

    fn limit(&self, index: OverlayIndex, way: usize, bytes: u16) -> Result<(), Reason> {
        let limiter = self.limiters.get(index.0 as usize).map(|both| &both[way]);
        match limiter.is_none_or(|limiter| limiter.admits(bytes, limit::now())) {
            true => Ok(()),
            false => Err(Reason::OverLimit),
        }
    }

    #[inline]
    pub(crate) fn by_vni(&self, vni: Vni) -> Option<OverlayIndex> {
        self.by_vni.get(&vni).copied()
    }

    /// The overlay that `address` lies in.
    #[inline]
    pub(crate) fn by_address(&self, address: IpAddr) -> Option<OverlayIndex> {
        self.by_prefix.lookup(address).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: OverlayIndex) -> &Overlay {
        &self.overlays[index.0 as usize]
    }

    /// Hints that [`is_station_source`](Self::is_station_source) will be asked.
    #[inline]
    pub(crate) fn prefetch(&self, index: OverlayIndex) {
        sys::prefetch::read_at(&self.sources, index.0 as usize);
    }

    /// Whether a station of the overlay may send from `address`: inside a subnet, and not the router's.
    #[inline(always)]
    pub(crate) fn is_station_source(&self, index: OverlayIndex, address: IpAddr) -> bool {
        let check = &self.sources[index.0 as usize];
        if check.is_exact { check.passes(address) } else { self.passes_slowly(index, address) }
    }

    /// The same where this gateway is the owner, and there is no limit to what leaves the overlay; `false` where not.
    #[inline(always)]
    pub(crate) fn is_usual_station_source(&self, index: OverlayIndex, address: IpAddr) -> bool {
        let check = &self.sources[index.0 as usize];
        !check.is_limited
            && self.is_owner(index)
            && if check.is_exact { check.passes(address) } else { self.passes_slowly(index, address) }
    }

    #[cold]
    fn passes_slowly(&self, index: OverlayIndex, address: IpAddr) -> bool {
        self.get(index).subnet_of(address).is_some()
            && self.get(index).subnets.iter().all(|subnet| subnet.router != address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Overlay> {
        self.overlays.iter()
    }

    /// All endpoints of all overlays that the configuration names, each once.
    pub(crate) fn endpoints(&self) -> HashSet<IpAddr, RandomState> {
        let mut seen: HashSet<*const IpAddr, RandomState> = HashSet::default();
        let is_new = |overlay: &&Overlay| seen.insert(overlay.endpoints.as_ptr());
        self.iter().filter(is_new).flat_map(|overlay| overlay.endpoints.iter().copied()).collect()
    }

    /// The indices of the endpoints of each overlay that the configuration names, ascending. Overlays of one
    /// configuration block, which share the list, share them.
    pub(super) fn endpoint_sets(&self, index_of: impl Fn(IpAddr) -> Option<u16>) -> Vec<Set> {
        let mut sets: HashMap<*const IpAddr, Set, RandomState> = HashMap::default();
        let set = |overlay: &Overlay| {
            let indices = || {
                let mut indices: Vec<u16> = overlay.endpoints.iter().filter_map(|&at| index_of(at)).collect();
                indices.sort_unstable();
                indices.dedup();
                Arc::new(indices.into())
            };
            Arc::clone(sets.entry(overlay.endpoints.as_ptr()).or_insert_with(indices))
        };
        self.iter().map(set).collect()
    }

    /// Bytes in use, but for the endpoint sets.
    pub(crate) fn memory_bytes(&self) -> usize {
        let subnets: usize = self.overlays.iter().map(|overlay| overlay.subnets.capacity()).sum();
        self.overlays.capacity() * size_of::<Overlay>()
            + subnets * size_of::<Subnet>()
            + self.sources.capacity() * size_of::<SourceCheck>()
            + self.by_vni.allocation_size()
            + self.by_prefix.memory_bytes()
            + self.treatments.capacity() * size_of::<TreatmentRecord>()
            + self.limiters.capacity() * size_of::<[Limiter; 2]>()
    }
}

/// What must be known of an overlay for each packet out of it, in one cache line.
#[repr(align(64))]
#[derive(Debug)]
struct SourceCheck {
    v6_network: u128,
    v6_router: u128,
    v4_network: u32,
    v4_mask: u32,
    v4_router: u32,
    v6_len: u8,
    /// Whether this is all there is: at most one subnet a family.
    is_exact: bool,
    /// Whether there is a limit to what leaves the overlay.
    is_limited: bool,
    /// The overlay's shard, whose state counts then; or [`NO_SHARD`].
    shard: u16,
    /// What this gateway is to an overlay that is in no shard; in one, not its owner.
    own: GroupState,
}

impl SourceCheck {
    fn new(overlay: &Overlay) -> Self {
        // A missing family admits the unspecified address alone, which is the router's then: nothing.
        let mut check = Self {
            v6_network: 0,
            v6_router: 0,
            v4_network: 0,
            v4_mask: u32::MAX,
            v4_router: 0,
            v6_len: 128,
            is_exact: true,
            is_limited: overlay.policy.egress_limit != RateLimit::default(),
            shard: overlay.shard.unwrap_or(NO_SHARD),
            own: GroupState::new(overlay.owner && overlay.shard.is_none()),
        };
        let (mut v4, mut v6) = (0, 0);
        for subnet in &overlay.subnets {
            match (subnet.prefix, subnet.router) {
                (ipnet::IpNet::V4(prefix), IpAddr::V4(router)) => {
                    v4 += 1;
                    check.v4_network = prefix.network().to_bits();
                    check.v4_mask = prefix.netmask().to_bits();
                    check.v4_router = router.to_bits();
                }
                (ipnet::IpNet::V6(prefix), IpAddr::V6(router)) => {
                    v6 += 1;
                    check.v6_network = prefix.network().to_bits();
                    check.v6_len = prefix.prefix_len();
                    check.v6_router = router.to_bits();
                }
                _ => check.is_exact = false,
            }
        }
        check.is_exact &= v4 <= 1 && v6 <= 1;
        check
    }

    #[inline(always)]
    fn passes(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                (address ^ self.v4_network) & self.v4_mask == 0 && address != self.v4_router
            }
            IpAddr::V6(address) => {
                let address = address.to_bits();
                let differs = address ^ self.v6_network;
                differs.leading_zeros() >= self.v6_len.into() && address != self.v6_router
            }
        }
    }
}

impl Overlay {
    /// The subnet that `address` lies in.
    #[inline]
    pub(crate) fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(&address))
    }

    /// Whether `address` is the network or broadcast address of an IPv4 subnet, or the subnet-router anycast address
    /// of an IPv6 one (RFC 4291 §2.6.1): no station's.
    pub(crate) fn is_edge(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|Subnet { prefix, .. }| {
            // RFC 3021 and RFC 6164: where there are but two addresses, both are hosts'.
            let has_edges = prefix.prefix_len() + 1 < prefix.max_prefix_len();
            let is_broadcast = address.is_ipv4() && address == prefix.broadcast();
            has_edges && (address == prefix.network() || is_broadcast)
        })
    }

    /// Whether a host of the overlay can have `address`: a link-local one of IPv6, or one of its subnets.
    pub(crate) fn can_have(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => true,
            _ => self.subnet_of(address).is_some() && !self.is_edge(address),
        }
    }

    /// The router's address of a family: in the subnet that `address` lies in, or in the first.
    pub(crate) fn router_for(&self, address: IpAddr) -> Option<IpAddr> {
        let of_family = |subnet: &&Subnet| subnet.router.is_ipv4() == address.is_ipv4();
        let subnet = self.subnet_of(address).or_else(|| self.subnets.iter().find(of_family));
        subnet.map(|subnet| subnet.router)
    }

    /// Whether `address` is the router's in this overlay; its link-local address is `link_local`.
    #[inline]
    pub(crate) fn is_router(&self, address: IpAddr, link_local: Ipv6Addr) -> bool {
        address == link_local || self.subnets.iter().any(|subnet| subnet.router == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_source_must_be_a_stations() {
        let mut overlays = testing::config().overlays;
        // A second subnet of a family, and a family that is missing.
        overlays.push(Overlay { vni: Vni::new(300).unwrap(), ..overlays[0].clone() });
        overlays[2].subnets = ["10.0.3.0/24", "10.0.4.0/28"]
            .map(|text| {
                let prefix: ipnet::IpNet = text.parse().unwrap();
                Subnet { prefix, router: prefix.hosts().next().unwrap() }
            })
            .to_vec();
        let table = OverlayTable::build(overlays, ShardTable::default());
        let passes =
            |index, address: &str| table.is_station_source(OverlayIndex(index), address.parse().unwrap());
        for address in ["10.0.1.10", "10.0.1.254", "fd00:0:0:1::10", "fd00:0:0:1:ffff::"] {
            assert!(passes(0, address) && !passes(1, address) && !passes(2, address), "{address}");
        }
        for address in
            ["10.0.1.1", "fd00:0:0:1::1", "10.0.0.255", "10.0.2.0", "fd00:0:0:2::", "::", "0.0.0.0"]
        {
            assert!(!passes(0, address), "{address}");
        }
        assert!(passes(2, "10.0.3.10") && passes(2, "10.0.4.14"));
        for address in ["10.0.4.16", "10.0.3.1", "10.0.4.1", "::", "fd00::1"] {
            assert!(!passes(2, address), "{address}");
        }
    }
}
