//! The gateways that type 4 routes tell of.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Told;
use crate::event::Change;
use crate::rib::table::RouteId;

/// Which routes count, and how many of them a VTEP has: it may have several, of different route distinguishers.
#[derive(Debug, Default)]
pub(super) struct Members {
    routes: HashMap<RouteId, IpAddr, RandomState>,
    counts: HashMap<IpAddr, u32, RandomState>,
}

impl Members {
    /// A route tells of this VTEP now, or of none.
    pub(super) fn set(&mut self, route: RouteId, vtep: Option<IpAddr>, told: &mut VecDeque<Told>) {
        let old = match vtep {
            Some(vtep) => self.routes.insert(route, vtep),
            None => self.routes.remove(&route),
        };
        if old == vtep {
            return;
        }
        if let Some(vtep) = vtep {
            let count = self.counts.entry(vtep).or_insert(0);
            *count += 1;
            if *count == 1 {
                told.push_back(Told::Change(Change::Member { vtep }));
            }
        }
        if let Some(vtep) = old
            && let Some(count) = self.counts.get_mut(&vtep)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&vtep);
                told.push_back(Told::Change(Change::MemberGone { vtep }));
            }
        }
    }
}
