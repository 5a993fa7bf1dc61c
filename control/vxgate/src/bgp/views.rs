//! What the speaker knows, as `vxgate show bgp` tells it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use evpn::{Family, PathView, PeerView, RouteView, Speaker};
use serde::{Deserialize, Serialize};

use super::Bgp;

/// A peer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PeerRow {
    pub(crate) address: IpAddr,
    /// `Idle`, `Active`, `Connect`, `OpenSent`, `OpenConfirm`, `Established` (RFC 4271 §8.2.2).
    pub(crate) state: String,
    /// For how many seconds.
    pub(crate) state_age: Option<u64>,
    /// Why its last session, or attempt at one, ended.
    pub(crate) last_down: Option<String>,
    /// The peer's, once known.
    pub(crate) asn: Option<u32>,
    pub(crate) router_id: Option<Ipv4Addr>,
    /// Agreed, in seconds.
    pub(crate) hold_time: Option<u16>,
    /// Those that both speak.
    pub(crate) families: Vec<String>,
    /// Routes that it has told, those not used among them, by family.
    pub(crate) received: Vec<(String, usize)>,
    /// Routes of ours that it has sent back in this session, as reflectors do.
    pub(crate) own_routes: u64,
    /// Routes that we announce, to all peers alike but for IPv6 VTEPs.
    pub(crate) announced: usize,
    /// It has been told all of them.
    pub(crate) told_all: bool,
    /// Routes with IPv6 VTEPs are told.
    pub(crate) announce_ipv6_vtep: bool,
}

/// What one peer says of a route.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PathRow {
    pub(crate) family: String,
    /// Of an EVPN route.
    pub(crate) route_type: Option<u8>,
    pub(crate) route: String,
    /// The overlay in which it counts.
    pub(crate) vni: Option<u32>,
    pub(crate) peer: IpAddr,
    pub(crate) best: bool,
    pub(crate) next_hop: IpAddr,
    pub(crate) local_pref: u32,
    pub(crate) med: u32,
    pub(crate) as_path: Vec<u32>,
    pub(crate) communities: Vec<String>,
    pub(crate) stale: bool,
    /// Why it is not the best.
    pub(crate) why: Option<String>,
}

/// Which routes are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RouteFilter {
    /// `evpn`, `ipv4` or `ipv6`; `None`: all.
    pub(crate) family: Option<String>,
    /// Those that count in this overlay.
    pub(crate) vni: Option<u32>,
    /// EVPN routes of this MAC address.
    pub(crate) mac: Option<String>,
    /// EVPN routes of this type.
    pub(crate) route_type: Option<u8>,
    /// What this peer says.
    pub(crate) peer: Option<IpAddr>,
    /// No more paths than these.
    pub(crate) limit: usize,
}

