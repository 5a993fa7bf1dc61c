//! Routes as an operator sees them.

use std::net::IpAddr;

use super::decision::{Rules, Why};
use super::table::{Entry, Path};
use super::{EvpnKey, Rib, is_stale};
use crate::Attributes;
use crate::event::PeerId;
use crate::family::Family;

/// A route and all its paths, the best one first, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Its family.
    pub family: Family,
    /// Type of an EVPN route.
    pub route_type: Option<u8>,
    /// The route: a prefix, or an EVPN route as FRR writes it.
    pub route: String,
    /// The overlay in which it counts; `None`: in none.
    pub vni: Option<u32>,
    /// Its paths.
    pub paths: Vec<PathView>,
}

/// What one peer says of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    /// The peer.
    pub peer: PeerId,
    /// Label or VNI.
    pub label: u32,
    /// Ethernet segment, if not zero.
    pub esi: Option<[u8; 10]>,
    /// Gateway of a type 5 route.
    pub gateway: Option<IpAddr>,
    /// Kept over a restart of the peer, not yet confirmed.
    pub stale: bool,
    /// Its attributes.
    pub attributes: Attributes,
    /// Why it is not the best, or may not be used; `None`: it is the best.
    pub why: Option<Why>,
}

impl Rib {
    /// Routes of a family, in no order.
    pub(crate) fn routes(&self, family: Family) -> Box<dyn Iterator<Item = RouteView> + '_> {
        match family {
            Family::Evpn => Box::new(self.evpn.iter().map(move |entry| RouteView {
                family,
                route_type: Some(entry.key.route_type()),
                route: entry.key.to_string(),
                vni: (entry.vni != 0).then_some(entry.vni),
                paths: self.paths(entry, family, matches!(entry.key, EvpnKey::MacIp(_))),
            })),
            Family::Ipv4 | Family::Ipv6 => {
                let entries = self.unicast.iter().filter(move |entry| super::family_of(entry.key) == family);
                Box::new(entries.map(move |entry| RouteView {
                    family,
                    route_type: None,
                    route: entry.key.to_string(),
                    vni: None,
                    paths: self.paths(entry, family, false),
                }))
            }
        }
    }

    fn paths<K>(&self, entry: &Entry<K>, family: Family, mac: bool) -> Vec<PathView> {
        let rules = Rules { mac, peers: &self.neighbours };
        let best = entry.best();
        let view = |path: &Path, why| PathView {
            peer: path.peer,
            label: path.label,
            esi: path.extra.as_ref().map(|extra| extra.esi).filter(|esi| *esi != [0; 10]),
            gateway: path.extra.as_ref().and_then(|extra| extra.gateway),
            stale: is_stale(path, family, &self.peers),
            attributes: Attributes {
                extended: path.extended.as_slice().into(),
                ..(*path.attributes).clone()
            },
            why,
        };
        let others = entry.paths.iter().filter(|path| !best.is_some_and(|best| std::ptr::eq(*path, best)));
        let others = others.map(|path| view(path, Some(rules.why(best.unwrap_or(path), path))));
        best.map(|best| view(best, None)).into_iter().chain(others).collect()
    }
}
