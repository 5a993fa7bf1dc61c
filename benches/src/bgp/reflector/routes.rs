//! What a gateway announces of its overlays: as calls of the speaker, as UPDATEs made beforehand, and as what a receiver
//! recognises.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use evpn::{Reach, Speaker};
use wire::{MacAddr, Vni};

use crate::bgp::message::{self, Attributes, DEFAULT_GATEWAY, MOST, ROUTER, VXLAN, WITHDRAW_OVERHEAD};

pub(crate) const OVERLAYS: u32 = 65_536;
/// Routes of an overlay.
const EACH: usize = 6;
/// All routes.
pub(crate) const ROUTES: usize = OVERLAYS as usize * EACH;

/// Cluster number, which the route distinguishers bear.
pub(crate) const CLUSTER: u16 = 1;
const SHARED: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
const OWN: MacAddr = MacAddr([2, 0, 0x5e, 0, 1, 7]);

/// The router's addresses in an overlay.
fn addresses(vni: u32) -> [IpAddr; 3] {
    let [_, a, b, c] = vni.to_be_bytes();
    let v6 = Ipv6Addr::new(0xfd00, 0, (vni >> 16) as u16, vni as u16, 0, 0, 0, 1);
    [Ipv4Addr::new(10, a, b, c).into(), v6.into(), SHARED.link_local().into()]
}

/// MAC addresses with their IP addresses, as `vxgate` announces them.
fn macs(vni: u32) -> impl Iterator<Item = (MacAddr, Option<IpAddr>)> {
    let with_addresses = addresses(vni).map(|ip| (SHARED, Some(ip)));
    [(OWN, None), (SHARED, None)].into_iter().chain(with_addresses)
}

/// Announces an overlay behind a VTEP.
pub(crate) fn announce(speaker: &mut Speaker, vni: Vni, vtep: Ipv4Addr) {
    speaker.join_flood(vni, vtep.into());
    for (mac, ip) in macs(vni.value()) {
        speaker.reach(&Reach {
            vni,
            mac,
            ip,
            endpoint: vtep.into(),
            sequence: 0,
            sticky: false,
            default_gateway: true,
            router: ip.is_some(),
            local_pref: None,
        });
    }
}

/// Withdraws an overlay.
pub(crate) fn withdraw(speaker: &mut Speaker, vni: Vni, vtep: Ipv4Addr) {
    speaker.leave_flood(vni, vtep.into());
    macs(vni.value()).for_each(|(mac, ip)| speaker.unreach(vni, mac, ip));
}

/// UPDATEs of all overlays: one for each set of attributes.
pub(crate) fn announcements(vtep: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for vni in 1..=OVERLAYS {
        let attributes = |more: &[_]| {
            let communities = [&[message::target(vni), VXLAN], more].concat();
            Attributes { next_hop: vtep, communities, replication: None }
        };
        let flood = Attributes { replication: Some((vni, vtep)), ..attributes(&[]) };
        bytes.extend(message::announce(&flood, &[message::flood_route(vni, vtep)]));
        let (with, without): (Vec<_>, Vec<_>) = macs(vni).partition(|(_, ip)| ip.is_some());
        for (macs, communities) in [(without, &[DEFAULT_GATEWAY][..]), (with, &[DEFAULT_GATEWAY, ROUTER])] {
            let routes: Vec<_> = macs.into_iter().map(|(mac, ip)| message::mac_route(vni, mac, ip)).collect();
            bytes.extend(message::announce(&attributes(communities), &routes));
        }
    }
    bytes
}

/// UPDATEs that withdraw all overlays: each as full as it can be.
pub(crate) fn withdrawals(vtep: Ipv4Addr) -> Vec<u8> {
    let all = (1..=OVERLAYS).flat_map(|vni| {
        let macs = macs(vni).map(move |(mac, ip)| message::mac_route(vni, mac, ip));
        std::iter::once(message::flood_route(vni, vtep)).chain(macs)
    });
    let (mut bytes, mut routes, mut length) = (Vec::new(), Vec::new(), WITHDRAW_OVERHEAD);
    for route in all {
        if length + route.len() > MOST {
            bytes.extend(message::withdraw(&routes));
            routes.clear();
            length = WITHDRAW_OVERHEAD;
        }
        length += route.len();
        routes.push(route);
    }
    bytes.extend(message::withdraw(&routes));
    bytes
}

/// Overlay (from 0) and number (below [`EACH`]) of a route, from its bytes, type and length included.
pub(crate) fn recognise(route: &[u8]) -> Option<(usize, u8)> {
    let vni = u32::from_be_bytes(*route.get(6..)?.first_chunk()?);
    let number = match (route.first()?, route.get(31)) {
        (3, _) => 0,
        (2, Some(0)) if route[25..31] == OWN.0 => 1,
        (2, Some(0)) => 2,
        (2, Some(32)) => 3,
        (2, Some(128)) if route[32] == 0xfd => 4,
        (2, Some(128)) => 5,
        _ => return None,
    };
    (1..=OVERLAYS).contains(&vni).then(|| (vni as usize - 1, number))
}
