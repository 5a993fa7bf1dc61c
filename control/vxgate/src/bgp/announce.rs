//! What the gateway announces of its overlays.

use std::net::IpAddr;

use engine::Config;
use evpn::{Reach, Speaker};
use wire::{MacAddr, Vni};

/// An overlay, as far as it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    vni: Vni,
    own_mac: Option<MacAddr>,
    /// The router's addresses in its subnets.
    routers: Vec<IpAddr>,
    /// The router is announced from the beginning: this gateway is the owner by its configuration, or the overlay is in a shard.
    with_router: bool,
    /// VTEP addresses of its shard, IPv4 first: every gateway of the cluster announces the router behind them, always and in the
    /// same bytes, so that no route changes when another has them. Empty: it is in no shard.
    shard: Vec<IpAddr>,
}

/// What is the same in all overlays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    router_mac: MacAddr,
    /// At most one a family, IPv4 first.
    vteps: Vec<IpAddr>,
}

impl Common {
    /// Where this gateway is: IPv4 if it has that.
    pub(super) fn vtep(&self) -> Option<IpAddr> {
        self.vteps.first().copied()
    }
}

/// All of it.
pub(super) fn of(config: &Config) -> (Common, Vec<Announced>) {
    let mut vteps = config.vteps.clone();
    vteps.sort_unstable();
    let announced = |overlay: &engine::Overlay| Announced {
        vni: overlay.vni,
        own_mac: overlay.own_mac,
        routers: overlay.subnets.iter().map(|subnet| subnet.router).collect(),
        with_router: overlay.owner || overlay.shard.is_some(),
        shard: overlay
            .shard
            .and_then(|shard| config.shards.get(usize::from(shard)))
            .map(|shard| shard.vteps().collect())
            .unwrap_or_default(),
    };
    let common = Common { router_mac: config.router_mac, vteps };
    (common, config.overlays.iter().map(announced).collect())
}

impl Announced {
    /// Tells the speaker what the gateway announces from the beginning.
    pub(super) fn announce(&self, common: &Common, speaker: &mut Speaker) {
        // Of a shard's overlay only the owner is to have what is flooded.
        for &vtep in if self.shard.is_empty() { &common.vteps } else { &self.shard } {
            speaker.join_flood(self.vni, vtep);
        }
        self.reaches(common).iter().for_each(|reach| speaker.reach(reach));
    }

    /// Announces the router at this gateway, with a mobility sequence.
    pub(super) fn take(&self, sequence: u32, common: &Common, speaker: &mut Speaker) {
        self.of_router(sequence, common).for_each(|reach| speaker.reach(&reach));
    }

    /// Withdraws the router, and nothing else.
    pub(super) fn release(&self, common: &Common, speaker: &mut Speaker) {
        self.of_router(0, common).for_each(|reach| speaker.unreach(reach.vni, reach.mac, reach.ip));
    }

    /// MAC addresses of the gateway, each with and without its IP addresses.
    fn reaches(&self, common: &Common) -> Vec<Reach> {
        let own = self.own_mac.zip(common.vteps.first());
        let own = own.map(|(mac, &endpoint)| self.reach(mac, None, endpoint, 0));
        let of_router = self.of_router(0, common).filter(|_| self.with_router);
        own.into_iter().chain(of_router).collect()
    }

    /// The router's MAC address, with and without its IP addresses. One route has one next hop: the IPv4 VTEP address if there
    /// is one, which every endpoint of these days can take.
    fn of_router(&self, sequence: u32, common: &Common) -> impl Iterator<Item = Reach> {
        let mac = common.router_mac;
        let addresses = self.routers.iter().copied().chain([IpAddr::V6(mac.link_local())]);
        let addresses = [None].into_iter().chain(addresses.map(Some));
        let endpoint = self.shard.first().or(common.vteps.first()).copied();
        addresses.filter_map(move |ip| Some(self.reach(mac, ip, endpoint?, sequence)))
    }

    fn reach(&self, mac: MacAddr, ip: Option<IpAddr>, endpoint: IpAddr, sequence: u32) -> Reach {
        Reach {
            vni: self.vni,
            mac,
            ip,
            endpoint,
            sequence,
            sticky: false,
            // Everything of the gateway's is a router's: endpoints must not take it for a station that moved here.
            default_gateway: true,
            router: ip.is_some(),
            local_pref: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
    const OWN: MacAddr = MacAddr([2, 0, 0x5e, 0, 1, 7]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_owner_announces_the_router_and_all_gateways_themselves() {
        let common = Common { router_mac: SHARED, vteps: vec![ip("198.18.0.1"), ip("2001:db8::1")] };
        let vni = Vni::new(100).unwrap();
        let routers = vec![ip("10.0.1.1"), ip("fd00::1")];
        let owner = Announced { vni, own_mac: Some(OWN), routers, with_router: true, shard: Vec::new() };
        let told: Vec<_> =
            owner.reaches(&common).iter().map(|reach| (reach.mac, reach.ip, reach.router)).collect();
        let expected = [
            (OWN, None, false),
            (SHARED, None, false),
            (SHARED, Some(ip("10.0.1.1")), true),
            (SHARED, Some(ip("fd00::1")), true),
            (SHARED, Some(ip("fe80::5eff:fe00:1")), true),
        ];
        assert_eq!(told, expected);
        assert!(owner.reaches(&common).iter().all(|r| r.endpoint == ip("198.18.0.1") && r.default_gateway));
        let taken: Vec<_> = owner.of_router(7, &common).collect();
        assert_eq!(
            taken.iter().map(|reach| reach.ip).collect::<Vec<_>>(),
            expected.map(|(_, ip, _)| ip)[1..]
        );
        assert!(taken.iter().all(|reach| reach.sequence == 7 && reach.mac == SHARED));
        let other = Announced { with_router: false, ..owner };
        assert_eq!(other.reaches(&common).len(), 1);
        let v6_only = Common { vteps: vec![ip("2001:db8::1")], ..common };
        assert_eq!(other.reaches(&v6_only)[0].endpoint, ip("2001:db8::1"));
    }

    #[test]
    fn gateways_announce_a_shard_alike_and_themselves_apart() {
        let vni = Vni::new(100).unwrap();
        let of = |vtep: &str, own_mac| {
            let common = Common { router_mac: SHARED, vteps: vec![ip(vtep)] };
            let routers = vec![ip("10.0.1.1")];
            let shard = vec![ip("198.18.0.101"), ip("2001:db8::101")];
            Announced { vni, own_mac: Some(own_mac), routers, with_router: true, shard }.reaches(&common)
        };
        let (one, other) = (of("198.18.0.1", OWN), of("198.18.0.2", MacAddr([2, 0, 0x5e, 0, 1, 8])));
        assert_eq!(one[1..], other[1..]);
        assert_eq!(one.len(), 4);
        assert!(one[1..].iter().all(|reach| reach.endpoint == ip("198.18.0.101")));
        assert_eq!([one[0].endpoint, other[0].endpoint], [ip("198.18.0.1"), ip("198.18.0.2")]);
    }
}
