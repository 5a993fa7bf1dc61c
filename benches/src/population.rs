//! Overlays and stations, computed from their index: nothing is looked up while frames are made.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use engine::offline::Pipeline;
use engine::{Config, NextHop, Overlay, Path, PortConfig, PortIndex, Role, Route, Station, Subnet, Update};
use ipnet::{Ipv4Net, Ipv6Net};
use port::{BindRequest, Polling, XdpRequest};
use wire::{MacAddr, Vni};

/// The gateway's port toward the endpoints.
pub const UNDERLAY: PortIndex = PortIndex(0);
/// Its port toward the outer network.
pub const UPLINK: PortIndex = PortIndex(1);
/// MAC address of the underlay port.
pub const UNDERLAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// MAC address of the uplink port.
pub const UPLINK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// MAC address of every overlay's router.
pub const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
/// MAC address of the router of the outer network.
pub const OUTER_ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

const VTEP_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const VTEP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const OUTER_ROUTER_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 254);
const OUTER_ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0xfe);
const BLOCK_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const BLOCK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0);

/// Endpoints that the stations are spread over, all of them endpoints of every overlay.
const ENDPOINTS: u32 = 256;
/// Largest MTU of the underlay that frames need here: 1 400 bytes and the longest encapsulation.
const UNDERLAY_MTU: u16 = 1600;

/// Address family, of inner and outer packets alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Family {
    /// The gateway's VTEP address.
    pub fn vtep(self) -> IpAddr {
        match self {
            Self::V4 => VTEP_V4.into(),
            Self::V6 => VTEP_V6.into(),
        }
    }

    /// One of 65 536 hosts of the outer network.
    pub fn outer_host(self, index: u16) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(203, 0, 0, 0).to_bits() + u32::from(index)).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, index).into(),
        }
    }
}

/// How many overlays and stations there are.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// Overlays: at most 65 536.
    pub overlays: u32,
    /// Stations of all of them together.
    pub stations: u32,
    /// The endpoints' family.
    pub underlay: Family,
}

/// One of the stations.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its overlay.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// The endpoint that it is behind.
    pub endpoint: IpAddr,
}

impl Member {
    /// Its address of the family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

impl fmt::Display for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.overlays, self.stations)
    }
}

impl Population {
    /// Bits of the host part of an overlay's IPv4 subnet: 8, or what its stations and the router need.
    fn host_bits(&self) -> u32 {
        // Beside the stations: the network, the router, and the broadcast address.
        let addresses = self.stations.div_ceil(self.overlays) + 3;
        addresses.next_power_of_two().ilog2().max(8)
    }

    fn vni(&self, overlay: u32) -> Vni {
        Vni::new(4096 + overlay).expect("fewer than 2^24 overlays, and none has VNI 0")
    }

    fn subnet_v4(&self, overlay: u32) -> u32 {
        BLOCK_V4.to_bits() + (overlay << self.host_bits())
    }

    fn subnet_v6(&self, overlay: u32) -> u128 {
        BLOCK_V6.to_bits() | u128::from(overlay) << 64
    }

    /// The `index`-th endpoint, of as many as there are.
    fn endpoint(&self, index: u32) -> IpAddr {
        let number = 0x100 + index % self.endpoints();
        match self.underlay {
            Family::V4 => Ipv4Addr::from_bits((VTEP_V4.to_bits() & 0xffff_0000) + number).into(),
            Family::V6 => Ipv6Addr::from_bits((VTEP_V6.to_bits() >> 64 << 64) + u128::from(number)).into(),
        }
    }

    fn endpoints(&self) -> u32 {
        ENDPOINTS.min(self.stations)
    }

    /// Station `index`.
    pub fn station(&self, index: u32) -> Member {
        let overlay = index % self.overlays;
        // Addresses that machines make themselves look random: so do these, and never repeat.
        let scrambled = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [a, b, c, d, e, ..] = scrambled.to_le_bytes();
        Member {
            vni: self.vni(overlay),
            mac: MacAddr([2, a, b, c, d, e]),
            v4: Ipv4Addr::from_bits(self.subnet_v4(overlay) + 2 + index / self.overlays),
            v6: Ipv6Addr::from_bits(self.subnet_v6(overlay) | u128::from(scrambled | 1 << 63)),
            endpoint: self.endpoint((scrambled >> 32) as u32),
        }
    }

