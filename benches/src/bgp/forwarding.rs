//! From a route at the gateway's socket to a frame that goes where the route says.
//!
//! ```text
//!   peer, and endpoint A ─┐
//!             endpoint B ─┴─ underlay [ vxgate ] uplink ─── probes
//!                                └ watched
//! ```
//!
//! Each change moves another station from A to B by one type 2 route; probes for it follow each other, one at a time,
//! until one comes out toward B.
//!
//! Peer, probe and gateway share a machine here, which they do not where it is used. So that the former take nothing from
//! the latter, the gateway goes first, and its worker has a core that the rest of it does not need.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lab::{
    Attach, Family, Gateway, Lab, Namespace, PacketSocket, ROUTER_MAC, Scene, Topology, TopologyOptions,
    wait_until,
};
use serde_json::{Value, json};
use vxgate_bench::frames::{OVERHEAD_V4, Packet};
use wire::MacAddr;

use super::go_first;
use super::message::{self, ASN, Attributes, VXLAN};
use super::session::Session;
use crate::Error;
use crate::cores;
use crate::figure::{Figure, Goal};

/// Changes, of one station each.
const CHANGES: u32 = 2_000;
/// Between two changes: so long, and up to as long again.
const IDLE: Duration = Duration::from_millis(1);
/// After which a probe counts as lost, and after which a change counts as not made.
const PATIENCE: Duration = Duration::from_secs(10);
const LOST: Duration = Duration::from_millis(50);

/// Priorities (SCHED_RR) of the gateway and of this thread, which would otherwise keep the gateway waiting whenever it finds
/// each probe's answer there before it has to sleep.
const GATEWAY: u8 = 2;
const PROBING: u8 = 1;
/// A worker that never sleeps cannot go before what is ordinary: the kernel stops it for 50 ms in each second.
const POLLING: &str = "adaptive";

const VNI: u32 = 100;
/// Numbers of the endpoints on the underlay; the first is the peer.
const ENDPOINTS: [u8; 2] = [11, 12];
/// Number of the host that probes come from.
const OUTSIDE: u8 = 10;

/// Bytes of a probe.
const PROBE: usize = 60;

/// Measures it with the binary `vxgate`: figures, and how it was measured.
pub(super) fn figures(lab: &Lab, vxgate: &Path) -> Result<(Vec<Figure>, Value), Error> {
    let mut stage = Stage::new(lab, vxgate)?;
    stage.announce_all()?;
    let (mut changes, mut probes) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let mut random = fastrand::Rng::with_seed(6);
    let [a, b] = ENDPOINTS.map(underlay);
    for station in 1..=CHANGES {
        thread::sleep(IDLE.mul_f64(1.0 + random.f64()));
        let start = Instant::now();
        if stage.probe(station)? == Some(a) {
            probes.record(start.elapsed().as_nanos() as u64)?;
        }
        let update = message::announce(&of(b, None), &[route(station)]);
        let start = Instant::now();
        stage.session.send(&update)?;
        while stage.probe(station)? != Some(b) {
            if start.elapsed() > PATIENCE {
                return Err(format!("the route of station {station} changed nothing").into());
            }
        }
        changes.record(start.elapsed().as_nanos() as u64)?;
    }
    let figure = |name: &str, of: &Histogram<u64>, quantile| {
        let value = of.value_at_quantile(quantile) as f64 / 1e6;
        Figure::new(format!("route at the socket until it is forwarded by, idle: {name}"), value, "ms")
    };
    let note = format!("{CHANGES} changes, each until a probe comes out as it says");
    let figures = vec![
        figure("p50", &changes, 0.5),
        figure("p99", &changes, 0.99).goal(Goal::AtMost(1.0)).note(note),
        figure("max", &changes, 1.0),
        figure("of it a probe alone, p50", &probes, 0.5),
        figure("of it a probe alone, p99", &probes, 0.99),
    ];
    Ok((figures, stage.modes()?))
}

struct Stage {
    session: Session,
    uplink: PacketSocket,
    underlay: PacketSocket,
    /// MAC addresses of a probe.
    macs: (MacAddr, MacAddr),
    gateway: Gateway,
    _topology: Topology,
}

