//! The stage: a gateway between its peers, raw sockets to send bad frames from, and the two wires to watch.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use lab::{
    Family, Namespace, Nic, Offloads, PacketSocket, Ping, Scene, Site, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;

/// How long a counter may take to show what has arrived.
const SOON: Duration = Duration::from_secs(5);

/// Frames of each case: one that is counted twice would show.
const FRAMES: u64 = 3;

/// In the payload of each bad frame: where it is seen, the frame or a part of it got.
pub(crate) const MARKER: &[u8] = b"vxgate bad input";

/// UDP port that bad packets are for.
pub(crate) const PORT: u16 = 5000;

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(crate) type Counters = BTreeMap<String, u64>;

/// Where a frame is sent from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// The endpoint over this family, to the gateway's underlay port.
    Endpoint(Family),
    /// The neighbour, to the uplink port.
    Neighbour,
}

/// What must become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The engine gets it, and counts it by this name alone; nothing leaves.
    Engine(&'static str),
    /// The XDP program counts it by this verdict, and the engine never sees it; nothing leaves but, for `pass`, an
    /// ICMP error of the kernel.
    Xdp(&'static str),
    /// It is forwarded, and counted so: bad only to look at, or not the gateway's to judge.
    Forwarded(&'static str),
}

/// A frame, and what must become of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) from: From,
    pub(crate) frame: Vec<u8>,
    pub(crate) expect: Expect,
}

/// The scene with a running gateway, and what is needed to send and to watch.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    endpoints: [PacketSocket; 2],
    neighbour: PacketSocket,
    /// The far ends of the gateway's links: all that it sends arrives there.
    underlay: PacketSocket,
    uplink: PacketSocket,
    /// Of the stations and the outer host.
    hosts: [UdpSocket; 3],
}

/// The counters of the gateway at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) engine: Counters,
    /// By netdev.
    pub(crate) verdicts: BTreeMap<String, Counters>,
}

impl Stage {
    /// The [scene](scene_with), with a gateway that runs and stations that keep silent.
    pub(crate) fn new() -> Self {
        let mut scene = scene_with(Offloads::Off);
        scene.gateway.configure(&scene.config(&scene.overlays())).expect("its configuration");
        scene.gateway.start().expect("a gateway");
        for station in &scene.stations {
            silence(&scene, station);
        }
        let [one, other] = [0, 1].map(|at: usize| host(&scene.stations[at].host.namespace));
        let hosts = [one, other, host(&scene.outer.namespace)];
        let far = |nic: &Nic| nic.far_namespace.packet_socket(&nic.far_interface).expect("the far end");
        let near = |nic: &Nic| nic.namespace.packet_socket(&nic.interface).expect("a raw socket");
        Self {
            endpoints: [0, 1].map(|at: usize| near(&scene.endpoints[at].nic)),
            neighbour: near(&scene.neighbour.nic),
            underlay: far(&scene.topology.underlay0),
            uplink: far(&scene.topology.uplink0),
            hosts,
            scene,
        }
    }

