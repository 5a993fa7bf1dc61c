//! A gateway between a namespace that plays all endpoints and one on the uplink; what is sent between the two.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lab::{
    Endpoint, Family, Gateway, Host, Lab, ROUTER_MAC, Scene, Site, Topology, TopologyOptions, wait_until,
};
use pktgen::profile::{Limit, Profile, Rate};
use pktgen::receive::{MeterOptions, ReceiverOptions};
use pktgen::report::Report;
use pktgen::run::{RunOptions, run_between};
use pktgen::send;
use port::{BindRequest, Polling};
use wire::MacAddr;

/// Overlays, alternately behind an endpoint over IPv4 and one over IPv6.
pub(crate) const OVERLAYS: u8 = 4;
/// Packets a second: so few that a ring holds those of seconds in which a busy machine does something else.
const RATE: f64 = 1000.0;
/// How long next hops may take to be resolved.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From stations to the outer network.
    Egress,
    /// To stations.
    Ingress,
}

pub(crate) fn site(number: u8) -> Site {
    Site::numbered(number)
}

fn station(number: u8) -> MacAddr {
    MacAddr([0x02, 0, 1, 0, 0, number])
}

pub(crate) struct Stage {
    pub(crate) topology: Topology,
    endpoint: Endpoint,
    outside: Host,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let lab = Lab::new().unwrap();
        let topology = Topology::build(&lab, &TopologyOptions::new(&Scene::blocks())).unwrap();
        // Its address of the other family serves as the other endpoint.
        let endpoint = topology.endpoint("endpoint", Scene::ENDPOINTS[0], Family::V4).unwrap();
        let outside = topology.uplink_host("outside", Scene::NEIGHBOUR).unwrap();
        Self { topology, endpoint, outside }
    }

    fn vtep(family: Family) -> IpAddr {
        Topology::UNDERLAY.address(family, Scene::ENDPOINTS[0])
    }

    /// The overlays as vxgate's configuration.
    pub(crate) fn config(&self, gateway: &Gateway) -> String {
        let mut text = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n",
            Scene::BLOCKS,
            gateway.socket().display(),
        );
        for number in 1..=OVERLAYS {
            let site = site(number);
            let Site { vni, v4, v6, endpoint } = site;
            let vtep = Self::vtep(endpoint);
            let [a, b] = Family::BOTH.map(|family| site.address(family, Scene::STATION));
            let _ = write!(
                text,
                "[[overlay]]\nvni = {vni}\nsubnets = [\"{v4}\", \"{v6}\"]\nendpoints = [\"{vtep}\"]\n\n\
                 [[station]]\nvni = {vni}\nmac = \"{}\"\nendpoint = \"{vtep}\"\naddresses = [\"{a}\", \"{b}\"]\n\n",
                station(number),
            );
        }
        text
    }

    /// The overlays as the kernel does it: a VXLAN netdev and a bridge for each, and forwarding.
    pub(crate) fn make_kernel_gateway(&self) {
        let gateway = &self.topology.gateway;
        gateway.set("net.ipv4.ip_forward", "1").unwrap();
        gateway.set("net.ipv6.conf.all.forwarding", "1").unwrap();
        let (mut links, mut entries) = (String::new(), String::new());
        for number in 1..=OVERLAYS {
            let site = site(number);
            let Site { vni, v4, v6, endpoint } = site;
            let (local, vtep) = (self.topology.gateway_vtep(endpoint), Self::vtep(endpoint));
            let [router4, router6] = site.routers();
            let mac = station(number);
            let _ = write!(
                links,
                "link add br{vni} address {ROUTER_MAC} mtu 1500 type bridge forward_delay 0 mcast_snooping 0\n\
                 link add vx{vni} mtu 1500 type vxlan id {vni} local {local} dstport 4789 nolearning\n\
                 link set vx{vni} master br{vni} up\nlink set br{vni} up\n\
                 address add {router4}/{} dev br{vni}\naddress add {router6}/{} dev br{vni}\n",
                v4.prefix_len(),
                v6.prefix_len(),
            );
            for family in Family::BOTH {
                let address = site.address(family, Scene::STATION);
                let _ = writeln!(links, "neighbour replace {address} lladdr {mac} nud permanent dev br{vni}");
            }
            let _ = writeln!(entries, "fdb append {mac} dev vx{vni} dst {vtep}");
        }
        gateway.ip(&links).unwrap();
        gateway.bridge(&entries).unwrap();
    }

    /// A stream for each overlay and family.
    fn profile(&self, way: Way, packets: u64) -> Profile {
        let mut text = String::new();
        for number in 1..=OVERLAYS {
            for (family, header) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
                let Site { vni, endpoint, .. } = site(number);
                let inside = site(number).address(family, Scene::STATION);
                let outside = Topology::UPLINK.address(family, Scene::NEIGHBOUR);
                let _ = write!(text, "[[stream]]\nname = \"{vni} {header}\"\nsize = 128\n");
                let _ = match way {
                    Way::Egress => write!(
                        text,
                        "ethernet = {{ src = \"{}\", dst = \"{ROUTER_MAC}\" }}\n\
                         {header} = {{ src = \"{inside}\", dst = \"{outside}\" }}\nudp = {{ dst = 9 }}\n\
                         [stream.vxlan]\nvni = {vni}\n\
                         ethernet = {{ src = \"{}\", dst = \"{}\" }}\n{} = {{ src = \"{}\", dst = \"{}\" }}\n\n",
                        station(number),
                        self.endpoint.nic.mac,
                        self.topology.underlay0.mac,
                        if endpoint == Family::V4 { "ipv4" } else { "ipv6" },
                        Self::vtep(endpoint),
                        self.topology.gateway_vtep(endpoint),
                    ),
                    Way::Ingress => write!(
                        text,
                        "overlay = {vni}\nethernet = {{ src = \"{}\", dst = \"{}\" }}\n\
                         {header} = {{ src = \"{outside}\", dst = \"{inside}\" }}\nudp = {{ dst = 9 }}\n\n",
                        self.outside.nic.mac, self.topology.uplink0.mac,
                    ),
                };
            }
        }
        let mut profile = Profile::parse("gateway", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        profile.rate = Rate::Packets(RATE);
        profile.limit = Limit { count: Some(packets * profile.streams.len() as u64), duration: None };
        profile
    }

    /// Sends so many packets of each stream, and receives what comes of them.
    pub(crate) fn run(&self, way: Way, packets: u64) -> Report {
        let profile = self.profile(way, packets);
        let sides = [&self.endpoint.nic, &self.outside.nic];
        let [from, to] = match way {
            Way::Egress => sides,
            Way::Ingress => [sides[1], sides[0]],
        };
        let options = RunOptions {
            send: send::Options {
                interface: from.interface.clone(),
                queues: vec![0],
                cores: vec![],
                bind: BindRequest::Auto,
            },
            receive: ReceiverOptions {
                polling: Polling::Adaptive,
                ..ReceiverOptions::new(to.interface.clone(), MeterOptions::default())
            },
            settle: Duration::from_secs(3),
            calibration: None,
        };
        let report = to.namespace.enter(|| {
            run_between(&profile, options, &AtomicBool::new(false), &mut |_, _| {}, &|begin| {
                from.namespace.enter(begin).unwrap();
            })
        });
        report.unwrap().unwrap()
    }

    /// Sends a packet of each stream until all come through: all next hops are resolved then.
    pub(crate) fn warm_up(&self, way: Way) {
        wait_until(&format!("all of {way:?}"), PATIENCE, || {
            let report = self.run(way, 1);
            if report.received.lost == 0 { Ok(()) } else { Err(pktgen::report::table(&report)) }
        })
        .unwrap();
    }
}
