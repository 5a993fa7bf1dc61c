//! UPDATEs of announcements: as many routes with equal attributes in one as fit.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;
use rustbgpd_wire::attribute::encode_path_attributes;
use rustbgpd_wire::{
    AsPath, AsPathSegment, EthernetSegmentIdentifier, EthernetTagId, EvpnEs, EvpnImet, EvpnMacIp, EvpnRoute,
    Ipv4Prefix, Ipv6Prefix, MacAddress, MpReachNlri, MpUnreachNlri, MplsLabel, NlriEntry, Origin,
    PathAttribute, PmsiTunnel, Prefix, RouteDistinguisher, UpdateMessage,
};
use wire::Vni;

use super::journal::Change;
use super::{Attributes, Key};
use crate::attributes::{ARP_ND, kind};
use crate::family::Family;

/// What a peer takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient {
    pub(crate) internal: bool,
    pub(crate) four_octet_as: bool,
    /// Longest message in bytes.
    pub(crate) max_message: u16,
    /// It may be told of IPv6 VTEPs.
    pub(crate) ipv6_vtep: bool,
    /// It may be told of the R flag (RFC 9047).
    pub(crate) router_flag: bool,
    /// It is told of prefixes.
    pub(crate) prefixes: bool,
    /// It is told of host routes.
    pub(crate) host_routes: bool,
    /// IPv6 next hops of IPv4 prefixes (RFC 8950).
    pub(crate) extended_next_hop: bool,
    pub(crate) asn: u32,
    pub(crate) cluster: u16,
}

/// Header, and the two length fields of an UPDATE.
const FIXED: usize = 19 + 4;

/// Head of a multiprotocol attribute: flags, type, two octets of length, AFI, SAFI, and for MP_REACH the next hop's
/// length and a reserved octet.
const MP_HEAD: usize = 4 + 3 + 2;

/// Changes of one family as UPDATEs.
pub(crate) fn updates(changes: Vec<Change>, family: Family, to: &Recipient, buffer: &mut Vec<u8>) {
    let mut withdrawn = Vec::new();
    let mut groups: Vec<(Arc<Attributes>, Vec<Key>)> = Vec::new();
    let mut places: HashMap<*const Attributes, usize, RandomState> = HashMap::default();
    for (key, attributes) in changes.into_iter().filter(|(key, _)| to.wants(key)) {
        match attributes.filter(|attributes| to.takes(family, attributes)) {
            Some(attributes) => {
                let place = *places.entry(Arc::as_ptr(&attributes)).or_insert_with(|| {
                    groups.push((attributes, Vec::new()));
                    groups.len() - 1
                });
                groups[place].1.push(key);
            }
            // A peer that does not take IPv6 VTEPs was never told of this, and could not read it.
            None if key.has_ipv6_originator() && !to.ipv6_vtep => {}
            None => withdrawn.push(key),
        }
    }
    withdraw(&withdrawn, family, to, buffer);
    for (attributes, keys) in groups {
        announce(&attributes, &keys, family, to, buffer);
    }
}

/// End-of-RIB (RFC 4724 §2).
pub(crate) fn end_of_rib(family: Family, to: &Recipient, buffer: &mut Vec<u8>) {
    let attributes = match family {
        Family::Ipv4 => Vec::new(),
        Family::Evpn | Family::Ipv6 => vec![unreach(family, Nlri::default())],
    };
    message(&attributes, &[], &[], to, buffer);
}

impl Recipient {
    fn wants(&self, key: &Key) -> bool {
        match key {
            Key::Mac { .. } | Key::Flood { .. } | Key::Segment { .. } => true,
            Key::Prefix(_) => self.prefixes,
            Key::Host(_) => self.host_routes,
        }
    }

    fn takes(&self, family: Family, attributes: &Attributes) -> bool {
        match (family, attributes.next_hop) {
            (Family::Evpn, IpAddr::V6(_)) => self.ipv6_vtep,
            (Family::Ipv4, IpAddr::V6(_)) => self.extended_next_hop,
            (Family::Ipv6, next_hop) => next_hop.is_ipv6(),
            (Family::Evpn | Family::Ipv4, IpAddr::V4(_)) => true,
        }
    }
}

#[derive(Default)]
struct Nlri {
    evpn: Vec<EvpnRoute>,
    unicast: Vec<NlriEntry>,
}

