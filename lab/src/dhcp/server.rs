//! A DHCP server, by dnsmasq(8).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::process::Process;

/// How long it may take to open its sockets.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of one subnet that a server leases, for an hour each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpPool {
    /// The first.
    pub first: IpAddr,
    /// The last, of the same family.
    pub last: IpAddr,
    /// Prefix length of the subnet.
    pub prefix_len: u8,
    /// A router for its clients; DHCPv6 has no such option.
    pub router: Option<Ipv4Addr>,
    /// A DNS server for its clients, of the same family.
    pub dns: Option<IpAddr>,
}

/// A server for both families, ended when dropped. It answers clients on its own links, and relays: with an address
/// of the subnet in which `giaddr` (RFC 2131 §4.3.1) or the link-address (RFC 8415 §19.1.1) lies.
#[derive(Debug)]
pub struct DhcpServer {
    process: Process,
}

impl DhcpServer {
    /// Starts a server on all links of a namespace; when this returns, it listens.
    ///
    /// # Errors
    /// [`Error::Ended`](crate::Error::Ended) with what it wrote if it refuses the pools.
    pub fn start(namespace: &Namespace, pools: &[DhcpPool]) -> Result<Self> {
        let leases = namespace.lab().directory().join(format!("dnsmasq-{}.leases", namespace.name()));
        let mut arguments: Vec<String> = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--log-facility=-",
            "--log-dhcp",
            // DHCP alone, no DNS.
            "--port=0",
            "--dhcp-authoritative",
            // It would ping an address for three seconds before it leases it.
            "--no-ping",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--dhcp-leasefile={}", leases.display()));
        arguments.extend(pools.iter().enumerate().flat_map(|(number, pool)| pool.arguments(number)));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = namespace.spawn("dnsmasq", &arguments)?;
        // Logged when all sockets are open.
        process
            .wait_for_output("its sockets", START_TIMEOUT, |output| output.contains("started, version"))?;
        Ok(Self { process })
    }

    /// What it logged: every message that it got and sent, with the options.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl DhcpPool {
    /// Options of the command line; `number` tells pools apart.
    fn arguments(&self, number: usize) -> Vec<String> {
        let Self { first, last, prefix_len, router, dns } = self;
        let subnet = match first {
            // Must be said where the subnet is not the server's own.
            IpAddr::V4(_) => {
                Ipv4Addr::from_bits(u32::MAX.unbounded_shl(32 - u32::from(*prefix_len))).to_string()
            }
            IpAddr::V6(_) => prefix_len.to_string(),
        };
        let mut arguments = vec![format!("--dhcp-range=set:pool{number},{first},{last},{subnet},1h")];
        let options = [
            router.map(|router| format!("option:router,{router}")),
            dns.map(|dns| match dns {
                IpAddr::V4(dns) => format!("option:dns-server,{dns}"),
                IpAddr::V6(dns) => format!("option6:dns-server,[{dns}]"),
            }),
        ];
        let options = options.into_iter().flatten();
        arguments.extend(options.map(|option| format!("--dhcp-option=tag:pool{number},{option}")));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_says_its_subnet_and_options() {
        let v4 = DhcpPool {
            first: "10.1.0.100".parse().unwrap(),
            last: "10.1.0.199".parse().unwrap(),
            prefix_len: 22,
            router: Some("10.1.0.1".parse().unwrap()),
            dns: None,
        };
        assert_eq!(
            v4.arguments(0),
            [
                "--dhcp-range=set:pool0,10.1.0.100,10.1.0.199,255.255.252.0,1h",
                "--dhcp-option=tag:pool0,option:router,10.1.0.1"
            ]
        );
        let v6 = DhcpPool {
            first: "fd00:1::100".parse().unwrap(),
            last: "fd00:1::1ff".parse().unwrap(),
            prefix_len: 64,
            router: None,
            dns: Some("fd00::53".parse().unwrap()),
        };
        assert_eq!(
            v6.arguments(7),
            [
                "--dhcp-range=set:pool7,fd00:1::100,fd00:1::1ff,64,1h",
                "--dhcp-option=tag:pool7,option6:dns-server,[fd00::53]"
            ]
        );
    }
}