    /// Sends the frames of a case and checks what became of them, and that the gateway goes on: what was not as it
    /// should be.
    pub(crate) fn play(&self, case: &Case) -> Result<(), String> {
        // What a case before this one left, if it failed.
        self.marked(false);
        let before = self.look();
        let (socket, port) = match case.from {
            From::Endpoint(family) => (&self.endpoints[family as usize], &self.scene.topology.underlay0),
            From::Neighbour => (&self.neighbour, &self.scene.topology.uplink0),
        };
        for _ in 0..FRAMES {
            socket.send(&case.frame).map_err(|error| format!("cannot be sent: {error}"))?;
        }
        let (counter, verdict) = match case.expect {
            Expect::Engine(name) | Expect::Forwarded(name) => (Some(name), "to_engine"),
            Expect::Xdp(name) => (None, name),
        };
        let engine = |seen: &Seen| rises(&before.engine, &seen.engine);
        let xdp = |seen: &Seen| {
            let mut rises = rises(&before.verdicts[&port.interface], &seen.verdicts[&port.interface]);
            // The peers' kernels talk to the gateway's all the time.
            if verdict != "pass" {
                rises.remove("pass");
            }
            rises
        };
        let after = wait_until("the counters", SOON, || {
            let seen = self.look();
            let of_engine = counter.is_none_or(|name| engine(&seen).get(name) >= Some(&FRAMES));
            let of_xdp = xdp(&seen).get(verdict) >= Some(&FRAMES);
            if of_engine && of_xdp { Ok(seen) } else { Err(format!("{:?} {:?}", engine(&seen), xdp(&seen))) }
        })
        .map_err(|error| error.to_string())?;

        let expected: Counters = counter.map(|name| (name.to_owned(), FRAMES)).into_iter().collect();
        if engine(&after) != expected {
            return Err(format!("the engine counted {:?}, not {expected:?}", engine(&after)));
        }
        let expected = Counters::from([(verdict.to_owned(), FRAMES)]);
        if verdict != "pass" && xdp(&after) != expected {
            return Err(format!("the XDP program counted {:?}, not {expected:?}", xdp(&after)));
        }
        self.check_forwarding()?;

        // The datagrams came after the frames on the same way: what was to come out is out.
        let host_may_answer = matches!(case.expect, Expect::Xdp("pass"));
        let marked = self.marked(host_may_answer);
        let expected = match case.expect {
            Expect::Forwarded("ingress") => [FRAMES, 0],
            Expect::Forwarded(_) => [0, FRAMES],
            _ => [0, 0],
        };
        if marked != expected {
            return Err(format!("{marked:?} of the frames left by underlay and uplink, not {expected:?}"));
        }
        Ok(())
    }

    /// That a datagram of each family still gets from each station to the outer host and back.
    fn check_forwarding(&self) -> Result<(), String> {
        let [stations @ .., outer] = &self.hosts;
        for (station, socket) in self.scene.stations.iter().zip(stations) {
            for family in FAMILIES {
                let what =
                    |there: &str| format!("{there} station {} no longer, {family:?}", station.site.vni);
                let there = exchange(socket, outer, self.scene.outer_address(family));
                there.map_err(|error| format!("{}: {error}", what("from")))?;
                let back = exchange(outer, socket, station.address(family));
                back.map_err(|error| format!("{}: {error}", what("to")))?;
            }
        }
        Ok(())
    }

    /// That ping says so too.
    pub(crate) fn check_pings(&self) {
        for station in &self.scene.stations {
            for family in FAMILIES {
                let report = Ping::to(self.scene.outer_address(family)).run(&station.host.namespace);
                assert!(report.expect("ping").is_complete(), "{family:?}, station {}", station.site.vni);
            }
        }
    }

    /// How many frames with the marker have left by underlay and uplink since this was last asked.
    fn marked(&self, but_errors: bool) -> [u64; 2] {
        [&self.underlay, &self.uplink].map(|wire| marked(wire, but_errors))
    }

    pub(crate) fn look(&self) -> Seen {
        look(&self.scene)
    }

    /// The gateway's VTEP address, and the endpoint's, of a family.
    pub(crate) fn vteps(&self, family: Family) -> (IpAddr, IpAddr) {
        (self.scene.topology.gateway_vtep(family), self.scene.endpoints[family as usize].vtep)
    }

    /// The gateway's address on the uplink.
    pub(crate) fn uplink_address(family: Family) -> IpAddr {
        Topology::UPLINK.address(family, Topology::GATEWAY)
    }
}

/// Overlays 1 (behind the endpoint over IPv4) and 2 (over IPv6); the gateway does not run yet.
pub(crate) fn scene_with(offloads: Offloads) -> Scene {
    let binary = Path::new(env!("CARGO_BIN_EXE_vxgate"));
    let options = TopologyOptions { offloads, ..TopologyOptions::new(&Scene::blocks()) };
    Scene::build(binary, &options, &[1, 2].map(Site::numbered)).expect("the scene")
}

