//! The stage: a gateway between its peers, raw sockets to send bad frames from, and the two wires to watch.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use lab::{
    Family, Namespace, Offloads, PacketSocket, Ping, Scene, Site, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;

use crate::wires::{Cause, Fault, Sent, Tally, Wire, Wires};

/// How long a counter may take to show what has arrived, and what was asked because of it.
const SOON: Duration = Duration::from_secs(10);

/// Frames of each case: one that is counted twice would show.
const FRAMES: u64 = 3;

/// In the payload of each bad frame: where it is seen, the frame or a part of it got.
pub(crate) const MARKER: &[u8] = b"vxgate bad input";

/// The payload of datagrams that show that the gateway goes on.
pub(crate) const TOKEN: &[u8] = b"well-formed";

/// UDP port that bad packets are for.
pub(crate) const PORT: u16 = 5000;

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(crate) type Counters = BTreeMap<String, u64>;

/// Limits of the slow path that no case meets, however fast the machine is.
const LIMITS: &str = "[gateway.punts]
neighbour = { overlay = { rate = 100000, burst = 100000 } }
resolve = { overlay = { rate = 100000, burst = 100000 } }
stranger = { overlay = { rate = 100000, burst = 100000 } }
host = { overlay = { rate = 100000, burst = 100000 } }
error = { overlay = { rate = 100000, burst = 100000 } }
";

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
    /// The slow path gets it, counted by the first name, and counts what it is by the second, if that is worth it; nothing
    /// leaves.
    Heard(&'static str, Option<&'static str>),
    /// It is counted so, and its sender is told this; nothing else leaves.
    Told(&'static str, Fault),
    /// It waits while its overlay is asked three times who has its destination, until its sender is told that nobody has.
    Asked,
    /// It is a stranger's, who is let in: it is forwarded, or the slow path gets it, counted by this name.
    LetIn(&'static str),
    /// The XDP program counts it by this verdict, and the engine never sees it; nothing leaves but, for `pass`, an
    /// ICMP error of the kernel.
    Xdp(&'static str),
    /// It is forwarded, and counted so: bad only to look at, or not the gateway's to judge.
    Forwarded(&'static str),
}

/// Questions for an address before it is given up (RFC 4861 section 10).
const QUESTIONS: u64 = 3;

impl Expect {
    /// What the engine counts, as far as that must be so. `rises`: what it has counted, for what is up to chance.
    fn counters(&self, rises: &Counters) -> Counters {
        let named = |counters: &[(&str, u64)]| {
            let counted = counters.iter().filter(|(_, count)| *count > 0);
            counted.map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        match *self {
            Self::Engine(name) | Self::Forwarded(name) | Self::Heard(name, None) => named(&[(name, FRAMES)]),
            Self::Heard(name, Some(deed)) => named(&[(name, FRAMES), (deed, FRAMES)]),
            Self::Told(name, _) => named(&[(name, FRAMES), ("error_sent", FRAMES), ("slow_path", FRAMES)]),
            Self::Asked => named(&[
                ("unresolved", FRAMES),
                ("solicitation_sent", QUESTIONS),
                ("error_sent", FRAMES),
                ("slow_path", QUESTIONS + FRAMES),
            ]),
            Self::LetIn(name) => {
                // The first is handed over, and counted again; so are others that come before the door is open.
                let early = rises.get("unknown_station").copied().unwrap_or(0).clamp(1, FRAMES);
                named(&[("unknown_station", early), ("stranger_admitted", 1), (name, FRAMES)])
            }
            Self::Xdp(_) => Counters::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        if let Self::Xdp(name) = self { name } else { "to_engine" }
    }

    /// What leaves for a frame of `from`.
    fn sent(&self, from: From) -> Tally {
        let back = match from {
            From::Endpoint(_) => Wire::Underlay,
            From::Neighbour => Wire::Uplink,
        };
        match *self {
            Self::Forwarded("egress") | Self::LetIn("egress") => {
                Tally::from([(Sent::Forwarded(Wire::Uplink), FRAMES)])
            }
            Self::Forwarded(_) => Tally::from([(Sent::Forwarded(Wire::Underlay), FRAMES)]),
            Self::Told(..) => Tally::from([(Sent::Told(back), FRAMES)]),
            Self::Asked => Tally::from([(Sent::Asked, QUESTIONS), (Sent::Told(back), FRAMES)]),
            Self::LetIn(_) | Self::Engine(_) | Self::Heard(..) | Self::Xdp(_) => Tally::new(),
        }
    }

    fn fault(&self) -> Option<Fault> {
        match *self {
            Self::Told(_, fault) => Some(fault),
            Self::Asked => Some(Fault::NoAddress),
            _ => None,
        }
    }
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
    wires: Wires,
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
        let config = scene.config(&scene.overlays()).replacen("\n\n", &format!("\n\n{LIMITS}\n"), 1);
        scene.gateway.configure(&config).expect("its configuration");
        scene.gateway.start().expect("a gateway");
        for station in &scene.stations {
            silence(&scene, station);
        }
        let [one, other] = [0, 1].map(|at: usize| host(&scene.stations[at].host.namespace));
        let hosts = [one, other, host(&scene.outer.namespace)];
        let near = |nic: &lab::Nic| nic.namespace.packet_socket(&nic.interface).expect("a raw socket");
        Self {
            endpoints: [0, 1].map(|at: usize| near(&scene.endpoints[at].nic)),
            neighbour: near(&scene.neighbour.nic),
            wires: Wires::watch(&scene),
            hosts,
            scene,
        }
    }

    /// Sends the frames of a case and checks what became of them, and that the gateway goes on: what was not as it
    /// should be.
    pub(crate) fn play(&self, case: &Case) -> Result<(), String> {
        let Case { from, frame, expect, .. } = case;
        let cause = Cause::new(self, frame, expect.fault());
        // What a case before this one left, if it failed.
        self.wires.sent(|_, _| None);
        let before = self.look();
        let (socket, port) = match from {
            From::Endpoint(family) => (&self.endpoints[*family as usize], &self.scene.topology.underlay0),
            From::Neighbour => (&self.neighbour, &self.scene.topology.uplink0),
        };
        for _ in 0..FRAMES {
            socket.send(frame).map_err(|error| format!("cannot be sent: {error}"))?;
        }
        let verdict = expect.verdict();
        let engine = |seen: &Seen| rises(&before.engine, &seen.engine);
        let xdp = |seen: &Seen| {
            let mut rises = rises(&before.verdicts[&port.interface], &seen.verdicts[&port.interface]);
            // The peers' kernels talk to the gateway's all the time.
            if verdict != "pass" {
                rises.remove("pass");
            }
            rises
        };
        wait_until("the counters", SOON, || {
            let seen = self.look();
            let (engine, xdp) = (engine(&seen), xdp(&seen));
            let mut wanted = expect.counters(&engine).into_iter();
            let of_engine = wanted.all(|(name, count)| engine.get(&name) >= Some(&count));
            let of_xdp = xdp.get(verdict) >= Some(&FRAMES);
            if of_engine && of_xdp { Ok(()) } else { Err(format!("{engine:?} {xdp:?}")) }
        })
        .map_err(|error| error.to_string())?;
        if matches!(expect, Expect::Heard(_, None)) {
            self.settle();
        }

        let after = self.look();
        let counted = engine(&after);
        let expected = expect.counters(&counted);
        if counted != expected {
            return Err(format!("the engine counted {counted:?}, not {expected:?}"));
        }
        let expected = Counters::from([(verdict.to_owned(), FRAMES)]);
        if verdict != "pass" && xdp(&after) != expected {
            return Err(format!("the XDP program counted {:?}, not {expected:?}", xdp(&after)));
        }
        self.check_forwarding()?;

        // The datagrams came after the frames on the same way: what was to come out is out.
        let mut sent = self.wires.sent(|wire, frame| cause.recognize(wire, frame));
        if verdict == "pass" {
            sent.retain(|sent, _| !matches!(sent, Sent::OfTheHost(_)));
        }
        let expected = expect.sent(*from);
        if sent != expected {
            return Err(format!("{sent:?} left, not {expected:?}"));
        }
        Ok(())
    }

    /// Waits until the slow path has dealt with what it was handed over: it answers, takes that, and answers again.
    fn settle(&self) {
        for _ in 0..2 {
            self.scene.gateway.show("neighbours").expect("the gateway answers");
        }
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
                let report = Ping::to(self.scene.outer_address(family))
                    .count(1)
                    .timeout(SOON)
                    .run(&station.host.namespace);
                assert!(report.expect("ping").is_complete(), "{family:?}, station {}", station.site.vni);
            }
        }
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
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    from.send_to(TOKEN, (address, PORT))?;
    let mut buffer = [0; 2048];
    while to.recv(&mut buffer)? != TOKEN.len() || !buffer.starts_with(TOKEN) {}
    Ok(())
}
