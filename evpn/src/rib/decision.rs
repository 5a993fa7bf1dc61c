//! Which of several paths is best, and why.
//!
//! Rejected paths are excluded first (RFC 4271 §9.1.2): however good the rest of it looks, what may not be believed hides
//! nothing that may. Paths that count in an overlay come before those that count in none.
//!
//! RFC 4271 §9.1.2.2 with RFC 4456 §9; for MAC/IP routes, RFC 7432 §15 comes first, in the order of FRR: sticky, mobility
//! sequence, lowest next hop, all before LOCAL_PREF. (FRR's step for Ethernet segments prefers a *local* path of the same
//! segment. A gateway has no segment, so the step never decides here.) The IGP's metric to the next hop is not known and
//! counts as equal. Nothing depends on which path came first: equal inputs give equal views everywhere.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::table::{Path, Standing};
use crate::attributes::mobility;

/// The step that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// It may not be used at all, whatever it is compared with.
    Rejected,
    /// One that counts in an overlay before one that counts in none.
    Overlay,
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
            Self::Rejected => "rejected",
            Self::Overlay => "overlay",
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

/// Why one path lost against another, or was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The first step in which they differ.
    pub step: Step,
    /// What the better path has there; empty for one that was rejected.
    pub better: String,
    /// What this one has; for one that was rejected, the reason.
    pub worse: String,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, better, worse } = self;
        match step {
            Step::Rejected => write!(f, "{step}: {worse}"),
            _ => write!(f, "{step}: {worse} against {better}"),
        }
    }
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
    /// Place of the best path among those that may be used, if there is one.
    pub(crate) fn choose(&self, paths: &[Path]) -> Option<u16> {
        let best = |standing| {
            let such = paths.iter().enumerate().filter(move |(_, path)| path.standing == standing);
            self.best(such).map(|(place, _)| place as u16)
        };
        best(Standing::Eligible).or_else(|| best(Standing::Foreign))
    }

    /// The best of numbered paths: independent of their order.
    ///
    /// MED is compared within a neighbouring AS only, which alone would make "better" go in circles. So each AS's best is
    /// found first, and then the best of those (what FRR calls deterministic MED).
    /// Each path is compared once with the best of its AS, and the latter once with the best of all.
    pub(crate) fn best<'p>(
        &self,
        paths: impl Iterator<Item = (usize, &'p Path)>,
    ) -> Option<(usize, &'p Path)> {
        // Most often all are of one AS, as those of an internal peer are: the map is for the others.
        let mut first: Option<(usize, &Path)> = None;
        let mut others: HashMap<Option<u32>, (usize, &Path), RandomState> = HashMap::default();
        let better = |best: &mut (usize, &'p Path), (place, path): (usize, &'p Path)| {
            if self.compare(path, best.1, true).0 == Ordering::Greater {
                *best = (place, path);
            }
        };
        for found in paths {
            let neighbour = found.1.attributes.neighbour_as();
            match &mut first {
                None => first = Some(found),
                Some(best) if best.1.attributes.neighbour_as() == neighbour => better(best, found),
                Some(_) => {
                    others.entry(neighbour).and_modify(|best| better(best, found)).or_insert(found);
                }
            }
        }
        others.into_values().chain(first).reduce(|a, b| {
            match self.compare(a.1, b.1, false).0.then(b.0.cmp(&a.0)) {
                Ordering::Less => b,
                Ordering::Equal | Ordering::Greater => a,
            }
        })
    }

    /// `Greater`: the first is better. And the step that says so.
    pub(crate) fn compare(&self, a: &Path, b: &Path, med: bool) -> (Ordering, Step) {
        #[cfg(test)]
        tests::COMPARISONS.set(tests::COMPARISONS.get() + 1);
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

    /// Why `worse` is not the best, `better` being it. (If it was rejected, there may be none.)
    pub(crate) fn why(&self, better: &Path, worse: &Path) -> Why {
        if let Standing::Rejected(reason) = worse.standing {
            return Why { step: Step::Rejected, better: String::new(), worse: reason.to_string() };
        }
        if better.standing != worse.standing {
            return Why { step: Step::Overlay, better: "imported".into(), worse: "not imported".into() };
        }
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
            Step::Rejected | Step::Overlay | Step::Equal => String::new(),
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::attributes::Attributes;
    use crate::event::PeerId;

    thread_local! {
        pub(super) static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    fn path(asn: u32, med: u32) -> Path {
        let attributes = Attributes {
            next_hop: IpAddr::from([10, 0, 0, 1]),
            origin: 0,
            local_pref: 100,
            med,
            as_path: vec![asn].into(),
            as_path_length: 1,
            originator: None,
            cluster_list: Box::default(),
            communities: Box::default(),
            large_communities: Box::default(),
            extended: Box::default(),
            replication: None,
        };
        let (attributes, extended) = (Arc::new(attributes), Arc::default());
        let standing = Standing::Eligible;
        Path {
            attributes,
            extended,
            extra: None,
            label: 7,
            peer: PeerId(0),
            epoch: 0,
            standing,
            told: standing,
        }
    }

    #[test]
    fn the_cost_is_linear_in_the_number_of_paths() {
        let peer = Neighbour {
            address: IpAddr::from([10, 0, 0, 1]),
            router_id: Ipv4Addr::LOCALHOST,
            internal: false,
        };
        let rules = Rules { mac: true, peers: &[peer] };
        for systems in [1, 8, 64] {
            let paths: Vec<Path> = (0..64).map(|number| path(number % systems, 64 - number)).collect();
            COMPARISONS.set(0);
            // Of each AS the last has the lowest MED; and the first of those is as good as any.
            assert_eq!(rules.choose(&paths), Some(64 - systems as u16));
            assert!(COMPARISONS.get() < 64, "{systems} ASes: {} comparisons", COMPARISONS.get());
        }
    }
}