/// The gateway's counters now.
pub(crate) fn look(scene: &Scene) -> Seen {
    let counters = scene.gateway.show("counters").expect("the gateway answers");
    let ports = scene.gateway.show("ports").expect("the gateway answers");
    let rows = |value: &Value| value.as_array().expect("rows").clone();
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let number = |value: &Value| value.as_u64().expect("a number");
    let engine = rows(&counters).iter().map(|row| (text(&row["name"]), number(&row["value"]))).collect();
    let verdicts = |port: &Value| {
        let verdicts = port["verdicts"].as_object().expect("verdicts");
        verdicts.iter().map(|(name, value)| (name.clone(), number(value))).collect()
    };
    let verdicts = rows(&ports).iter().map(|port| (text(&port["interface"]), verdicts(port))).collect();
    Seen { engine, verdicts }
}

/// By how much counters have risen; those that have not are left out.
fn rises(before: &Counters, after: &Counters) -> Counters {
    let rise = |(name, value): (&String, &u64)| (name.clone(), value - before.get(name).unwrap_or(&0));
    after.iter().map(rise).filter(|(_, rise)| *rise > 0).collect()
}

/// The station asks nobody anything, so that every frame at the engine is a test's: it knows the router's MAC address for
/// good, and what it sends to groups does not leave its endpoint.
fn silence(scene: &Scene, station: &lab::Station) {
    let inside = &station.host.namespace;
    let routers = station.site.routers();
    let lines = routers.map(|router| {
        format!("neighbour replace {router} lladdr {} dev eth0 nud permanent\n", lab::ROUTER_MAC)
    });
    inside.ip(&lines.concat()).expect("neighbours of a station");
    let endpoint = &scene.endpoints[station.site.endpoint as usize].namespace;
    let gateway = scene.topology.gateway_vtep(station.site.endpoint);
    let vni = station.site.vni;
    let line = format!("fdb delete {} dev vx{vni} dst {gateway}\n", wire::MacAddr::ZERO);
    endpoint.bridge(&line).expect("the flood list of an endpoint");
}

/// A socket that takes what is forwarded to a host, which would otherwise answer that nobody has the port, or that
/// fragments are missing.
fn host(namespace: &Namespace) -> UdpSocket {
    namespace.set("net.ipv4.ipfrag_time", "3600").expect("a kernel parameter");
    let socket = namespace.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)));
    let socket = socket.expect("a namespace").expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a time limit");
    socket
}

/// Sends a datagram, and waits for it at the other end; bad ones that were forwarded come first.
fn exchange(from: &UdpSocket, to: &UdpSocket, address: IpAddr) -> io::Result<()> {
    const TOKEN: &[u8] = b"well-formed";
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    from.send_to(TOKEN, (address, PORT))?;
    let mut buffer = [0; 2048];
    while to.recv(&mut buffer)? != TOKEN.len() || !buffer.starts_with(TOKEN) {}
    Ok(())
}

/// How many frames with the marker have arrived; ICMP errors, which quote it, only if they are not to be expected.
fn marked(wire: &PacketSocket, but_errors: bool) -> u64 {
    let mut buffer = vec![0; 1 << 17];
    let mut count = 0;
    while let Some(length) = wire.receive(&mut buffer, Duration::ZERO).expect("a wire to watch") {
        let frame = &buffer[..length];
        let is_marked = frame.windows(MARKER.len()).any(|window| window == MARKER);
        count += u64::from(is_marked && !(but_errors && is_icmp_error(frame)));
    }
    count
}

/// Destination unreachable, time exceeded, or parameter problem, of either family.
fn is_icmp_error(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => frame[23] == 1 && matches!(frame[34], 3 | 11 | 12),
        [0x86, 0xdd] => frame[20] == 58 && matches!(frame[54], 1..=4),
        _ => false,
    }
}
