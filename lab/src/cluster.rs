//! The network around several gateways.
//!
//! ```text
//!  stations ─ endpoint ─┐               ┌─ gateway 1 ─┐
//!                       ├── underlay ───┼─ gateway 2 ─┼─── uplink ─ router ─ outer ─ outer host
//!            reflector ─┘               └─ gateway 3 ─┘
//! ```
//!
//! Reflector, endpoint and router run FRR: EVPN on the underlay, unicast of both families on the uplink. The router knows
//! no way into the overlays but what it is told by BGP, or [by hand](Cluster::route_blocks_by).

mod assignments;
mod config;
mod daemons;
mod gateway;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::frr::Frr;
use crate::namespace::Namespace;
use crate::probe::gaps::ProbeFlow;
use crate::probe::ping::Ping;
use crate::scene::{Scene, Site, Station};
use crate::segment::{Attach, Host};
use crate::state::Lab;
use crate::topology::{Family, Subnets, Topology, TopologyOptions};
use crate::wait::wait_until;

pub use self::config::Credentials;
pub use self::gateway::{ClusterGateway, Failure};

/// What may differ from one cluster to the next.
#[derive(Clone, Copy, Debug)]
pub struct ClusterOptions {
    /// How many gateways.
    pub gateways: u8,
    /// How many overlays are configured, up to 65 536: VNIs from 1.
    pub overlays: u32,
    /// How many of them have a station: the first, the last, and some evenly between.
    pub probed: u16,
    /// Interval at which reflector and router speak BFD with peers that do; three are missed until a peer is dead.
    pub bfd: Option<Duration>,
    /// Whether the gateways tell the router of the overlays' prefixes.
    pub ingress: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { gateways: 3, overlays: 100, probed: 8, bfd: None, ingress: true }
    }
}

/// Several gateways and the network around them; nothing of vxgate runs yet.
#[derive(Debug)]
pub struct Cluster {
    /// The gateways, by number.
    pub gateways: Vec<ClusterGateway>,
    /// bgpd of the reflector.
    pub reflector: Frr,
    /// bgpd of the router.
    pub upstream: Frr,
    /// bgpd of the endpoint.
    pub endpoint_daemon: Frr,
    /// Segments and router. Its gateway is number 1.
    pub topology: Topology,
    /// The endpoint that all stations are behind.
    pub endpoint: Endpoint,
    /// One for each probed overlay, in the order of VNIs.
    pub stations: Vec<Station>,
    /// A host behind the router.
    pub outer: Host,
    options: ClusterOptions,
}

impl Cluster {
    /// AS of gateways, reflector and endpoint.
    pub const ASN: u32 = 65_000;
    /// AS of the router.
    pub const UPSTREAM_ASN: u32 = 65_001;
    /// Number of the cluster.
    pub const NUMBER: u16 = 1;
    /// Number of the reflector on the underlay.
    pub const REFLECTOR: u8 = 109;
    /// Number of the endpoint on the underlay, where it tunnels over IPv4.
    pub const ENDPOINT: u8 = 111;
    /// Where shards may have their VTEP addresses, 256 a family; on the endpoint's link.
    pub const SHARD_VTEPS: [&str; 2] = ["198.18.13.0/24", "2001:db8:0:8::100/120"];
    /// Where shards may have their addresses on the uplink, 256 a family; on the router's link.
    pub const SHARD_UPLINKS: [&str; 2] = ["198.18.9.0/24", "2001:db8:0:9::100/120"];

    /// In the subnets (/22, /64) in which the addresses of shards are: such that these are ordinary ones in it.
    const BESIDE_VTEPS: Subnets = Subnets { v4: [198, 18, 12], v6: [0x2001, 0xdb8, 0, 8] };
    const BESIDE_UPLINKS: Subnets = Subnets { v4: [198, 18, 8], v6: [0x2001, 0xdb8, 0, 9] };