impl Nlri {
    fn new(keys: &[Key], cluster: u16) -> Self {
        let mut nlri = Self::default();
        for key in keys {
            match *key {
                Key::Mac { vni, mac, ip } => nlri.evpn.push(EvpnRoute::MacIp(EvpnMacIp {
                    rd: distinguisher(cluster, vni),
                    esi: EthernetSegmentIdentifier([0; 10]),
                    ethernet_tag: EthernetTagId(0),
                    mac: MacAddress(mac.0),
                    ip,
                    label1: MplsLabel::new(vni.value()),
                    label2: None,
                })),
                Key::Flood { vni, vtep } => nlri.evpn.push(EvpnRoute::Imet(EvpnImet {
                    rd: distinguisher(cluster, vni),
                    ethernet_tag: EthernetTagId(0),
                    originator_ip: vtep,
                })),
                Key::Segment { segment, vtep, router_id } => nlri.evpn.push(EvpnRoute::Es(EvpnEs {
                    rd: own_distinguisher(router_id),
                    esi: segment.esi(),
                    originator_ip: vtep,
                })),
                Key::Prefix(net) => nlri.unicast.push(NlriEntry { path_id: 0, prefix: prefix(net) }),
                Key::Host(address) => {
                    nlri.unicast.push(NlriEntry { path_id: 0, prefix: prefix(address.into()) });
                }
            }
        }
        nlri
    }
}

/// `cluster:VNI`, type 0 (RFC 4364 §4.2).
fn distinguisher(cluster: u16, vni: Vni) -> RouteDistinguisher {
    let ([a, b], [c, d, e, f]) = (cluster.to_be_bytes(), vni.value().to_be_bytes());
    RouteDistinguisher([0, 0, a, b, c, d, e, f])
}

/// `router id:0`, type 1, as Ethernet segment routes have it (RFC 7432 §8.1.1).
fn own_distinguisher(router_id: Ipv4Addr) -> RouteDistinguisher {
    let [a, b, c, d] = router_id.octets();
    RouteDistinguisher([0, 1, a, b, c, d, 0, 0])
}

