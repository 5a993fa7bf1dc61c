//! Routes toward the outer network.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::lpm::Lpm;
use super::way::Way;

/// The routes.
#[derive(Debug)]
pub(crate) struct Fib(Lpm<Way>);

impl Fib {
    /// Routes, and the prefixes that are local whatever routes say of them.
    pub(crate) fn build(routes: &[(IpNet, Way)], local: &[IpNet]) -> Self {
        // A longer prefix would win the look-up: what lies inside a local prefix is left out.
        let is_local = |prefix: &IpNet| local.iter().any(|local| local.contains(prefix));
        let routes = routes.iter().filter(|(prefix, _)| !is_local(prefix)).cloned();
        Self(Lpm::build(routes.chain(local.iter().map(|prefix| (*prefix, Way::Local)))))
    }

    #[inline(always)]
    pub(crate) fn lookup(&self, destination: IpAddr) -> Option<&Way> {
        self.0.lookup(destination)
    }
}

/// Prefixes that no router forwards to: this network, loopback, link-local, multicast, reserved and broadcast
/// (RFC 6890, RFC 4291 §2.5 to 2.7).
pub(crate) fn never_forwarded() -> impl Iterator<Item = IpNet> {
    let v4 = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([224, 0, 0, 0], 3)];
    let v6 = [
        ([0, 0, 0, 0, 0, 0, 0, 0], 127),
        ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    ];
    let v4 = v4.into_iter().map(|(address, len)| IpNet::V4(Ipv4Net::new_assert(address.into(), len)));
    v4.chain(v6.into_iter().map(|(address, len)| IpNet::V6(Ipv6Net::new_assert(address.into(), len))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PortIndex;
    use crate::pipeline::ip;

    #[test]
    fn routes_into_what_is_local_do_not_count() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let routes = [
            (net("0.0.0.0/0"), Way::OnLink(PortIndex(1))),
            (net("10.1.0.0/16"), Way::OnLink(PortIndex(1))),
            (net("198.18.1.1/32"), Way::OnLink(PortIndex(1))),
            (net("8.0.0.0/6"), Way::Reject),
        ];
        let fib = Fib::build(&routes, &[net("10.0.0.0/8"), net("198.18.1.1/32")]);
        for local in ["10.1.2.3", "10.255.255.255", "198.18.1.1"] {
            assert!(matches!(fib.lookup(local.parse().unwrap()), Some(Way::Local)), "{local}");
        }
        assert!(matches!(fib.lookup("11.0.0.0".parse().unwrap()), Some(Way::Reject)));
        assert!(matches!(fib.lookup("198.18.1.2".parse().unwrap()), Some(Way::OnLink(_))));
        assert!(fib.lookup("2001:db8::1".parse().unwrap()).is_none());
    }

    /// The table and the predicates must say the same: the table decides, the predicates name the reason.
    #[test]
    fn what_is_never_forwarded_is_so_for_both() {
        let never = Lpm::build(never_forwarded().map(|prefix| (prefix, ())));
        let edges = never_forwarded().flat_map(|prefix| [prefix.network(), prefix.broadcast()]);
        let others = [
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "223.255.255.255",
            "::2",
            "::fffe:ffff:ffff",
            "::1:0:0:0",
            "fe7f::",
            "fec0::",
            "feff::",
            "2001:db8::1",
        ]
        .map(|text| text.parse().unwrap());
        for address in edges.chain(others) {
            let forwardable = ip::is_forwardable_destination(address) && !ip::is_link_local(address);
            assert_eq!(never.lookup(address).is_none(), forwardable, "{address}");
        }
    }
}
