//! Path attributes of routes, as far as decision and EVPN need them, and their pool.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use rustbgpd_wire::{
    AsPath, AsPathSegment, ExtendedCommunity, LargeCommunity, Origin, PathAttribute, PmsiTunnel,
    PmsiTunnelIdentifier, PmsiTunnelType,
};

/// What a route without LOCAL_PREF counts as.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// Tunnel type of VXLAN (RFC 8365 §5.1.3, IANA "BGP Tunnel Encapsulation Attribute Tunnel Types").
pub(crate) const TUNNEL_VXLAN: u16 = 8;

/// EVPN ARP/ND extended community: type and subtype (RFC 9047 §2).
pub(crate) const ARP_ND: u16 = 0x0608;

/// R flag of it, in the first octet of the value.
pub(crate) const ARP_ND_ROUTER: u8 = 0x01;

/// Attributes that many routes share. Unknown ones are not kept: nothing is passed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Next hop: for EVPN, the VTEP.
    pub next_hop: IpAddr,
    /// ORIGIN: 0 IGP, 1 EGP, 2 incomplete.
    pub origin: u8,
    /// LOCAL_PREF; 100 where there is none.
    pub local_pref: u32,
    /// MED; 0 where there is none.
    pub med: u32,
    /// AS numbers of the path, the nearest first; those of sets among them.
    pub as_path: Box<[u32]>,
    /// Length of the path, a set counted as one (RFC 4271 §9.1.2.2).
    pub as_path_length: u16,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456 §8).
    pub cluster_list: Box<[Ipv4Addr]>,
    /// Communities (RFC 1997).
    pub communities: Box<[u32]>,
    /// Large communities (RFC 8092).
    pub large_communities: Box<[LargeCommunity]>,
    /// Extended communities (RFC 4360).
    pub extended: Box<[ExtendedCommunity]>,
    /// VNI and endpoint of a tunnel with ingress replication (RFC 6514 §5), from the PMSI attribute.
    pub replication: Option<(u32, IpAddr)>,
}

impl Attributes {
    /// Of decoded attributes; `next_hop` is that of the NLRI's own attribute. LOCAL_PREF of an external peer does not
    /// count (RFC 4271 §5.1.5).
    pub(crate) fn new(next_hop: IpAddr, attributes: &[PathAttribute], internal: bool) -> Self {
        let mut new = Self {
            next_hop,
            origin: Origin::Incomplete as u8,
            local_pref: DEFAULT_LOCAL_PREF,
            med: 0,
            as_path: Box::default(),
            as_path_length: 0,
            originator: None,
            cluster_list: Box::default(),
            communities: Box::default(),
            large_communities: Box::default(),
            extended: Box::default(),
            replication: None,
        };
        for attribute in attributes {
            match attribute {
                PathAttribute::Origin(origin) => new.origin = *origin as u8,
                PathAttribute::AsPath(path) => {
                    new.as_path = path.asns().collect();
                    new.as_path_length = length(path);
                }
                PathAttribute::LocalPref(value) if internal => new.local_pref = *value,
                PathAttribute::Med(value) => new.med = *value,
                PathAttribute::OriginatorId(id) if internal => new.originator = Some(*id),
                PathAttribute::ClusterList(list) if internal => new.cluster_list = list.as_slice().into(),
                PathAttribute::LargeCommunities(values) | PathAttribute::LargeCommunitiesPartial(values) => {
                    new.large_communities = values.as_slice().into();
                }
                PathAttribute::PmsiTunnel(tunnel) | PathAttribute::PmsiTunnelPartial(tunnel) => {
                    new.replication = replication(tunnel);
                }
                other => {
                    if let Some(values) = other.communities() {
                        new.communities = values.into();
                    } else if let Some(values) = other.extended_communities() {
                        new.extended = values.into();
                    }
                }
            }
        }
        new
    }

    /// Sticky bit and sequence number of MAC mobility; not sticky and 0 without (RFC 7432 §7.7, §15).
    pub fn mobility(&self) -> (bool, u32) {
        mobility(&self.extended)
    }

    /// Whether the default-gateway community is there (RFC 7432 §7.8).
    pub fn is_default_gateway(&self) -> bool {
        is_default_gateway(&self.extended)
    }

    /// Whether the address is a router's (RFC 9047 R flag).
    pub fn is_router(&self) -> bool {
        is_router(&self.extended)
    }

    /// Whether VXLAN may be used: it is among the encapsulations, or none is named (RFC 8365 §5.1.3 would then have
    /// MPLS; a peer that speaks VXLAN alone may leave it out, as OVN and some NICs do).
    pub fn allows_vxlan(&self) -> bool {
        allows_vxlan(&self.extended)
    }

