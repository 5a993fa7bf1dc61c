//! A gateway whose stations and endpoints come by BGP alone.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{Attach, Endpoint, Family, Gateway, Host, Lab, Namespace, Ping, ROUTER_MAC, Scene, Site, Topology};
use lab::{TopologyOptions, wait_until};
use serde_json::Value;
use wire::MacAddr;

/// How long anything may take on a machine that others use too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Number of the route reflector on the underlay.
pub(crate) const REFLECTOR: u8 = 9;

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
        let Site { vni, v4, v6, .. } = self.site;
        let config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             [[overlay]]\nvni = {vni}\nsubnets = [\"{v4}\", \"{v6}\"]\nown-mac = \"{OWN_MAC}\"\n\n\
             [bgp]\nasn = 65000\nrouter-id = \"{}\"\ncluster-number = 1\n\n\
             [[bgp.peer]]\naddress = \"{}\"\nremote-asn = 65000\nhold-time = 3\nconnect-retry = 1\n{peer}\n",
            Scene::BLOCKS,
            self.gateway.socket().display(),
            underlay(Topology::GATEWAY),
            underlay(REFLECTOR),
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
