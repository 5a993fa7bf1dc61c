//! BGP messages, byte by byte: independent of the crate that is measured.

use std::net::{IpAddr, Ipv4Addr};

use wire::MacAddr;

/// AS number of everybody.
pub(crate) const ASN: u32 = 65_000;

/// Bytes of a header.
pub(crate) const HEADER: usize = 19;

/// Most bytes of a message (RFC 8654 §3).
pub(crate) const MOST: usize = 65_535;

/// Message types.
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;

/// AFI and SAFI of L2VPN EVPN.
const EVPN: [u8; 3] = [0, 25, 70];

/// A message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(((HEADER + body.len()) as u16).to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// OPEN: EVPN, four-octet AS numbers, extended messages, and no hold time, so that nobody has to say that he is alive.
///
/// Extended messages because our speaker offers them: FRR makes updates once for all peers that are alike in this, and
/// would have twice the work for one that is not.
pub(crate) fn open(router_id: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = ASN.to_be_bytes();
    let mut body = vec![4, c, d, 0, 0];
    body.extend(router_id.octets());
    body.extend([16, 2, 14]);
    body.extend([1, 4, 0, 25, 0, 70, 6, 0, 65, 4, a, b, c, d]);
    message(OPEN, &body)
}

/// An extended community.
pub(crate) type Community = [u8; 8];

/// The route target of an overlay, `AS:VNI`.
pub(crate) fn target(vni: u32) -> Community {
    let ([_, _, a, b], [c, d, e, f]) = (ASN.to_be_bytes(), vni.to_be_bytes());
    [0, 2, a, b, c, d, e, f]
}

/// Encapsulation VXLAN (RFC 9012 §4.1).
pub(crate) const VXLAN: Community = [3, 0x0c, 0, 0, 0, 0, 0, 8];
/// Default gateway (RFC 7432 §7.8).
pub(crate) const DEFAULT_GATEWAY: Community = [3, 0x0d, 0, 0, 0, 0, 0, 0];
/// ARP/ND with the R flag (RFC 9047 §2).
pub(crate) const ROUTER: Community = [6, 8, 1, 0, 0, 0, 0, 0];

/// What routes of an UPDATE have in common.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) next_hop: Ipv4Addr,
    pub(crate) communities: Vec<Community>,
    /// VNI and endpoint of ingress replication (RFC 6514 §5).
    pub(crate) replication: Option<(u32, Ipv4Addr)>,
}

/// UPDATE that announces EVPN routes, which must fit into it.
pub(crate) fn announce(attributes: &Attributes, routes: &[Vec<u8>]) -> Vec<u8> {
    // ORIGIN IGP, AS_PATH empty, LOCAL_PREF 100.
    let mut all = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100];
    let communities = attributes.communities.concat();
    all.extend([0xc0, 16, communities.len() as u8]);
    all.extend(communities);
    if let Some((vni, vtep)) = attributes.replication {
        all.extend([0xc0, 22, 9, 0, 6]);
        all.extend(&vni.to_be_bytes()[1..]);
        all.extend(vtep.octets());
    }
    let mut reach = EVPN.to_vec();
    reach.push(4);
    reach.extend(attributes.next_hop.octets());
    reach.push(0);
    reach.extend(routes.concat());
    all.extend(multiprotocol(14, &reach));
    update(&all)
}

/// UPDATE that withdraws EVPN routes, which must fit into it.
pub(crate) fn withdraw(routes: &[Vec<u8>]) -> Vec<u8> {
    update(&multiprotocol(15, &[&EVPN[..], &routes.concat()].concat()))
}

/// Bytes of an UPDATE that withdraws, beside its routes.
pub(crate) const WITHDRAW_OVERHEAD: usize = HEADER + 4 + 4 + EVPN.len();

fn multiprotocol(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut attribute = vec![0x90, kind];
    attribute.extend((value.len() as u16).to_be_bytes());
    attribute.extend(value);
    attribute
}

fn update(attributes: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    message(UPDATE, &body)
}

/// Type 2: RD `1:VNI`, no Ethernet segment.
pub(crate) fn mac_route(vni: u32, mac: MacAddr, ip: Option<IpAddr>) -> Vec<u8> {
    let mut route = distinguisher(vni);
    route.extend([0; 10 + 4]);
    route.push(48);
    route.extend(mac.0);
    match ip {
        None => route.push(0),
        Some(IpAddr::V4(ip)) => {
            route.push(32);
            route.extend(ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            route.push(128);
            route.extend(ip.octets());
        }
    }
    route.extend(&vni.to_be_bytes()[1..]);
    [vec![2, route.len() as u8], route].concat()
}

/// Type 3: RD `1:VNI`.
pub(crate) fn flood_route(vni: u32, vtep: Ipv4Addr) -> Vec<u8> {
    let mut route = distinguisher(vni);
    route.extend([0, 0, 0, 0, 32]);
    route.extend(vtep.octets());
    [vec![3, route.len() as u8], route].concat()
}

fn distinguisher(vni: u32) -> Vec<u8> {
    [[0, 0, 0, 1], vni.to_be_bytes()].concat()
}
