//! Which of several paths is best, and why.
//!
//! RFC 4271 §9.1.2.2 with RFC 4456 §9; for MAC/IP routes, RFC 7432 §15 comes first, in the order of FRR: sticky, mobility
//! sequence, lowest next hop, all before LOCAL_PREF. (FRR's step for Ethernet segments prefers a *local* path of the same
//! segment. A gateway has no segment, so the step never decides here.) The IGP's metric to the next hop is not known and
//! counts as equal. Nothing depends on which path came first: equal inputs give equal views everywhere.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::table::Path;
use crate::attributes::mobility;

/// The step that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Sticky before not sticky (RFC 7432 §15.2).
    Sticky,
    /// Higher mobility sequence (RFC 7432 §15).
    Sequence,
    /// Lower next hop (RFC 7432 §15: the lowest VTEP address).
    NextHop,
    /// Higher LOCAL_PREF.
    LocalPref,
    /// Shorter path of ASes.
    AsPathLength,
    /// Lower ORIGIN.
    Origin,
    /// Lower MED, from the same neighbouring AS.
    Med,
    /// External before internal.
    External,
    /// Lower BGP identifier, or ORIGINATOR_ID.
    RouterId,
    /// Shorter CLUSTER_LIST.
    ClusterList,
    /// Lower address of the peer.
    PeerAddress,
    /// Equal in all: the same.
    Equal,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sticky => "sticky",
            Self::Sequence => "mobility sequence",
            Self::NextHop => "lowest next hop",
            Self::LocalPref => "LOCAL_PREF",
            Self::AsPathLength => "AS path length",
            Self::Origin => "origin",
            Self::Med => "MED",
            Self::External => "external before internal",
            Self::RouterId => "lowest router id",
            Self::ClusterList => "cluster list length",
            Self::PeerAddress => "lowest peer address",
            Self::Equal => "equal",
        })
    }
}

/// Why one path lost against another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The first step in which they differ.
    pub step: Step,
    /// What the better path has there.
    pub better: String,
    /// What this one has.
    pub worse: String,
}

/// What is known of the peer of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) address: IpAddr,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) internal: bool,
}

/// How paths are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// They are MAC/IP routes.
    pub(crate) mac: bool,
    /// By number of the peer.
    pub(crate) peers: &'a [Neighbour],
}

impl Rules<'_> {
    /// Place of the best path: independent of their order.
    ///
    /// MED is compared within a neighbouring AS only, which alone would make "better" go in circles. So each AS's best is
    /// found first, and then the best of those (what FRR calls deterministic MED).
    pub(crate) fn best<'p>(&self, paths: impl Iterator<Item = &'p Path> + Clone) -> Option<usize> {
        let mut best: Option<(usize, &Path)> = None;
        for (place, path) in paths.clone().enumerate() {
            let beaten = paths.clone().any(|other| {
                other.attributes.neighbour_as() == path.attributes.neighbour_as()
                    && self.compare(other, path, true).0 == Ordering::Greater
            });
            let wins = best.is_none_or(|(_, best)| self.compare(path, best, false).0 == Ordering::Greater);
            if !beaten && wins {
                best = Some((place, path));
            }
        }
        best.map(|(place, _)| place)
    }

    /// `Greater`: the first is better. And the step that says so.
    pub(crate) fn compare(&self, a: &Path, b: &Path, med: bool) -> (Ordering, Step) {
        let (x, y) = (&*a.attributes, &*b.attributes);
        let steps: [(Step, &dyn Fn() -> Ordering); 11] = [
            (Step::Sticky, &|| {
                if self.mac { mobility(&a.extended).0.cmp(&mobility(&b.extended).0) } else { Ordering::Equal }
            }),
            (Step::Sequence, &|| {
                if self.mac { mobility(&a.extended).1.cmp(&mobility(&b.extended).1) } else { Ordering::Equal }
            }),
            (Step::NextHop, &|| if self.mac { y.next_hop.cmp(&x.next_hop) } else { Ordering::Equal }),
            (Step::LocalPref, &|| x.local_pref.cmp(&y.local_pref)),
            (Step::AsPathLength, &|| y.as_path_length.cmp(&x.as_path_length)),
            (Step::Origin, &|| y.origin.cmp(&x.origin)),
            (Step::Med, &|| if med { y.med.cmp(&x.med) } else { Ordering::Equal }),
            (Step::External, &|| Reverse(self.peer(a).internal).cmp(&Reverse(self.peer(b).internal))),
            (Step::RouterId, &|| self.router_id(b).cmp(&self.router_id(a))),
            (Step::ClusterList, &|| y.cluster_list.len().cmp(&x.cluster_list.len())),
            (Step::PeerAddress, &|| self.peer(b).address.cmp(&self.peer(a).address)),
        ];
        for (step, order) in steps {
            let order = order();
            if order != Ordering::Equal {
                return (order, step);
            }
        }
        (Ordering::Equal, Step::Equal)
    }

    /// Why `worse` is not the best.
    pub(crate) fn why(&self, better: &Path, worse: &Path) -> Why {
        let same_as = better.attributes.neighbour_as() == worse.attributes.neighbour_as();
        let (_, step) = self.compare(better, worse, same_as);
        Why { step, better: self.value(step, better), worse: self.value(step, worse) }
    }

    fn value(&self, step: Step, path: &Path) -> String {
        let attributes = &path.attributes;
        match step {
            Step::Sticky => mobility(&path.extended).0.to_string(),
            Step::Sequence => mobility(&path.extended).1.to_string(),
            Step::NextHop => attributes.next_hop.to_string(),
            Step::LocalPref => attributes.local_pref.to_string(),
            Step::AsPathLength => attributes.as_path_length.to_string(),
            Step::Origin => ["igp", "egp", "incomplete"][usize::from(attributes.origin.min(2))].to_owned(),
            Step::Med => attributes.med.to_string(),
            Step::External => if self.peer(path).internal { "internal" } else { "external" }.to_owned(),
            Step::RouterId => self.router_id(path).to_string(),
            Step::ClusterList => attributes.cluster_list.len().to_string(),
            Step::PeerAddress => self.peer(path).address.to_string(),
            Step::Equal => String::new(),
        }
    }

    fn peer(&self, path: &Path) -> &Neighbour {
        &self.peers[usize::from(path.peer.0)]
    }

    /// RFC 4456 §9: ORIGINATOR_ID stands for the identifier.
    fn router_id(&self, path: &Path) -> Ipv4Addr {
        path.attributes.originator.unwrap_or_else(|| self.peer(path).router_id)
    }
}
