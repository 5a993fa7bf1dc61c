//! The scene that the demo and most tests play on: a gateway between two endpoints, one over IPv4 and one over IPv6,
//! and an outer network; overlays with a station each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::{MacAddr, Vni};

use crate::endpoint::{Endpoint, Overlay, OverlayLink};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::segment::Host;
use crate::state::Lab;
use crate::topology::{Family, Topology, TopologyOptions};

/// MAC address of every overlay's router.
pub const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 0, 1]);

/// An overlay of the scene: its first host address is the router's, its tenth the station's.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Its VNI.
    pub vni: Vni,
    /// Its IPv4 subnet.
    pub v4: Ipv4Net,
    /// Its IPv6 subnet.
    pub v6: Ipv6Net,
    /// The family of the endpoint that its station is behind.
    pub endpoint: Family,
}

impl Site {
    /// Overlay `number`: VNI 100 + `number`, 10.0.`number`.0/24 and fd00:0:0:`number`::/64; the station of an odd one
    /// is behind the endpoint over IPv4, of an even one behind that over IPv6.
    pub fn numbered(number: u8) -> Self {
        let endpoint = if number % 2 == 1 { Family::V4 } else { Family::V6 };
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, number, 0), 24);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, 0), 64);
        Self { vni: vni(100 + u32::from(number)), v4, v6, endpoint }
    }

    /// Overlay `index` of a block that fills 10.0.0.0/8 with subnets of /24 and fd00::/48 with such of /64: VNI `index` + 1.
    /// The endpoint is over IPv4.
    pub fn of_block(index: u16) -> Self {
        let [high, low] = index.to_be_bytes();
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, high, low, 0), 24);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, index, 0, 0, 0, 0), 64);
        Self { vni: vni(u32::from(index) + 1), v4, v6, endpoint: Family::V4 }
    }

    /// The router's addresses.
    pub fn routers(&self) -> [IpAddr; 2] {
        [self.address(Family::V4, 1), self.address(Family::V6, 1)]
    }

    /// The `number`th address of a family.
    pub fn address(&self, family: Family, number: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from_bits(self.v4.addr().to_bits() + u32::from(number)).into(),
            Family::V6 => Ipv6Addr::from_bits(self.v6.addr().to_bits() + u128::from(number)).into(),
        }
    }

    /// MAC address of its station.
    pub fn mac(&self) -> MacAddr {
        let [_, a, b, c] = self.vni.value().to_be_bytes();
        MacAddr([0x02, 0, 1, a, b, c])
    }

    /// Addresses of its station, with the subnets' prefix lengths.
    pub fn station_addresses(&self) -> [IpNet; 2] {
        let net = |family, len| IpNet::new_assert(self.address(family, Scene::STATION), len);
        [net(Family::V4, self.v4.prefix_len()), net(Family::V6, self.v6.prefix_len())]
    }
}

/// A station and the overlay that it is in.
#[derive(Clone, Debug)]
pub struct Station {
    /// The overlay.
    pub site: Site,
    /// The host.
    pub host: Host,
}

impl Station {
    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        self.site.address(family, Scene::STATION)
    }
}

/// The scene.
#[derive(Debug)]
pub struct Scene {
    /// Gateway namespace, segments, router.
    pub topology: Topology,
    /// The endpoint over IPv4 and the one over IPv6.
    pub endpoints: [Endpoint; 2],
    /// One for each overlay.
    pub stations: Vec<Station>,
    /// What each of them is attached to, in the same order: for more stations behind the same endpoint.
    pub links: Vec<OverlayLink>,
    /// A host behind the router.
    pub outer: Host,
    /// A host on the uplink itself.
    pub neighbour: Host,
    /// The gateway; not started.
    pub gateway: Gateway,
}

impl Scene {
    /// Blocks of the overlays' prefixes.
    pub const BLOCKS: [&str; 2] = ["10.0.0.0/8", "fd00::/16"];
    /// Number of the station in its overlay's subnets.
    pub const STATION: u8 = 10;
    /// Number of the outer host in its subnets.
    pub const OUTER: u8 = 10;
    /// Number of the neighbour in the uplink's subnets.
    pub const NEIGHBOUR: u8 = 20;
    /// Numbers of the endpoints on the underlay: over IPv4, over IPv6.
    pub const ENDPOINTS: [u8; 2] = [11, 12];

    /// The blocks, to make [`TopologyOptions`] with.
    pub fn blocks() -> Vec<IpNet> {
        Self::BLOCKS.iter().filter_map(|block| block.parse().ok()).collect()
    }