impl RouteFilter {
    fn wants(&self, route: &RouteView) -> bool {
        self.vni.is_none_or(|vni| route.vni == Some(vni))
            && self.route_type.is_none_or(|wanted| route.route_type == Some(wanted))
            && self.mac.as_ref().is_none_or(|mac| route.route.contains(mac.as_str()))
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL
            .into_iter()
            .filter(|family| self.family.as_deref().is_none_or(|wanted| wanted == name(*family)))
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Evpn => "evpn",
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

impl Bgp {
    /// The peers; none once the speaker has ended.
    pub(crate) async fn peers(&self) -> Vec<PeerRow> {
        let rows = |speaker: &mut Speaker, now| {
            let announced = Family::ALL.map(|family| speaker.announced(family)).iter().sum();
            speaker.peers().map(|view| peer_row(speaker, view, announced, now)).collect()
        };
        self.handle.call(rows).await.unwrap_or_default()
    }

    /// Routes, by family and text. The sessions wait while they are looked through.
    pub(crate) async fn routes(&self, filter: RouteFilter) -> Vec<PathRow> {
        let rows = move |speaker: &mut Speaker, _| {
            let mut rows = Vec::new();
            for family in filter.families() {
                let routes = speaker.routes(family).filter(|route| filter.wants(route));
                let paths = routes.flat_map(|route| path_rows(speaker, &route));
                let of_peer = paths.filter(|row| filter.peer.is_none_or(|peer| peer == row.peer));
                rows.extend(of_peer.take(filter.limit.saturating_sub(rows.len())));
            }
            rows.sort_by(|a: &PathRow, b| {
                (&a.family, &a.route, !a.best).cmp(&(&b.family, &b.route, !b.best))
            });
            rows
        };
        self.handle.call(rows).await.unwrap_or_default()
    }
}

fn peer_row(speaker: &Speaker, view: PeerView, announced: usize, now: Instant) -> PeerRow {
    let PeerView {
        id,
        address,
        state,
        since,
        last_down,
        identity,
        hold_time,
        families,
        routes,
        own_routes,
        told_all,
    } = view;
    PeerRow {
        address,
        state: state.to_string(),
        state_age: since.map(|since| now.saturating_duration_since(since).as_secs()),
        last_down: last_down.map(|reason| reason.to_string()),
        asn: identity.map(|(asn, _)| asn).or(speaker.config(id).asn),
        router_id: identity.map(|(_, id)| id),
        hold_time,
        families: families.into_iter().map(|family| name(family).into()).collect(),
        received: routes.into_iter().map(|(family, routes)| (name(family).into(), routes)).collect(),
        own_routes,
        announced,
        told_all,
        announce_ipv6_vtep: speaker.config(id).announce_ipv6_vtep,
    }
}

fn path_rows(speaker: &Speaker, route: &RouteView) -> Vec<PathRow> {
    let row = |path: &PathView| {
        let attributes = &path.attributes;
        PathRow {
            family: name(route.family).into(),
            route_type: route.route_type,
            route: route.route.clone(),
            vni: route.vni,
            peer: speaker.config(path.peer).address,
            best: path.why.is_none(),
            next_hop: attributes.next_hop,
            local_pref: attributes.local_pref,
            med: attributes.med,
            as_path: attributes.as_path.to_vec(),
            communities: attributes.extended.iter().map(|community| text(community.as_u64())).collect(),
            stale: path.stale,
            why: path.why.as_ref().map(ToString::to_string),
        }
    };
    route.paths.iter().map(row).collect()
}

/// An extended community, as an operator reads it.
fn text(community: u64) -> String {
    let [kind, subtype, a, b, c, d, e, f] = community.to_be_bytes();
    let number = u32::from_be_bytes([c, d, e, f]);
    match (kind, subtype) {
        (0x00, 0x02) => format!("rt {}:{number}", u16::from_be_bytes([a, b])),
        (0x02, 0x02) => format!("rt {}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f])),
        // RFC 7432 §7.7, §7.8; RFC 9012 §4.1; RFC 9047 §2; RFC 9135 §6.1.
        (0x06, 0x00) => format!("mobility {number}{}", if a & 1 != 0 { " sticky" } else { "" }),
        (0x03, 0x0d) => "default-gateway".into(),
        (0x03, 0x0c) if number == 8 => "vxlan".into(),
        (0x06, 0x08) => format!("arp-nd{}", if a & 1 != 0 { " router" } else { "" }),
        (0x06, 0x03) => format!("router-mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        _ => format!("0x{community:016x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_told_in_words() {
        let texts = [
            (0x0002_fde8_0000_0064, "rt 65000:100"),
            (0x0202_0001_0000_0007, "rt 65536:7"),
            (0x0600_0100_0000_0005, "mobility 5 sticky"),
            (0x030d_0000_0000_0000, "default-gateway"),
            (0x030c_0000_0000_0008, "vxlan"),
            (0x0608_0100_0000_0000, "arp-nd router"),
            (0x0603_0200_0000_0001, "router-mac 02:00:00:00:00:01"),
            (0x4309_0000_0000_0001, "0x4309000000000001"),
        ];
        for (community, expected) in texts {
            assert_eq!(text(community), expected);
        }
    }
}