    /// The AS that the route was got from.
    pub(crate) fn neighbour_as(&self) -> Option<u32> {
        self.as_path.first().copied()
    }
}

/// As [`Attributes::mobility`].
pub(crate) fn mobility(extended: &[ExtendedCommunity]) -> (bool, u32) {
    extended.iter().find_map(|community| community.as_mac_mobility()).unwrap_or_default()
}

/// As [`Attributes::is_default_gateway`].
pub(crate) fn is_default_gateway(extended: &[ExtendedCommunity]) -> bool {
    extended.iter().any(|community| community.as_default_gateway())
}

/// As [`Attributes::is_router`].
pub(crate) fn is_router(extended: &[ExtendedCommunity]) -> bool {
    let is_router = |community: &ExtendedCommunity| {
        kind(*community) == ARP_ND && community.value_bytes()[0] & ARP_ND_ROUTER != 0
    };
    extended.iter().any(is_router)
}

/// As [`Attributes::allows_vxlan`].
pub(crate) fn allows_vxlan(extended: &[ExtendedCommunity]) -> bool {
    let mut named = extended.iter().filter_map(|community| community.as_bgp_encapsulation()).peekable();
    named.peek().is_none() || named.any(|tunnel| tunnel == TUNNEL_VXLAN)
}

/// Type and subtype.
pub(crate) fn kind(community: ExtendedCommunity) -> u16 {
    u16::from_be_bytes([community.type_byte(), community.subtype()])
}

fn length(path: &AsPath) -> u16 {
    let hops = path.segments.iter().map(|segment| match segment {
        AsPathSegment::AsSet(_) => 1,
        AsPathSegment::AsSequence(asns) => asns.len(),
    });
    u16::try_from(hops.sum::<usize>()).unwrap_or(u16::MAX)
}

fn replication(tunnel: &PmsiTunnel) -> Option<(u32, IpAddr)> {
    if tunnel.tunnel_type != PmsiTunnelType::IngressReplication {
        return None;
    }
    match tunnel.tunnel_identifier {
        PmsiTunnelIdentifier::Ipv4(address) => Some((tunnel.mpls_label, address.into())),
        PmsiTunnelIdentifier::Ipv6(address) => Some((tunnel.mpls_label, address.into())),
        _ => None,
    }
}

/// What a set costs in memory.
pub(crate) trait Weigh: Sized {
    /// Bytes of its lists, which hang on it.
    fn lists(&self) -> usize;

    /// Bytes of it in a pool: itself, its lists, two counters, and its place in the table.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.lists() + 4 * size_of::<usize>()
    }
}

impl Weigh for Attributes {
    fn lists(&self) -> usize {
        size_of_val(&*self.as_path)
            + size_of_val(&*self.cluster_list)
            + size_of_val(&*self.communities)
            + size_of_val(&*self.large_communities)
            + size_of_val(&*self.extended)
    }
}

impl Weigh for Vec<ExtendedCommunity> {
    fn lists(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

/// Each set of attributes once.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    sets: HashSet<Arc<T>, RandomState>,
    bytes: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { sets: HashSet::default(), bytes: 0 }
    }
}

impl<T: Eq + Hash + Weigh> Pool<T> {
    /// The pool's own copy.
    pub(crate) fn intern(&mut self, attributes: T) -> Arc<T> {
        if let Some(known) = self.sets.get(&attributes) {
            return known.clone();
        }
        self.bytes += attributes.weight();
        let new = Arc::new(attributes);
        self.sets.insert(new.clone());
        new
    }

    /// A holder gives its copy back; the last one's frees the set.
    pub(crate) fn release(&mut self, attributes: Arc<T>) {
        // The pool's and this one.
        if Arc::strong_count(&attributes) == 2 {
            self.sets.remove(&attributes);
            self.bytes -= attributes.weight();
        }
    }

    /// Bytes of all sets; 0 if there is none.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_and_go_with_the_last_holder() {
        let mut pool = Pool::default();
        let of = |length| vec![ExtendedCommunity::new(7); length];
        let weight = of(1).weight() + of(9).weight();
        assert_eq!(weight - 2 * of(0).weight(), 80);
        let (one, two, other) = (pool.intern(of(1)), pool.intern(of(1)), pool.intern(of(9)));
        assert!(Arc::ptr_eq(&one, &two) && pool.bytes() == weight);
        pool.release(one);
        assert_eq!(pool.bytes(), weight);
        pool.release(two);
        assert_eq!(pool.bytes(), of(9).weight());
        pool.release(other);
        assert_eq!(pool.bytes(), 0);
    }
}
