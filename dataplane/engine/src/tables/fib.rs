//! Routes toward the outer network.

use std::net::IpAddr;
use std::sync::Arc;

use super::adjacency::Adjacency;
use super::lpm::Lpm;
use crate::api::PortIndex;

/// Where a packet goes.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// To a router.
    Via(Arc<Adjacency>),
    /// To the destination itself, on the link of this port.
    OnLink(PortIndex),
    /// Nowhere.
    Reject,
}

/// The routes.
#[derive(Debug)]
pub(crate) struct Fib(Lpm<Way>);

impl Fib {
    pub(crate) fn new(routes: Lpm<Way>) -> Self {
        Self(routes)
    }

    #[inline]
    pub(crate) fn lookup(&self, destination: IpAddr) -> Option<&Way> {
        self.0.lookup(destination)
    }
}
