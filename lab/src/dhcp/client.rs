//! A DHCP client, by dhclient(8).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::nic::NicAddress;
use crate::process::Process;
use crate::segment::Nic;
use crate::topology::Family;
use crate::wait::wait_until;

/// What it asks for.
const CONFIG: &str = "initial-interval 1;\n\
     request subnet-mask, routers, domain-name-servers, interface-mtu, dhcp6.name-servers;\n";

/// A client that got a lease; ended, without giving it back, when dropped.
#[derive(Debug)]
pub struct DhcpClient {
    lease: Lease,
    _process: Process,
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address, with the prefix length of the subnet; over IPv6, where routers say what is on the link, 128.
    pub address: IpNet,
    /// The server, as it calls itself: over IPv4 its address, over IPv6 its DUID.
    pub server: String,
    /// Routers, over IPv4.
    pub routers: Vec<Ipv4Addr>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// MTU of the link in bytes, if the server says it.
    pub mtu: Option<u16>,
    /// For how long it is valid.
    pub lifetime: Duration,
}

impl DhcpClient {
    /// Gets a lease for a netdev, and configures the netdev by it: address, and over IPv4 default route. When this
    /// returns, the address is usable: nobody else was found to have it.
    ///
    /// # Errors
    /// [`Error::Timeout`] with what it wrote if nobody offers one in time.
    pub fn start(nic: &Nic, family: Family, timeout: Duration) -> Result<Self> {
        let Nic { namespace, interface, .. } = nic;
        if family == Family::V6 {
            // It sends from there, and does not wait for it.
            nic.link_local()?;
        }
        let file = |kind| {
            let version = family.option();
            namespace
                .lab()
                .directory()
                .join(format!("dhclient{version}-{}-{interface}.{kind}", namespace.name()))
        };
        let [config, leases, pid] = ["conf", "leases", "pid"].map(file);
        std::fs::write(&config, CONFIG).map_err(Error::io(format!("write {}", config.display())))?;
        let mut process = namespace.spawn(
            // By the loader: where AppArmor confines dhclient, it does so by the name of what is executed, to
            // files and scripts that are the system's.
            "ld.so",
            &[
                "/sbin/dhclient",
                family.option(),
                "-d",
                "-cf",
                &config.to_string_lossy(),
                "-lf",
                &leases.to_string_lossy(),
                "-pf",
                &pid.to_string_lossy(),
                // In place of a script that changes the host: what it is told is written to standard output.
                "-sf",
                "/usr/bin/env",
                interface,
            ],
        )?;
        let lease = process.wait_for_output("a lease", timeout, |output| parse(output, family))?;
        let mut lines = format!("address replace {} dev {interface}\n", lease.address);
        for router in &lease.routers {
            // Writing to a `String` cannot fail.
            let _ = writeln!(lines, "route replace default via {router}");
        }
        namespace.ip(&lines)?;
        wait_until(&format!("a usable {}", lease.address), timeout, || {
            let addresses = nic.current_addresses().map_err(|error| error.to_string())?;
            let is_usable = |address: &NicAddress| address.net == lease.address && address.is_usable();
            if addresses.iter().any(is_usable) { Ok(()) } else { Err(format!("{addresses:?}")) }
        })?;
        Ok(Self { lease, _process: process })
    }

    /// What it got.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

/// Reads the variables that dhclient-script(8) is given, of all its runs.
fn parse(output: &str, family: Family) -> Option<Lease> {
    let value = |name: &str| output.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let names = match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    };
    let address: IpAddr = value(names.address)?.parse().ok()?;
    let address = match value("new_subnet_mask") {
        Some(mask) => IpNet::with_netmask(address, mask.parse().ok()?).ok()?,
        None => address.into(),
    };
    Some(Lease {
        address,
        server: value(names.server)?.to_owned(),
        routers: list(value("new_routers")),
        dns: list(value(names.dns)),
        mtu: value("new_interface_mtu").and_then(|mtu| mtu.parse().ok()),
        lifetime: Duration::from_secs(value(names.lifetime)?.parse().ok()?),
    })
}

/// The addresses in a value.
fn list<T: FromStr>(value: Option<&str>) -> Vec<T> {
    value.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// What the variables are called that both families have.
struct Names {
    address: &'static str,
    server: &'static str,
    dns: &'static str,
    lifetime: &'static str,
}

const V4: Names = Names {
    address: "new_ip_address",
    server: "new_dhcp_server_identifier",
    dns: "new_domain_name_servers",
    lifetime: "new_dhcp_lease_time",
};

const V6: Names = Names {
    address: "new_ip6_address",
    server: "new_dhcp6_server_id",
    dns: "new_dhcp6_name_servers",
    lifetime: "new_max_life",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_lease_of_ipv4() {
        let before = "reason=PREINIT\ninterface=eth0\nrequested_routers=1\n";
        assert_eq!(parse(before, Family::V4), None);
        let output = format!(
            "{before}new_dhcp_server_identifier=198.18.2.10\nnew_domain_name_servers=198.18.2.53 198.18.2.54\n\
             new_dhcp_lease_time=3600\nnew_routers=10.1.0.1\nnew_subnet_mask=255.255.252.0\n\
             new_interface_mtu=1400\nnew_ip_address=10.1.0.177\nreason=BOUND\n"
        );
        let lease = Lease {
            address: "10.1.0.177/22".parse().unwrap(),
            server: "198.18.2.10".to_owned(),
            routers: list(Some("10.1.0.1")),
            dns: list(Some("198.18.2.53 198.18.2.54")),
            mtu: Some(1400),
            lifetime: Duration::from_secs(3600),
        };
        assert_eq!(parse(&output, Family::V4), Some(lease));
    }

    #[test]
    fn reads_a_lease_of_ipv6() {
        let output = "reason=PREINIT6\nnew_max_life=3600\nnew_preferred_life=1800\n\
                      new_ip6_address=fd00:1::1d0\nnew_ip6_prefixlen=128\nnew_dhcp6_name_servers=fd00::53\n\
                      new_dhcp6_server_id=0:1:0:1:32:93:65:7e:2:c:a9:ac:32:ec\nreason=BOUND6\n";
        let lease = Lease {
            address: "fd00:1::1d0/128".parse().unwrap(),
            server: "0:1:0:1:32:93:65:7e:2:c:a9:ac:32:ec".to_owned(),
            routers: vec![],
            dns: list(Some("fd00::53")),
            mtu: None,
            lifetime: Duration::from_secs(3600),
        };
        assert_eq!(parse(output, Family::V6), Some(lease));
    }
}
