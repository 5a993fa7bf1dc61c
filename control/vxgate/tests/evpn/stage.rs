//! A gateway whose stations and endpoints come by BGP alone.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{
    Attach, Endpoint, Family, Gateway, Host, Lab, Namespace, Overlay, Ping, ROUTER_MAC, Scene, Site,
    SteadyProbe, SteadyReport, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;
use wire::MacAddr;

/// How long anything may take on a machine that others use too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Number of the route reflector on the underlay.
pub(crate) const REFLECTOR: u8 = 9;

/// Datagrams that show that a way is open.
const ENOUGH: u64 = 100;

/// MAC address of the gateway alone.
pub(crate) const OWN_MAC: &str = "02:00:5e:00:01:07";

pub(crate) struct Stage {
    pub(crate) topology: Topology,
    pub(crate) reflector: Host,
    pub(crate) outer: Host,
    pub(crate) site: Site,
    pub(crate) gateway: Gateway,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let lab = Lab::new().unwrap();
        let topology = Topology::build(&lab, &TopologyOptions::new(&Scene::blocks())).unwrap();
        let attach = Attach { addresses: Topology::UNDERLAY.addresses(REFLECTOR), ..Attach::default() };
        let reflector = topology.underlay.host(&lab, "rr", attach, &[]).unwrap();
        let outer = topology.outer_host("outer1", Scene::OUTER).unwrap();
        let gateway = Gateway::new(&topology.gateway, Path::new(env!("CARGO_BIN_EXE_vxgate")));
        Self { topology, reflector, outer, site: Site::numbered(1), gateway }
    }

    /// Starts the gateway with a session to the reflector, and more keys for that.
    pub(crate) fn start(&mut self, peer: &str) {
        self.start_with(&peer_table(
            underlay(REFLECTOR),
            &format!("hold-time = 3\nconnect-retry = 1\n{peer}"),
        ));
    }

    /// Starts the gateway with these peers.
    pub(crate) fn start_with(&mut self, peers: &str) {
        let Site { vni, v4, v6, .. } = self.site;
        let config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             [[overlay]]\nvni = {vni}\nsubnets = [\"{v4}\", \"{v6}\"]\nown-mac = \"{OWN_MAC}\"\n\n\
             [bgp]\nasn = 65000\nrouter-id = \"{}\"\ncluster-number = 1\n\n{peers}",
            Scene::BLOCKS,
            self.gateway.socket().display(),
            underlay(Topology::GATEWAY),
        );
        self.gateway.configure(&config).unwrap();
        self.gateway.start().unwrap();
    }

    /// An endpoint over IPv4 whose kernel a routing daemon tells of others, with its bridge in the overlay.
    pub(crate) fn endpoint(&self, name: &str, number: u8) -> (Endpoint, lab::OverlayLink) {
        let endpoint = self.topology.endpoint(name, number, Family::V4).unwrap();
        let link = endpoint.join_evpn(self.site.vni, &self.site.routers()).unwrap();
        (endpoint, link)
    }

    /// An endpoint that no routing daemon tells of others: its kernel is told by hand where the gateway is.
    pub(crate) fn static_endpoint(
        &self,
        name: &str,
        number: u8,
        family: Family,
    ) -> (Endpoint, lab::OverlayLink) {
        let endpoint = self.topology.endpoint(name, number, family).unwrap();
        let overlay = Overlay {
            vni: self.site.vni,
            gateway: self.topology.gateway_vtep(family),
            router_mac: ROUTER_MAC,
            routers: self.site.routers().to_vec(),
            remotes: Vec::new(),
        };
        let link = endpoint.join(&overlay).unwrap();
        (endpoint, link)
    }

    /// A station with addresses of both families in the overlay.
    pub(crate) fn station(&self, link: &lab::OverlayLink, mac: MacAddr, number: u8) -> Host {
        let addresses = Family::BOTH.map(|family| {
            let length = if family == Family::V4 { 24 } else { 64 };
            ipnet::IpNet::new_assert(self.site.address(family, number), length)
        });
        link.station(&self.topology.lab, &format!("station{number}"), mac, &addresses).unwrap()
    }

    pub(crate) fn outer_address(&self, family: Family) -> IpAddr {
        Topology::OUTER.address(family, Scene::OUTER)
    }

    /// Waits until the gateway knows the station behind this endpoint.
    pub(crate) fn wait_station(&self, mac: MacAddr, endpoint: IpAddr) {
        wait_until(&format!("{mac} behind {endpoint}"), PATIENCE, || {
            let stations = self.gateway.show("stations").unwrap();
            let is_there =
                |row: &&Value| row["mac"] == mac.to_string() && row["endpoint"] == endpoint.to_string();
            let found = stations.as_array().unwrap().iter().any(|row| is_there(&row));
            if found { Ok(()) } else { Err(stations.to_string()) }
        })
        .unwrap();
    }

    pub(crate) fn wait_no_stations(&self) {
        wait_until("no stations", PATIENCE, || {
            let stations = self.gateway.show("stations").unwrap();
            if stations.as_array().unwrap().is_empty() { Ok(()) } else { Err(stations.to_string()) }
        })
        .unwrap();
    }

    /// Waits until the station and the outer host reach each other over both families, whoever begins.
    pub(crate) fn wait_pings(&self, station: &Host, number: u8) {
        for family in Family::BOTH {
            let (inside, outside) = (&station.namespace, &self.outer.namespace);
            wait_ping(inside, self.outer_address(family));
            wait_ping(outside, self.site.address(family, number));
        }
    }
}

/// A `[[bgp.peer]]` in the gateway's own AS, with more keys.
pub(crate) fn peer_table(address: IpAddr, keys: &str) -> String {
    format!("[[bgp.peer]]\naddress = \"{address}\"\nremote-asn = 65000\n{keys}\n\n")
}

/// Streams of datagrams between a station and the outer host: both families, both ways.
pub(crate) struct Streams(Vec<SteadyProbe>);

impl Streams {
    pub(crate) fn start(stage: &Stage, station: &Host, number: u8, interval: Duration) -> Self {
        let mut probes = Vec::new();
        for family in Family::BOTH {
            let (inside, outside) = (&station.namespace, &stage.outer.namespace);
            let (near, far) = (stage.site.address(family, number), stage.outer_address(family));
            probes.push(SteadyProbe::start(inside, outside, far, interval).unwrap());
            probes.push(SteadyProbe::start(outside, inside, near, interval).unwrap());
        }
        Self(probes)
    }

    /// Waits until datagrams have come on all ways.
    pub(crate) fn wait(&self) {
        let before: Vec<u64> = self.0.iter().map(SteadyProbe::received).collect();
        wait_until("datagrams on all ways", PATIENCE, || {
            let now: Vec<u64> = self.0.iter().map(SteadyProbe::received).collect();
            let all = now.iter().zip(&before).all(|(now, before)| *now >= before + ENOUGH);
            if all { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
        })
        .unwrap();
    }

    pub(crate) fn stop(self) -> Vec<SteadyReport> {
        self.0.into_iter().map(|probe| probe.stop().unwrap()).collect()
    }
}

/// The IPv4 address of a host on the underlay.
pub(crate) fn underlay(number: u8) -> IpAddr {
    Topology::UNDERLAY.address(Family::V4, number)
}

fn wait_ping(from: &Namespace, to: IpAddr) {
    wait_until(&format!("echo replies from {to}"), PATIENCE, || {
        let report = Ping::to(to).run(from).unwrap();
        if report.is_complete() { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();
}