    /// The gateway's configuration: the ports and the overlays, without stations.
    pub fn config(&self) -> Config {
        let port = |interface: &str, ifindex, role, addresses, mac, mtu| PortConfig {
            interface: interface.to_owned(),
            ifindex,
            role,
            addresses,
            mac,
            mtu,
            xdp: XdpRequest::Auto,
            bind: BindRequest::Auto,
        };
        let vteps = vec![VTEP_V4.into(), VTEP_V6.into()];
        let endpoints: Arc<[IpAddr]> = (0..self.endpoints()).map(|index| self.endpoint(index)).collect();
        Config {
            ports: vec![
                port("underlay0", 1, Role::Underlay, vteps.clone(), UNDERLAY_MAC, UNDERLAY_MTU),
                port(
                    "uplink0",
                    2,
                    Role::Uplink,
                    vec!["198.19.0.1".parse().expect("an address")],
                    UPLINK_MAC,
                    1500,
                ),
            ],
            vteps,
            shards: Vec::new(),
            polling: Polling::Busy,
            workers: vec![None],
            router_mac: ROUTER_MAC,
            blocks: vec![Ipv4Net::new_assert(BLOCK_V4, 8).into(), Ipv6Net::new_assert(BLOCK_V6, 16).into()],
            overlays: (0..self.overlays).map(|index| self.overlay(index, &endpoints)).collect(),
            stations: Vec::new(),
            rules: Vec::new(),
            punt_limits: engine::PuntLimits::default(),
            max_flows: engine::DEFAULT_MAX_FLOWS,
            stale_after: None,
        }
    }

    fn overlay(&self, index: u32, endpoints: &Arc<[IpAddr]>) -> Overlay {
        let (v4, v6) = (self.subnet_v4(index), self.subnet_v6(index));
        let prefix_len = (32 - self.host_bits()) as u8;
        Overlay {
            vni: self.vni(index),
            subnets: vec![
                Subnet {
                    prefix: Ipv4Net::new_assert(v4.into(), prefix_len).into(),
                    router: Ipv4Addr::from_bits(v4 + 1).into(),
                },
                Subnet {
                    prefix: Ipv6Net::new_assert(v6.into(), 64).into(),
                    router: Ipv6Addr::from_bits(v6 + 1).into(),
                },
            ],
            endpoints: Arc::clone(endpoints),
            mtu: 1500,
            owner: true,
            shard: None,
            own_mac: None,
            policy: Arc::default(),
        }
    }

    /// Stations as control gives them.
    pub fn stations(&self, indices: Range<u32>) -> Vec<Station> {
        indices
            .map(|index| {
                let Member { vni, mac, v4, v6, endpoint } = self.station(index);
                Station { vni, mac, endpoint, addresses: vec![v4.into(), v6.into()] }
            })
            .collect()
    }

    /// Routes to the outer network, and the neighbours on both sides.
    pub fn updates(&self) -> Vec<Update> {
        let routers = [(OUTER_ROUTER_V4.into(), "0.0.0.0/0"), (OUTER_ROUTER_V6.into(), "::/0")]
            .map(|(address, prefix)| (NextHop { port: UPLINK, address }, prefix));
        let routes = routers.map(|(router, prefix)| Route {
            prefix: prefix.parse().expect("a prefix"),
            paths: Arc::new([Path::via(router)]),
        });
        let hosts = vec![VTEP_V4.into(), VTEP_V6.into()];
        let mut updates = vec![Update::Routes(routes.to_vec()), Update::HostAddresses(hosts)];
        updates
            .extend(routers.map(|(next_hop, _)| Update::Neighbour { next_hop, mac: Some(OUTER_ROUTER_MAC) }));
        for index in 0..self.endpoints() {
            let address = self.endpoint(index);
            let next_hop = NextHop { port: UNDERLAY, address };
            let [_, _, a, b] = index.to_be_bytes();
            updates.push(Update::Endpoint { address, paths: Arc::new([Path::via(next_hop)]) });
            updates.push(Update::Neighbour { next_hop, mac: Some(MacAddr([2, 0, 0, 1, a, b])) });
        }
        updates
    }

    /// A gateway with all of this, ready to forward.
    pub fn gateway(&self) -> Pipeline {
        let mut gateway =
            Pipeline::new(Config { stations: self.stations(0..self.stations), ..self.config() });
        gateway.apply(self.updates());
        gateway
    }
}
