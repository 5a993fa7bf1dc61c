//! Stateless address autoconfiguration (RFC 4862), as the kernel of a station does it.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::nic::NicAddress;
use crate::segment::Nic;
use crate::topology::Family;
use crate::wait::wait_until;

/// What makes the kernel configure netdevs that are made from now on by what routers advertise, as a client does.
const SETTINGS: [(&str, &str); 5] = [
    // Whether it forwards or not.
    ("net.ipv6.conf.default.accept_ra", "2"),
    // Privacy addresses are made, and preferred (RFC 8981).
    ("net.ipv6.conf.default.use_tempaddr", "2"),
    ("net.ipv6.conf.default.accept_dad", "1"),
    // RFC 4861 §6.3.7 asks for a random delay and 4 s between two: a test has no time for either.
    ("net.ipv6.conf.default.router_solicitation_delay", "0"),
    ("net.ipv6.conf.default.router_solicitation_interval", "1"),
];

/// What a station made of a router's advertisements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoconf {
    /// Its stable addresses.
    pub stable: Vec<Ipv6Addr>,
    /// Its privacy addresses: what it sends from, if nothing else is asked for.
    pub temporary: Vec<Ipv6Addr>,
    /// The router of its default route: a link-local address.
    pub router: IpAddr,
    /// Bytes of the longest IPv6 packet that it sends.
    pub mtu: u32,
}

impl Namespace {
    /// Lets netdevs that are made from now on be configured by routers: see [`Nic::autoconf`].
    pub(crate) fn accept_advertisements(&self) -> Result<()> {
        SETTINGS.iter().try_for_each(|(parameter, value)| self.set(parameter, value))?;
        // As many as it takes.
        self.set("net.ipv6.conf.default.router_solicitations", "-1")
    }
}

impl Nic {
    /// Waits until the kernel has configured the netdev by a router's advertisement: a stable address and a privacy
    /// address, both usable, and a default route.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub fn autoconf(&self, timeout: Duration) -> Result<Autoconf> {
        wait_until(&format!("autoconfiguration of {}", self.namespace.name()), timeout, || {
            let look = || Ok((self.current_addresses()?, self.default_router(Family::V6)?, self.ipv6_mtu()?));
            let (addresses, router, mtu) = look().map_err(|error: crate::Error| error.to_string())?;
            let (stable, temporary) = (dynamic(&addresses, false), dynamic(&addresses, true));
            match router {
                Some(router) if !stable.is_empty() && !temporary.is_empty() => {
                    Ok(Autoconf { stable, temporary, router, mtu })
                }
                _ => Err(format!("router {router:?}, {addresses:?}")),
            }
        })
    }
}

/// The usable global addresses that end with a lifetime: the temporary or the other ones.
fn dynamic(addresses: &[NicAddress], temporary: bool) -> Vec<Ipv6Addr> {
    let chosen = addresses
        .iter()
        .filter(|address| address.is_usable() && address.dynamic && address.temporary == temporary);
    chosen
        .filter_map(|address| match address.net.addr() {
            IpAddr::V6(address) if !address.is_unicast_link_local() => Some(address),
            _ => None,
        })
        .collect()
}
