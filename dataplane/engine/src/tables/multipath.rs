//! Several paths of equal cost, over which flows are spread by weight (ECMP, RFC 2992).
//!
//! A flow falls into one of [`BUCKETS`] buckets, and each bucket ranks the members by weighted rendezvous hashing: a
//! member's score depends on itself and the bucket alone. The best member that is alive gets the flow. So when one goes
//! its flows move, each to the next in rank, and no other does, whether the member is only dead or the routes name it no
//! more; and when it comes back they return. The best few of each bucket are kept ready.

use std::sync::Arc;

use wire::MacAddr;

use super::{Adjacency, Fixed};
use crate::api::{NextHop, Path, PortIndex};

/// Buckets of a multipath: of 1 024, a half differs by a few hundredths at most from what its weight asks for.
const BUCKETS: usize = 1024;

/// Members of each bucket that are kept, the best first.
const RANKS: usize = 4;

/// Paths over which flows are spread.
#[derive(Debug)]
pub(crate) struct Multipath {
    members: Vec<Member>,
    /// Indices of members. Where there are fewer than [`RANKS`], the last is repeated.
    buckets: Box<[[u8; RANKS]]>,
    /// Whether all lead through routers.
    is_routed: bool,
}

#[derive(Debug)]
struct Member {
    port: PortIndex,
    /// The router; `None`: the destination itself is on the link.
    router: Option<Arc<Adjacency>>,
    /// Of its identity: the same at all times and on all gateways.
    seed: u64,
    weight: f64,
}

impl Multipath {
    /// Of at most [`MAX_PATHS`](crate::api::MAX_PATHS) paths, in any order; those beyond are left out, as are routers for
    /// which there is no `adjacency`.
    pub(crate) fn new(paths: &[Path], mut adjacency: impl FnMut(NextHop) -> Option<Arc<Adjacency>>) -> Self {
        let member = |path: &Path| {
            let Path { port, gateway, weight } = *path;
            let router = match gateway {
                Some(address) => Some(adjacency(NextHop { port, address })?),
                None => None,
            };
            Some(Member { port, router, seed: seed(path), weight: weight.max(1).into() })
        };
        let members: Vec<Member> = paths.iter().take(crate::api::MAX_PATHS).filter_map(member).collect();
        let is_routed = members.iter().all(|member| member.router.is_some());
        let buckets = if members.is_empty() { Box::default() } else { rank(&members) };
        Self { members, buckets, is_routed }
    }

    /// The router that a flow goes to; `None` too if none is known, or not all paths have one. Kept apart, so that those
    /// who have a single path spare no registers for it.
    #[cold]
    #[inline(never)]
    pub(crate) fn router(&self, fixed: &Fixed, flow: u16) -> Option<&Adjacency> {
        if !self.is_routed {
            return None;
        }
        self.best(flow, |member| {
            member.neighbour(fixed, |_| None)?;
            member.router.as_deref()
        })
    }

    /// The neighbour that a flow goes to, `on_link` telling the destination's own MAC address on the link of a port. If
    /// none is known: the port that the destination is to be asked for at.
    pub(crate) fn choose(
        &self,
        fixed: &Fixed,
        flow: u16,
        on_link: impl Fn(PortIndex) -> Option<MacAddr>,
    ) -> Result<(PortIndex, MacAddr), Option<PortIndex>> {
        self.best(flow, |member| member.neighbour(fixed, &on_link)).ok_or_else(|| {
            let may_ask = |member: &Member| member.router.is_none() && fixed.port(member.port).is_up();
            self.best(flow, |member| may_ask(member).then_some(member.port))
        })
    }

    /// What the best member of the flow's bucket gives that gives anything.
    #[inline]
    fn best<'a, T>(&'a self, flow: u16, try_member: impl Fn(&'a Member) -> Option<T>) -> Option<T> {
        let bucket = usize::from(flow) % BUCKETS;
        let ranked = self.buckets.get(bucket)?;
        ranked
            .iter()
            .find_map(|member| try_member(&self.members[usize::from(*member)]))
            .or_else(|| self.best_of_all(bucket, try_member))
    }

    /// The same where the best few are all dead.
    #[cold]
    fn best_of_all<'a, T>(
        &'a self,
        bucket: usize,
        try_member: impl Fn(&'a Member) -> Option<T>,
    ) -> Option<T> {
        let tried =
            self.members.iter().filter_map(|member| Some((member.score(bucket), try_member(member)?)));
        tried.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, got)| got)
    }
}

impl Member {
    fn neighbour(
        &self,
        fixed: &Fixed,
        on_link: impl Fn(PortIndex) -> Option<MacAddr>,
    ) -> Option<(PortIndex, MacAddr)> {
        if !fixed.port(self.port).is_up() {
            return None;
        }
        let mac = match &self.router {
            Some(router) => router.mac.get(),
            None => on_link(self.port),
        };
        Some((self.port, mac?))
    }

    /// Weighted rendezvous hashing: with a uniform number u of each pair, -w / ln u is the largest for a member with a
    /// probability in proportion to its w.
    fn score(&self, bucket: usize) -> f64 {
        let number = mix(self.seed ^ mix(bucket as u64 + 1));
        // 53 bits are what a float holds; never 0 nor 1.
        let uniform = ((number >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -self.weight / uniform.ln()
    }
}

fn rank(members: &[Member]) -> Box<[[u8; RANKS]]> {
    let mut scores = Vec::with_capacity(members.len());
    let of_bucket = |bucket| {
        scores.clear();
        scores.extend(members.iter().enumerate().map(|(index, member)| (member.score(bucket), index as u8)));
        scores.sort_unstable_by(|(one, _), (other, _)| other.total_cmp(one));
        std::array::from_fn(|place| scores[place.min(scores.len() - 1)].1)
    };
    (0..BUCKETS).map(of_bucket).collect()
}

/// A number of a path, but for its weight.
fn seed(path: &Path) -> u64 {
    let gateway = match path.gateway {
        None => 0,
        Some(std::net::IpAddr::V4(address)) => u128::from(address.to_bits()) | 1 << 32,
        Some(std::net::IpAddr::V6(address)) => address.to_bits(),
    };
    let halves = [gateway as u64, (gateway >> 64) as u64];
    halves.into_iter().fold(mix(u64::from(path.port.0) + 1), |seed, half| mix(seed ^ half))
}

/// The finaliser of MurmurHash3, by which each bit changes each other with even chances.
fn mix(mut number: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        number = (number ^ number >> 33).wrapping_mul(factor);
    }
    number ^ number >> 33
}

#[cfg(test)]
mod tests;