    /// Builds the network around gateways that are to run `binary`.
    ///
    /// # Errors
    /// Those of the pieces.
    pub fn build(binary: &Path, options: ClusterOptions) -> Result<Self> {
        let lab = Lab::new()?;
        // What leads into the overlays is for BGP to say.
        let topology = Topology::build(&lab, &TopologyOptions::new(&[]))?;
        let mut gateways = vec![ClusterGateway::new(Topology::GATEWAY, topology.gateway.clone(), binary)?];
        for number in 2..=options.gateways {
            let (namespace, _) = topology.another_gateway(&format!("gw{number}"), number)?;
            gateways.push(ClusterGateway::new(number, namespace, binary)?);
        }
        let outer = topology.outer_host("outer1", Scene::OUTER)?;
        beside(&topology.router, "uplink", Self::BESIDE_UPLINKS)?;
        let upstream = daemons::upstream(&topology.router, options.bfd)?;

        let attach = Attach { addresses: Topology::UNDERLAY.addresses(Self::REFLECTOR), ..Attach::default() };
        let reflector = topology.underlay.host(&lab, "rr", attach, &[])?;
        // Of a route whose next hop it has no way to FRR tells nobody.
        let [v4, v6] = Self::BESIDE_VTEPS.both(0);
        reflector.namespace.ip(&format!(
            "route add {v4}/22 dev {0}\nroute add {v6}/64 dev {0}\n",
            reflector.nic.interface
        ))?;
        let reflector = daemons::reflector(&reflector.namespace, options.bfd)?;

        let endpoint = topology.endpoint("ep1", Self::ENDPOINT, Family::V4)?;
        beside(&endpoint.namespace, &endpoint.nic.interface, Self::BESIDE_VTEPS)?;
        let station = |site: Site| {
            let link = endpoint.join_evpn(site.vni, &site.routers())?;
            let name = format!("station{}", site.vni);
            let host = link.station(&lab, &name, site.mac(), &site.station_addresses())?;
            Ok(Station { site, host })
        };
        let stations = probed(options).map(station).collect::<Result<_>>()?;
        let endpoint_daemon = daemons::endpoint(&endpoint.namespace)?;
        Ok(Self {
            gateways,
            reflector,
            upstream,
            endpoint_daemon,
            topology,
            endpoint,
            stations,
            outer,
            options,
        })
    }

    /// Configures a gateway, given by its number, and starts it: how long that took. `block` and `tables` are as in
    /// [`config`](Self::config).
    ///
    /// # Errors
    /// As [`Gateway::start`](crate::Gateway::start).
    ///
    /// # Panics
    /// If there is no such gateway.
    pub fn start(&mut self, number: u8, block: &str, tables: &str) -> Result<Duration> {
        self.start_with(number, &self.config(number, block, tables))
    }

    /// Starts a gateway, given by its number, with this whole configuration: how long that took.
    ///
    /// # Errors
    /// As [`Gateway::start`](crate::Gateway::start).
    ///
    /// # Panics
    /// If there is no such gateway.
    pub fn start_with(&mut self, number: u8, config: &str) -> Result<Duration> {
        let gateway = &mut self.gateway(number).gateway;
        gateway.configure(config)?;
        gateway.start()
    }

    /// Starts all gateways as members of one cluster. `session` and `keys` are as in [`membership`](Self::membership).
    ///
    /// # Errors
    /// As [`Gateway::start`](crate::Gateway::start).
    pub fn start_all(&mut self, session: Family, keys: &str) -> Result<()> {
        (1..=self.options.gateways).try_for_each(|number| {
            let membership = self.membership(number, session, keys);
            self.start(number, "", &membership).map(drop)
        })
    }

    /// The gateway with this number, to be asked.
    ///
    /// # Panics
    /// If there is none.
    pub fn member(&self, number: u8) -> &ClusterGateway {
        &self.gateways[usize::from(number) - 1]
    }

    /// The gateway with this number, to be changed.
    ///
    /// # Panics
    /// If there is none.
    pub fn gateway(&mut self, number: u8) -> &mut ClusterGateway {
        &mut self.gateways[usize::from(number) - 1]
    }

