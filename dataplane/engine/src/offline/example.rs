//! A small gateway for tests and fuzzers: two overlays, an endpoint of each family, one router.

use std::sync::Arc;

use port::{BindRequest, Polling, XdpRequest};
use wire::{MacAddr, Vni};

use crate::api::*;

pub(crate) const UNDERLAY: PortIndex = PortIndex(0);
pub(crate) const UPLINK: PortIndex = PortIndex(1);
pub(crate) const UNDERLAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const UPLINK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const ENDPOINT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
pub(crate) const OUTER_ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
pub(crate) const STATION_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub(crate) const OTHER_STATION_MAC: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);

pub(crate) const ENDPOINT_V4: &str = "198.18.0.11";
pub(crate) const ENDPOINT_V6: &str = "2001:db8:0:1::12";

pub(crate) fn config() -> Config {
    let port = |interface: &str, ifindex, role, addresses: [&str; 2], mac, mtu| PortConfig {
        interface: interface.to_owned(),
        ifindex,
        role,
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
        mac,
        mtu,
        xdp: XdpRequest::Auto,
        bind: BindRequest::Auto,
    };
    Config {
        ports: vec![
            port("underlay0", 1, Role::Underlay, ["198.18.0.1", "2001:db8:0:1::1"], UNDERLAY_MAC, 1600),
            port("uplink0", 2, Role::Uplink, ["198.18.1.1", "2001:db8:0:2::1"], UPLINK_MAC, 1500),
        ],
        vteps: ["198.18.0.1", "2001:db8:0:1::1"].map(|address| address.parse().unwrap()).to_vec(),
        shards: Vec::new(),
        polling: Polling::Busy,
        workers: vec![None],
        router_mac: ROUTER_MAC,
        blocks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
        overlays: vec![
            overlay(100, ["10.0.1.0/24", "fd00:0:0:1::/64"], &[ENDPOINT_V4, ENDPOINT_V6]),
            overlay(200, ["10.0.2.0/24", "fd00:0:0:2::/64"], &[ENDPOINT_V6]),
        ],
        stations: vec![
            station(100, STATION_MAC, ENDPOINT_V4, ["10.0.1.10", "fd00:0:0:1::10"]),
            station(200, OTHER_STATION_MAC, ENDPOINT_V6, ["10.0.2.10", "fd00:0:0:2::10"]),
        ],
        rules: Vec::new(),
        punt_limits: PuntLimits::default(),
        max_flows: 1000,
        stale_after: None,
    }
}

fn overlay(vni: u32, prefixes: [&str; 2], endpoints: &[&str]) -> Overlay {
    let subnets = prefixes.map(|prefix| {
        let prefix: ipnet::IpNet = prefix.parse().unwrap();
        Subnet { prefix, router: prefix.hosts().find(|host| *host != prefix.network()).unwrap() }
    });
    Overlay {
        vni: Vni::new(vni).unwrap(),
        subnets: subnets.to_vec(),
        endpoints: endpoints.iter().map(|address| address.parse().unwrap()).collect::<Arc<[_]>>(),
        mtu: 1500,
        owner: true,
        shard: None,
        own_mac: None,
        policy: Arc::default(),
    }
}

fn station(vni: u32, mac: MacAddr, endpoint: &str, addresses: [&str; 2]) -> Station {
    Station {
        vni: Vni::new(vni).unwrap(),
        mac,
        endpoint: endpoint.parse().unwrap(),
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
    }
}

/// What control says once routes and neighbours are known.
pub(crate) fn updates() -> Vec<Update> {
    let hop = |port, address: &str| NextHop { port, address: address.parse().unwrap() };
    let via = |prefix: &str, address| Route {
        prefix: prefix.parse().unwrap(),
        paths: Arc::new([Path::via(hop(UPLINK, address))]),
    };
    let on_link =
        |prefix: &str| Route { prefix: prefix.parse().unwrap(), paths: Arc::new([Path::on_link(UPLINK)]) };
    let mut updates = vec![
        Update::Routes(vec![
            via("0.0.0.0/0", "198.18.1.254"),
            via("::/0", "2001:db8:0:2::fe"),
            on_link("198.18.1.0/24"),
            on_link("2001:db8:0:2::/64"),
            Route { prefix: "198.18.0.0/24".parse().unwrap(), paths: Arc::default() },
        ]),
        Update::HostAddresses(
            ["198.18.0.1", "198.18.1.1", "2001:db8:0:2::1", "192.0.2.1"].map(|a| a.parse().unwrap()).to_vec(),
        ),
    ];
    for address in [ENDPOINT_V4, ENDPOINT_V6] {
        let next_hop = hop(UNDERLAY, address);
        updates.push(Update::Endpoint { address: next_hop.address, paths: Arc::new([Path::via(next_hop)]) });
        updates.push(Update::Neighbour { next_hop, mac: Some(ENDPOINT_MAC) });
    }
    for address in ["198.18.1.254", "2001:db8:0:2::fe"] {
        updates.push(Update::Neighbour { next_hop: hop(UPLINK, address), mac: Some(OUTER_ROUTER_MAC) });
    }
    updates
}
