//! A peer with offloads on: its kernel leaves checksums and segmentation to hardware that a veth does not have.
//!
//! What really happens, seen on Linux 6.18:
//! - In native mode the kernel takes segmentation from the peer of a veth with an XDP program, so that no frame is longer
//!   than the MTU. In generic mode frames of up to 64 KB reach the program, which drops them as `too_long`.
//! - Checksums stay partial in both modes, since neither an XDP program nor an AF_XDP socket is told of it: a router does
//!   not look at the checksums of TCP and UDP, and forwards them as they came. The receiver drops such packets.
//!
//! No TCP connection comes about that way, so that streams here begin with offloads off, suffer them, and recover.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Iperf, Namespace, Nic, Offloads, Ping, Scene, set_offloads, wait_until};

use crate::stage::{FAMILIES, look, scene_with};

/// How long TCP may take to try again after what offloads did to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest frame on the underlay: its MTU, and the Ethernet header.
const LONGEST: usize = 1600 + 14;

/// A stream from one host to another, as fast as it goes, and how many bytes of it have arrived.
struct Stream {
    received: Arc<AtomicU64>,
}

impl Stream {
    fn open(from: &Namespace, to: &Namespace, address: IpAddr) -> Self {
        let listener =
            to.enter(|| TcpListener::bind((address, 0))).expect("a namespace").expect("a listener");
        let target = listener.local_addr().expect("its address");
        let connection = from.enter(|| TcpStream::connect(target)).expect("a namespace");
        let mut sender = connection.expect("a connection");
        let (mut receiver, _) = listener.accept().expect("a connection");
        let received = Arc::new(AtomicU64::new(0));
        // Both end when their namespaces do, or with the process.
        thread::spawn(move || while sender.write_all(&[0x5a; 1 << 16]).is_ok() {});
        thread::spawn({
            let received = Arc::clone(&received);
            move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(bytes @ 1..) = receiver.read(&mut buffer) {
                    received.fetch_add(bytes as u64, Ordering::Relaxed);
                }
            }
        });
        Self { received }
    }

    fn wait_for_more(&self, what: &str) {
        let before = self.received.load(Ordering::Relaxed);
        let enough = || self.received.load(Ordering::Relaxed) > before + (1 << 20);
        wait_until(what, PATIENCE, enough).expect("a stream that goes on");
    }
}

/// Streams of both families, out and in, with offloads switched on for a while before the gateway.
fn suffer(xdp: &str) {
    let mut scene = scene_with(Offloads::Off);
    let config = scene.config(&scene.overlays()).replace("role = ", &format!("xdp = \"{xdp}\"\nrole = "));
    scene.gateway.configure(&config).expect("a configuration");
    scene.gateway.start().expect("a gateway");
    let topology = &scene.topology;
    for station in &scene.stations {
        for family in FAMILIES {
            let what = format!("{family:?}, station {}, {xdp} mode", station.site.vni);
            let endpoint = &scene.endpoints[station.site.endpoint as usize].nic;
            Way {
                what: format!("out, {what}"),
                from: &station.host.namespace,
                to: &scene.outer.namespace,
                address: scene.outer_address(family),
                senders: &[&station.host.nic, endpoint],
                arrives: &topology.underlay0,
                leaves: &topology.uplink0,
            }
            .suffer(&scene, xdp);
            Way {
                what: format!("in, {what}"),
                from: &scene.neighbour.namespace,
                to: &station.host.namespace,
                address: station.address(family),
                senders: &[&scene.neighbour.nic],
                arrives: &topology.uplink0,
                leaves: &topology.underlay0,
            }
            .suffer(&scene, xdp);
        }
    }
}

/// A stream's way through the gateway.
struct Way<'a> {
    what: String,
    from: &'a Namespace,
    to: &'a Namespace,
    address: IpAddr,
    /// What the frames pass before the gateway.
    senders: &'a [&'a Nic],
    /// Where they come into the gateway, and where they go out.
    arrives: &'a Nic,
    leaves: &'a Nic,
}

impl Way<'_> {
    fn suffer(&self, scene: &Scene, xdp: &str) {
        let stream = Stream::open(self.from, self.to, self.address);
        stream.wait_for_more(&format!("a stream, {}", self.what));
        let wire = self.leaves.far_namespace.packet_socket(&self.leaves.far_interface).expect("the far end");
        let verdicts = || look(scene).verdicts[&self.arrives.interface].clone();
        let (before, wrong_before) = (verdicts(), wrong_checksums(self.to));
        self.set(scene, Offloads::On);
        // Either is what a stream ends by until it is as on a wire again.
        wait_until(&format!("what offloads do, {}", self.what), PATIENCE, || match xdp {
            "generic" => verdicts()["too_long"] > before["too_long"],
            _ => wrong_checksums(self.to) > wrong_before,
        })
        .expect("counted by name");
        if xdp == "native" {
            assert_eq!(verdicts()["too_long"], before["too_long"], "{}", self.what);
        }
        self.set(scene, Offloads::Off);
        stream.wait_for_more(&format!("the stream to go on, {}", self.what));

        let mut buffer = vec![0; 1 << 17];
        while let Some(length) = wire.receive(&mut buffer, Duration::ZERO).expect("a wire to watch") {
            assert!(length <= LONGEST, "{}: a frame of {length} bytes left", self.what);
        }
    }

    /// Sets the offloads of all that a frame passes before the gateway, tunnels included.
    fn set(&self, scene: &Scene, offloads: Offloads) {
        let set = |namespace: &Namespace, interface: &str| {
            set_offloads(namespace, interface, offloads).expect("offloads of a peer");
        };
        for nic in self.senders {
            set(&nic.namespace, &nic.interface);
            set(&nic.far_namespace, &nic.far_interface);
        }
        set(&self.arrives.far_namespace, &self.arrives.far_interface);
        for station in &scene.stations {
            let endpoint = &scene.endpoints[station.site.endpoint as usize].namespace;
            set(endpoint, &format!("vx{}", station.site.vni));
        }
    }
}

/// Segments that the kernel of a host dropped for their checksum (part of tcpInErrs, RFC 4022).
fn wrong_checksums(host: &Namespace) -> u64 {
    let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"));
    let text = text.expect("a namespace").expect("its counters");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "InCsumErrors").expect("the counter");
    value.parse().expect("a number")
}

#[test]
fn offloads_of_peers_in_native_mode() {
    suffer("native");
}

#[test]
fn offloads_of_peers_in_generic_mode() {
    suffer("generic");
}

#[test]
fn offloads_of_peers_from_the_start() {
    let mut scene = scene_with(Offloads::On);
    scene.gateway.configure(&scene.config(&scene.overlays())).expect("a configuration");
    scene.gateway.start().expect("a gateway");
    for station in &scene.stations {
        for family in FAMILIES {
            let (inside, outer) = (&station.host.namespace, &scene.outer.namespace);
            let wrong_before = wrong_checksums(inside);
            let refused = Iperf::tcp().run(outer, inside, station.address(family));
            assert!(refused.is_err(), "{family:?}: {refused:?}");
            assert!(wrong_checksums(inside) > wrong_before, "{family:?}: it came, and was not whole");
            // What kernels finish themselves gets through.
            let report =
                Ping::to(scene.outer_address(family)).count(1).timeout(PATIENCE).run(inside).expect("ping");
            assert!(report.is_complete(), "{family:?}: {report:?}");
        }
    }
}
