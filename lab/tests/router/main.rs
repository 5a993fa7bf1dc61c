//! What shows how good a router is, tried on the kernel as the router in the gateway's place. Needs root.

use std::net::IpAddr;

use ipnet::IpNet;
use lab::{Endpoint, Family, Host, Lab, Overlay, OverlayLink, Topology, TopologyOptions, vni};
use wire::MacAddr;

mod dhcp;
mod paths;
mod stations;
mod storms;

const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);

/// MAC address of station number `number`.
const fn mac(number: u8) -> MacAddr {
    MacAddr([0x02, 0, 0, 1, 0, number])
}

/// Addresses of host number `number` in overlay 100.
fn addresses(number: u8) -> [IpNet; 2] {
    [format!("10.1.0.{number}/24"), format!("fd00:1::{number}/64")].map(|net| net.parse().unwrap())
}

fn address(family: Family, number: u8) -> IpAddr {
    addresses(number)[family as usize].addr()
}

/// A topology whose gateway is the kernel, with overlay 100 (10.1.0.0/24, fd00:1::/64) behind two endpoints and a host
/// behind the router.
struct World {
    topology: Topology,
    links: [OverlayLink; 2],
    outer: Host,
}

impl World {
    /// With nothing in the gateway's place that sends router advertisements.
    fn build() -> Self {
        let blocks: Vec<IpNet> = ["10.0.0.0/8", "fd00::/16"].map(|block| block.parse().unwrap()).to_vec();
        let topology = Topology::build(&Lab::new().unwrap(), &TopologyOptions::new(&blocks)).unwrap();
        let endpoints =
            [11, 12].map(|number| topology.endpoint(&format!("ep{number}"), number, Family::V4).unwrap());
        let links = [(0, 1), (1, 0)].map(|(here, there): (usize, usize)| {
            endpoints[here]
                .join(&Overlay {
                    vni: vni(100),
                    gateway: topology.gateway_vtep(Family::V4),
                    router_mac: ROUTER_MAC,
                    routers: Family::BOTH.map(|family| address(family, 1)).to_vec(),
                    remotes: vec![endpoints[there].vtep],
                })
                .unwrap()
        });
        become_router(&topology, &endpoints);
        let outer = topology.outer_host("outer1", 10).unwrap();
        Self { topology, links, outer }
    }

    /// A station with the addresses of its number.
    fn station(&self, link: usize, number: u8) -> Host {
        let name = format!("st{number}");
        self.links[link].station(&self.topology.lab, &name, mac(number), &addresses(number)).unwrap()
    }

    /// A station without addresses.
    fn client(&self, link: usize, number: u8) -> Host {
        self.links[link].client(&self.topology.lab, &format!("st{number}"), mac(number)).unwrap()
    }

    fn outer_address(&self, family: Family) -> IpAddr {
        Topology::OUTER.address(family, 10)
    }
}

/// Makes the kernel of the gateway's namespace the router of overlay 100.
fn become_router(topology: &Topology, endpoints: &[Endpoint]) {
    let gateway = &topology.gateway;
    gateway
        .ip(&format!(
            "link add vx100 address {ROUTER_MAC} mtu 1500 type vxlan id 100 local {} dstport 4789\n\
             address add 10.1.0.1/24 dev vx100\n\
             address add fd00:1::1/64 dev vx100\n\
             link set vx100 up",
            topology.gateway_vtep(Family::V4)
        ))
        .unwrap();
    for endpoint in endpoints {
        gateway.bridge(&format!("fdb append {} dev vx100 dst {}", MacAddr::ZERO, endpoint.vtep)).unwrap();
    }
    gateway.set("net.ipv4.ip_forward", "1").unwrap();
    gateway.set("net.ipv6.conf.all.forwarding", "1").unwrap();
}