    /// Builds the scene around `binary`, which is not started.
    ///
    /// # Errors
    /// Those of the pieces.
    pub fn build(binary: &Path, options: &TopologyOptions, sites: &[Site]) -> Result<Self> {
        let lab = Lab::new()?;
        let topology = Topology::build(&lab, options)?;
        let [v4, v6] = Self::ENDPOINTS;
        let endpoints =
            [topology.endpoint("ep-v4", v4, Family::V4)?, topology.endpoint("ep-v6", v6, Family::V6)?];
        let station = |site: &Site| {
            let link = join(&topology, &endpoints, site, site.endpoint)?;
            let name = format!("station{}", site.vni);
            let host = link.station(&lab, &name, site.mac(), &site.station_addresses())?;
            Ok((Station { site: *site, host }, link))
        };
        let (stations, links) = sites.iter().map(station).collect::<Result<_>>()?;
        let outer = topology.outer_host("outer1", Self::OUTER)?;
        let neighbour = topology.uplink_host("neighbour", Self::NEIGHBOUR)?;
        let gateway = Gateway::new(&topology.gateway, binary);
        Ok(Self { topology, endpoints, stations, links, outer, neighbour, gateway })
    }

    /// Lets the endpoint of a family join an overlay, beside the one that its station is behind: for more stations,
    /// or for one that [roams](OverlayLink::roam).
    ///
    /// # Errors
    /// As [`Endpoint::join`].
    pub fn join(&self, site: &Site, endpoint: Family) -> Result<OverlayLink> {
        join(&self.topology, &self.endpoints, site, endpoint)
    }

    /// Starts the gateway with the scene's overlays, and waits until it is ready: how long that took.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start(&mut self) -> Result<Duration> {
        self.gateway.configure(&self.config(&self.overlays()))?;
        self.gateway.start()
    }

    /// Address of the outer host.
    pub fn outer_address(&self, family: Family) -> IpAddr {
        Topology::OUTER.address(family, Self::OUTER)
    }

    /// A whole configuration: the gateway, its ports, `overlays` (TOML), and the scene's stations.
    pub fn config(&self, overlays: &str) -> String {
        let mut config = self.base_config() + overlays;
        for Station { site, host } in &self.stations {
            let addresses = Family::BOTH.map(|family| site.address(family, Self::STATION));
            config += "\n";
            config += &self.station_table(site, host.nic.mac, site.endpoint, &addresses);
        }
        config
    }

    /// The tables `[gateway]` and `[[port]]`, to be followed by those that there is something to route between.
    pub fn base_config(&self) -> String {
        let has_second = self.topology.second_links.is_some();
        let vteps = Family::BOTH.map(|family| self.topology.gateway_vtep(family).to_string());
        let vtep = if has_second { format!("vtep = {vteps:?}\n") } else { String::new() };
        let port = |interface, role| format!("[[port]]\ninterface = \"{interface}\"\nrole = \"{role}\"\n\n");
        let mut config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\n{vtep}socket = \"{}\"\n\
             polling = \"adaptive\"\n\n",
            Self::BLOCKS,
            self.gateway.socket().display(),
        );
        config += &(port("underlay0", "underlay") + &port("uplink0", "uplink"));
        if has_second {
            config += &(port("underlay1", "underlay") + &port("uplink1", "uplink"));
        }
        config
    }

    /// The scene's overlays one by one, as TOML for [`config`](Self::config).
    pub fn overlays(&self) -> String {
        self.stations
            .iter()
            .map(|Station { site, .. }| self.overlay_table(site, &[site.endpoint], ""))
            .collect()
    }

    /// A table `[[overlay]]` with the endpoints of these families, and more `keys`, a line each.
    pub fn overlay_table(&self, site: &Site, endpoints: &[Family], keys: &str) -> String {
        let vteps: Vec<String> = endpoints.iter().map(|family| self.vtep(*family).to_string()).collect();
        let Site { vni, v4, v6, .. } = site;
        format!("[[overlay]]\nvni = {vni}\nsubnets = [\"{v4}\", \"{v6}\"]\nendpoints = {vteps:?}\n{keys}\n\n")
    }

    /// A table `[[station]]`; addresses that it does not name are learned.
    pub fn station_table(&self, site: &Site, mac: MacAddr, endpoint: Family, addresses: &[IpAddr]) -> String {
        let vtep = self.vtep(endpoint);
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        format!(
            "[[station]]\nvni = {}\nmac = \"{mac}\"\nendpoint = \"{vtep}\"\naddresses = {addresses:?}\n",
            site.vni
        )
    }

    fn vtep(&self, endpoint: Family) -> IpAddr {
        self.endpoints[endpoint as usize].vtep
    }
}

fn join(
    topology: &Topology,
    endpoints: &[Endpoint; 2],
    site: &Site,
    endpoint: Family,
) -> Result<OverlayLink> {
    endpoints[endpoint as usize].join(&Overlay {
        vni: site.vni,
        gateway: topology.gateway_vtep(endpoint),
        router_mac: ROUTER_MAC,
        routers: site.routers().to_vec(),
        remotes: Vec::new(),
    })
}

/// A VNI that is known to be one.
///
/// # Panics
/// If it is not.
pub fn vni(number: u32) -> Vni {
    Vni::new(number).expect("a VNI is 1 to 16 777 215")
}
