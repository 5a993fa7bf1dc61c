//! Where packets go: by one path, or by one of several.

use std::net::IpAddr;
use std::sync::Arc;

use wire::MacAddr;

use super::{Adjacency, Fixed, Multipath, Snapshot};
use crate::api::{NextHop, PortIndex};

/// Where a packet goes.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// To a router.
    Via(Arc<Adjacency>),
    /// To the destination itself, on the link of this port.
    OnLink(PortIndex),
    /// To one of several routers, or the destination itself on one of several links, by flow.
    Multipath(Arc<Multipath>),
    /// Not to the outer network: an overlay, the host itself, or an address that is never forwarded to.
    Local,
    /// Nowhere.
    Reject,
}

impl Way {
    /// The router that a packet goes to, if it goes to one; `flow` is only asked if there are several.
    #[inline(always)]
    pub(crate) fn router(&self, fixed: &Fixed, flow: impl FnOnce() -> u16) -> Option<&Adjacency> {
        match self {
            Self::Via(adjacency) => Some(adjacency),
            Self::Multipath(multipath) => multipath.router(fixed, flow()),
            Self::OnLink(_) | Self::Local | Self::Reject => None,
        }
    }
}

/// The next step of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    /// To this address at this port.
    To(PortIndex, MacAddr),
    /// To this host on the link, whose MAC address is not known: it is to be asked for.
    Ask(NextHop),
    /// No router's MAC address is known.
    NoNeighbour,
    /// Not to a neighbour.
    Nowhere,
}

impl Snapshot {
    /// The next step to `destination` by `way`; `flow` is the same for all packets of a flow, and only asked if there are
    /// several paths.
    #[inline]
    pub(crate) fn onward(&self, way: &Way, destination: IpAddr, flow: impl FnOnce() -> u16) -> Onward {
        match way {
            Way::Via(adjacency) => {
                adjacency.mac.get().map_or(Onward::NoNeighbour, |mac| Onward::To(adjacency.port, mac))
            }
            Way::OnLink(port) => {
                let next_hop = NextHop { port: *port, address: destination };
                self.on_link_mac(next_hop).map_or(Onward::Ask(next_hop), |mac| Onward::To(*port, mac))
            }
            Way::Multipath(multipath) => {
                let on_link = |port| self.on_link_mac(NextHop { port, address: destination });
                match multipath.choose(&self.fixed, flow(), on_link) {
                    Ok((port, mac)) => Onward::To(port, mac),
                    Err(Some(port)) => Onward::Ask(NextHop { port, address: destination }),
                    Err(None) => Onward::NoNeighbour,
                }
            }
            Way::Local | Way::Reject => Onward::Nowhere,
        }
    }

    fn on_link_mac(&self, next_hop: NextHop) -> Option<MacAddr> {
        self.on_link.get(&next_hop)?.mac.get()
    }
}