fn prefix(net: IpNet) -> Prefix {
    match net {
        IpNet::V4(net) => Prefix::V4(Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(net) => Prefix::V6(Ipv6Prefix::new(net.network(), net.prefix_len())),
    }
}

/// Bytes of a route on the wire.
fn length(key: &Key) -> usize {
    let address = |ip: &IpAddr| if ip.is_ipv4() { 4 } else { 16 };
    match key {
        // Type, length; RD, ESI, tag, MAC address and its length, IP address and its length, label (RFC 7432 §7.2).
        Key::Mac { ip, .. } => 2 + 8 + 10 + 4 + 7 + 1 + 3 + ip.as_ref().map_or(0, address),
        // Type, length; RD, tag, IP address and its length (RFC 7432 §7.3).
        Key::Flood { vtep, .. } => 2 + 8 + 4 + 1 + address(vtep),
        // Type, length; RD, ESI, IP address and its length (RFC 7432 §7.4).
        Key::Segment { vtep, .. } => 2 + 8 + 10 + 1 + address(vtep),
        Key::Prefix(net) => 1 + usize::from(net.prefix_len().div_ceil(8)),
        Key::Host(ip) => 1 + address(ip),
    }
}

/// Cuts `keys` into runs of at most `room` bytes.
fn runs(keys: &[Key], room: usize) -> impl Iterator<Item = &[Key]> {
    let mut rest = keys;
    std::iter::from_fn(move || {
        let mut used = 0;
        let fitting = rest.iter().take_while(|key| {
            used += length(key);
            used <= room
        });
        let count = fitting.count();
        let run;
        (run, rest) = rest.split_at(count);
        (!run.is_empty()).then_some(run)
    })
}

fn withdraw(keys: &[Key], family: Family, to: &Recipient, buffer: &mut Vec<u8>) {
    let room = usize::from(to.max_message) - FIXED - MP_HEAD;
    for run in runs(keys, room) {
        let nlri = Nlri::new(run, to.cluster);
        match family {
            Family::Ipv4 => message(&[], &[], &nlri.unicast, to, buffer),
            Family::Evpn | Family::Ipv6 => message(&[unreach(family, nlri)], &[], &[], to, buffer),
        }
    }
}

fn announce(attributes: &Attributes, keys: &[Key], family: Family, to: &Recipient, buffer: &mut Vec<u8>) {
    let common = path_attributes(attributes, to);
    let mut encoded = Vec::new();
    // Nothing of ours is out of range; an attribute that were would leave the route unannounced, not the session broken.
    if encode_path_attributes(&common, &mut encoded, to.four_octet_as, false).is_err() {
        return;
    }
    let next_hop = attributes.next_hop;
    let in_body = family == Family::Ipv4 && next_hop.is_ipv4();
    let head = MP_HEAD + if next_hop.is_ipv4() { 4 } else { 16 };
    let room = usize::from(to.max_message).saturating_sub(FIXED + encoded.len() + head);
    for run in runs(keys, room) {
        let nlri = Nlri::new(run, to.cluster);
        let mut all = common.clone();
        if let (true, IpAddr::V4(next_hop)) = (in_body, next_hop) {
            all.push(PathAttribute::NextHop(next_hop));
            message(&all, &nlri.unicast, &[], to, buffer);
        } else {
            all.push(reach(family, next_hop, nlri));
            message(&all, &[], &[], to, buffer);
        }
    }
}

fn path_attributes(attributes: &Attributes, to: &Recipient) -> Vec<PathAttribute> {
    let segments = if to.internal { Vec::new() } else { vec![AsPathSegment::AsSequence(vec![to.asn])] };
    let mut all = vec![PathAttribute::Origin(Origin::Igp), PathAttribute::AsPath(AsPath { segments })];
    all.extend(attributes.med.map(PathAttribute::Med));
    if to.internal {
        all.push(PathAttribute::LocalPref(attributes.local_pref));
    }
    if !attributes.communities.is_empty() {
        all.push(PathAttribute::Communities(attributes.communities.clone()));
    }
    let targets = attributes.targets.iter().map(|target| target.community());
    let others = attributes.extended.iter().copied().filter(|other| to.router_flag || kind(*other) != ARP_ND);
    let extended: Vec<_> = targets.chain(others).collect();
    if !extended.is_empty() {
        all.push(PathAttribute::ExtendedCommunities(extended));
    }
    all.extend(attributes.replication.map(|(vni, vtep)| {
        PathAttribute::PmsiTunnel(PmsiTunnel::for_evpn_ingress_replication(vni.value(), vtep))
    }));
    all
}

fn reach(family: Family, next_hop: IpAddr, nlri: Nlri) -> PathAttribute {
    let (afi, safi) = family.codes();
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi,
        safi,
        next_hop,
        link_local_next_hop: None,
        announced: nlri.unicast,
        flowspec_announced: Vec::new(),
        evpn_announced: nlri.evpn,
        bgpls_announced: Vec::new(),
        vpn_announced: Vec::new(),
        labeled_announced: Vec::new(),
        rtc_announced: Vec::new(),
    }))
}

fn unreach(family: Family, nlri: Nlri) -> PathAttribute {
    let (afi, safi) = family.codes();
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi,
        safi,
        withdrawn: nlri.unicast,
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: nlri.evpn,
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))
}

/// One UPDATE; IPv4 prefixes in its body.
fn message(
    attributes: &[PathAttribute],
    announced: &[NlriEntry],
    withdrawn: &[NlriEntry],
    to: &Recipient,
    buffer: &mut Vec<u8>,
) {
    let mut encoded = Vec::new();
    let mut update = UpdateMessage {
        withdrawn_routes: body(withdrawn),
        path_attributes: Bytes::new(),
        nlri: body(announced),
    };
    if encode_path_attributes(attributes, &mut encoded, to.four_octet_as, false).is_ok() {
        update.path_attributes = encoded.into();
        let length = buffer.len();
        if update.encode_with_limit(buffer, to.max_message).is_err() {
            buffer.truncate(length);
            debug_assert!(
                false,
                "a message of {} bytes was made for {}",
                update.encoded_len(),
                to.max_message
            );
        }
    }
}

fn body(entries: &[NlriEntry]) -> Bytes {
    let mut bytes = Vec::new();
    for entry in entries {
        if let Prefix::V4(Ipv4Prefix { addr, len }) = entry.prefix {
            bytes.put_u8(len);
            bytes.put_slice(&Ipv4Addr::octets(&addr)[..usize::from(len.div_ceil(8))]);
        }
    }
    bytes.into()
}