    /// Lets the router send what is for the overlays to this gateway, as long as nobody says anything more specific.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if it is not on the link.
    pub fn route_blocks_by(&self, number: u8) -> Result<()> {
        let route = |block| {
            let gateway = Topology::UPLINK.address(family_of(block), number);
            format!("route replace {block} via {gateway}\n")
        };
        self.topology.router.ip(&Scene::BLOCKS.map(route).concat())
    }

    /// Address of the outer host.
    pub fn outer_address(&self, family: Family) -> IpAddr {
        Topology::OUTER.address(family, Scene::OUTER)
    }

    /// From each station to the outer host, both families.
    pub fn egress_flows(&self) -> Vec<ProbeFlow> {
        self.flows(|station, family| ProbeFlow {
            name: format!("egress {} {family:?}", station.site.vni),
            from: station.host.namespace.clone(),
            to: self.outer.namespace.clone(),
            destination: self.outer_address(family),
        })
    }

    /// From the outer host to each station, both families.
    pub fn ingress_flows(&self) -> Vec<ProbeFlow> {
        self.flows(|station, family| ProbeFlow {
            name: format!("ingress {} {family:?}", station.site.vni),
            from: self.outer.namespace.clone(),
            to: station.host.namespace.clone(),
            destination: station.address(family),
        })
    }

    /// Waits until each station and the outer host reach each other over both families.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) with the way that is not open.
    pub fn wait_open(&self, timeout: Duration) -> Result<()> {
        for flow in self.egress_flows().into_iter().chain(self.ingress_flows()) {
            wait_until(&flow.name, timeout, || {
                let report =
                    Ping::to(flow.destination).count(1).run(&flow.from).map_err(|error| error.to_string())?;
                if report.is_complete() { Ok(()) } else { Err(format!("{report:?}")) }
            })?;
        }
        Ok(())
    }

    /// What all gateways have said so far.
    pub fn logs(&self) -> String {
        self.gateways.iter().map(|member| member.gateway.log()).collect::<Vec<_>>().join("\n\n")
    }

    fn flows(&self, flow: impl Fn(&Station, Family) -> ProbeFlow) -> Vec<ProbeFlow> {
        let both = |station| Family::BOTH.map(|family| flow(station, family));
        self.stations.iter().flat_map(both).collect()
    }
}

/// The overlays that have a station.
fn probed(options: ClusterOptions) -> impl Iterator<Item = Site> {
    let (overlays, probed) = (options.overlays, u32::from(options.probed));
    // At most 65 535, where the quotient is.
    let index =
        move |n: u32| (u64::from(n) * u64::from(overlays - 1) / u64::from((probed - 1).max(1))) as u16;
    (0..probed).map(move |n| Site::of_block(index(n)))
}

/// Puts the addresses of shards on a netdev's link.
fn beside(namespace: &Namespace, interface: &str, subnets: Subnets) -> Result<()> {
    let [v4, v6] = Family::BOTH.map(|family| subnets.address(family, 254));
    namespace.ip(&format!("address add {v4}/22 dev {interface}\naddress add {v6}/64 dev {interface}\n"))
}

fn family_of(block: &str) -> Family {
    if block.contains(':') { Family::V6 } else { Family::V4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_overlay_are_probed() {
        let vnis = |overlays, probed| {
            let sites = super::probed(ClusterOptions { overlays, probed, ..ClusterOptions::default() });
            sites.map(|site| site.vni.value()).collect::<Vec<_>>()
        };
        assert_eq!(vnis(100, 8), [1, 15, 29, 43, 57, 71, 85, 100]);
        assert_eq!((vnis(65_536, 8)[0], vnis(65_536, 8)[7]), (1, 65_536));
        assert_eq!(vnis(8, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(vnis(1, 1), [1]);
        let last = Site::of_block(u16::MAX);
        assert_eq!(
            (last.v4.to_string(), last.v6.to_string()),
            ("10.255.255.0/24".into(), "fd00:0:0:ffff::/64".into())
        );
    }
}
