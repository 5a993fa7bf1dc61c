//! What a netdev has by now: addresses, routers, MTU; and duplicate address detection on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::segment::Nic;
use crate::topology::Family;
use crate::wait::wait_until;

/// How long the kernel may take to probe for an address: by default one solicitation, then a second.
const DAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An address that a netdev has at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicAddress {
    /// The address, with the prefix length of its subnet.
    pub net: IpNet,
    /// A privacy address (RFC 8981).
    pub temporary: bool,
    /// Not configured by hand: it ends with its lifetime.
    pub dynamic: bool,
    /// Not usable yet: duplicate address detection is at work.
    pub tentative: bool,
    /// Not usable: another host has it.
    pub duplicate: bool,
    /// Not to be used for what is new: its preferred lifetime is over.
    pub deprecated: bool,
}

/// What duplicate address detection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uniqueness {
    /// Nobody answered.
    Unique,
    /// Somebody has the address.
    Duplicate,
}

impl Nic {
    /// The addresses that it has now, of both families, link-local ones among them.
    ///
    /// # Errors
    /// [`Error::Command`] if it is gone.
    pub fn current_addresses(&self) -> Result<Vec<NicAddress>> {
        let links = self.namespace.ip_json(&["address", "show", "dev", &self.interface])?;
        Ok(parse_addresses(&links))
    }

    /// The router of its default route, if it has one.
    ///
    /// # Errors
    /// [`Error::Command`] if it is gone.
    pub fn default_router(&self, family: Family) -> Result<Option<IpAddr>> {
        let routes =
            self.namespace.ip_json(&[family.option(), "route", "show", "default", "dev", &self.interface])?;
        Ok(routes.as_array().into_iter().flatten().find_map(|route| route["gateway"].as_str()?.parse().ok()))
    }

    /// Bytes of the longest IPv6 packet that it may send: its MTU, or less if a router said so (RFC 4861 §6.3.4).
    ///
    /// # Errors
    /// [`Error::Io`] if it is gone.
    pub fn ipv6_mtu(&self) -> Result<u32> {
        let parameter = format!("net.ipv6.conf.{}.mtu", self.interface);
        let text = self.namespace.get(&parameter)?;
        text.parse().map_err(|_| Error::Output { program: "the kernel", output: text })
    }

    /// Sets the MTU of both ends of its link, in bytes. A segment carries what the ports of sender and receiver both
    /// carry, and says nothing about the rest: set all netdevs of it alike.
    ///
    /// # Errors
    /// [`Error::Command`] if the kernel does not take the value.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.namespace.ip(&format!("link set {} mtu {mtu}", self.interface))?;
        self.far_namespace.ip(&format!("link set {} mtu {mtu}", self.far_interface))
    }

    /// Adds an IPv6 address with duplicate address detection (RFC 4862 §5.4), and waits for its verdict. One that
    /// another host has is taken away again.
    ///
    /// # Errors
    /// [`Error::Command`] if it has the address already; [`Error::Timeout`] if there is no verdict.
    pub fn claim_ipv6(&self, net: Ipv6Net) -> Result<Uniqueness> {
        let Self { namespace, interface, .. } = self;
        namespace.set(&format!("net.ipv6.conf.{interface}.accept_dad"), "1")?;
        namespace.ip(&format!("address add {net} dev {interface}"))?;
        let what = format!("a verdict on {net}");
        let duplicate = wait_until(&what, DAD_TIMEOUT, || {
            let addresses = self.current_addresses().map_err(|error| error.to_string())?;
            match addresses.iter().find(|address| address.net.addr() == IpAddr::V6(net.addr())) {
                Some(address) if address.duplicate => Ok(true),
                Some(address) if !address.tentative => Ok(false),
                seen => Err(format!("{seen:?}")),
            }
        })?;
        if !duplicate {
            return Ok(Uniqueness::Unique);
        }
        namespace.ip(&format!("address del {net} dev {interface}"))?;
        Ok(Uniqueness::Duplicate)
    }

    /// Probes for an IPv4 address (RFC 5227 §2.1.1), which it is not given.
    ///
    /// # Errors
    /// [`Error::Command`] if nothing could be sent.
    pub fn probe_ipv4(&self, address: Ipv4Addr) -> Result<Uniqueness> {
        let address = address.to_string();
        let mut command = self
            .namespace
            .command("arping", &["-D", "-q", "-c", "2", "-w", "3", "-I", &self.interface, &address]);
        let output = self.namespace.enter(|| command.output())?.map_err(Error::io("run `arping`"))?;
        match output.status.code() {
            Some(0) => Ok(Uniqueness::Unique),
            // It is the status of other failures too, but those say something.
            Some(1) if output.stderr.is_empty() => Ok(Uniqueness::Duplicate),
            _ => Err(Error::command(&command, &output)),
        }
    }

    /// Its usable link-local address, once it has one.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it has none within seconds.
    pub fn link_local(&self) -> Result<Ipv6Addr> {
        wait_until(&format!("a link-local address of {}", self.interface), DAD_TIMEOUT, || {
            let addresses = self.current_addresses().map_err(|error| error.to_string())?;
            let usable = addresses.iter().filter(|address| address.is_usable());
            let mut link_local = usable.filter_map(|address| match address.net.addr() {
                IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
                _ => None,
            });
            link_local.next().ok_or_else(|| format!("{addresses:?}"))
        })
    }
}

impl NicAddress {
    /// Whether packets may bear it.
    pub fn is_usable(&self) -> bool {
        !self.tentative && !self.duplicate
    }
}

fn parse_addresses(links: &Value) -> Vec<NicAddress> {
    let addresses =
        links.as_array().into_iter().flatten().filter_map(|link| link["addr_info"].as_array()).flatten();
    addresses
        .filter_map(|address| {
            let ip = address["local"].as_str()?.parse().ok()?;
            let net = IpNet::new(ip, address["prefixlen"].as_u64()?.try_into().ok()?).ok()?;
            let flag = |name| address[name] == Value::Bool(true);
            Some(NicAddress {
                net,
                temporary: flag("temporary"),
                dynamic: flag("dynamic"),
                tentative: flag("tentative"),
                duplicate: flag("dadfailed"),
                deprecated: flag("deprecated"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_flags_of_addresses() {
        let links = serde_json::json!([{
            "ifname": "eth0",
            "addr_info": [
                { "family": "inet", "local": "10.1.0.10", "prefixlen": 24, "scope": "global" },
                { "family": "inet6", "local": "fd00:1::5", "prefixlen": 64, "scope": "global", "temporary": true,
                  "dynamic": true },
                { "family": "inet6", "local": "fd00:1::6", "prefixlen": 128, "dadfailed": true, "tentative": true },
                {},
            ],
        }, {}]);
        let [plain, temporary, duplicate] = parse_addresses(&links)[..] else { panic!("three") };
        assert_eq!(plain.net.to_string(), "10.1.0.10/24");
        assert!(plain.is_usable() && !plain.dynamic && !plain.temporary);
        assert!(temporary.is_usable() && temporary.dynamic && temporary.temporary);
        assert_eq!(duplicate.net.to_string(), "fd00:1::6/128");
        assert!(duplicate.duplicate && duplicate.tentative && !duplicate.is_usable());
    }
}