impl Stage {
    fn new(lab: &Lab, vxgate: &Path) -> Result<Self, Error> {
        let topology = Topology::build(lab, &TopologyOptions::new(&Scene::blocks()))?;
        let mut endpoints = Vec::new();
        for number in ENDPOINTS {
            let attach = Attach { addresses: Topology::UNDERLAY.addresses(number), ..Attach::default() };
            endpoints.push(topology.underlay.host(lab, &format!("ep{number}"), attach, &[])?.namespace);
        }
        let mut gateway = Gateway::new(&topology.gateway, vxgate);
        let own = underlay(Topology::GATEWAY);
        gateway.configure(&format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\n\
             cores = [{}]\npolling = \"{POLLING}\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             [[overlay]]\nvni = {VNI}\nsubnets = [\"10.1.0.0/16\"]\n\n\
             [bgp]\nasn = {ASN}\nrouter-id = \"{own}\"\ncluster-number = 9\n\n\
             [[bgp.peer]]\naddress = \"{}\"\nremote-asn = {ASN}\npassive = true\nhold-time = 0\n",
            Scene::BLOCKS,
            gateway.socket().display(),
            cores()?.own.id,
            underlay(ENDPOINTS[0]),
        ))?;
        go_first(GATEWAY)?;
        gateway.start()?;
        go_first(PROBING)?;
        let connect = |from: &Namespace| from.enter(|| Session::connect(own.into(), underlay(ENDPOINTS[0])));
        let session = connect(&endpoints[0])??;
        let router = &topology.router_uplink;
        let port = &topology.underlay0;
        Ok(Self {
            session,
            uplink: router.namespace.packet_socket(&router.interface)?,
            underlay: port.far_namespace.packet_socket(&port.far_interface)?,
            macs: (router.mac, topology.uplink0.mac),
            gateway,
            _topology: topology,
        })
    }

    /// How it is measured: of the gateway, what was really had.
    fn modes(&self) -> Result<Value, Error> {
        let (workers, ports) = (self.gateway.show("workers")?, self.gateway.show("ports")?);
        let of = |rows: &Value, key| -> Value {
            rows.as_array().into_iter().flatten().map(|row| row[key].clone()).collect()
        };
        Ok(json!({
            "scheduling": format!("SCHED_RR: gateway {GATEWAY}, peer and probe {PROBING}"),
            "changes": CHANGES, "idle_ms": "1 to 2",
            "cores": of(&workers, "core"), "polling": of(&workers, "polling"),
            "xdp": of(&ports, "xdp"), "bind": of(&ports, "bind"),
        }))
    }

    /// All stations behind A, but for station 0, which stays behind B; until both are forwarded to.
    fn announce_all(&mut self) -> Result<(), Error> {
        let [a, b] = ENDPOINTS.map(underlay);
        for endpoint in [a, b] {
            let flood = message::flood_route(VNI, endpoint);
            self.session.send(&message::announce(&of(endpoint, Some((VNI, endpoint))), &[flood]))?;
        }
        for station in 0..=CHANGES {
            let endpoint = if station == 0 { b } else { a };
            self.session.send(&message::announce(&of(endpoint, None), &[route(station)]))?;
        }
        for (station, endpoint) in [(0, b), (CHANGES, a)] {
            wait_until(&format!("a frame to {endpoint}"), PATIENCE, || {
                let came = self.probe(station).map_err(|error| error.to_string())?;
                if came == Some(endpoint) { Ok(()) } else { Err(format!("{came:?}")) }
            })?;
        }
        Ok(())
    }

    /// Sends a packet for a station: the endpoint that it comes out toward, if it does.
    fn probe(&self, station: u32) -> io::Result<Option<Ipv4Addr>> {
        let mut frame = [0; PROBE];
        let source = Topology::OUTER.address(Family::V4, OUTSIDE);
        Packet { macs: self.macs, addresses: (source, address(station)), ports: (443, 1024) }
            .emit(&mut frame);
        self.uplink.send(&frame)?;
        let deadline = Instant::now() + LOST;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(length) = self.underlay.receive(&mut buffer, left)? else { return Ok(None) };
            let inner = &buffer[OVERHEAD_V4.min(length)..length];
            if length == OVERHEAD_V4 + PROBE && inner.starts_with(&mac(station).0) {
                // The destination of the outer IPv4 header.
                return Ok(buffer[30..].first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets)));
            }
        }
    }
}

fn underlay(number: u8) -> Ipv4Addr {
    match Topology::UNDERLAY.address(Family::V4, number) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("an IPv4 address was asked for"),
    }
}

fn mac(station: u32) -> MacAddr {
    let [a, b, c, d] = station.to_be_bytes();
    MacAddr([2, 0x10, a, b, c, d])
}

fn address(station: u32) -> IpAddr {
    // The subnet's second piece of 256 on: the router has the first address of all.
    (Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 1, 0).to_bits() + station)).into()
}

fn route(station: u32) -> Vec<u8> {
    message::mac_route(VNI, mac(station), Some(address(station)))
}

fn of(endpoint: Ipv4Addr, replication: Option<(u32, Ipv4Addr)>) -> Attributes {
    Attributes { next_hop: endpoint, communities: vec![message::target(VNI), VXLAN], replication }
}
