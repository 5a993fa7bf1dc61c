//! Rules between overlays and outward: what is rejected, what is allowed, and who is told.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lab::{Family, Host, Namespace, Ping, Scene, Station, Topology};

use crate::{PATIENCE, Plan, assert_answered, idle_scene, start, wait_counter};

/// Ports of servers: one that is allowed, one that is not.
const OPEN: u16 = 7000;
const CLOSED: u16 = 7001;

/// By VNI, by prefix, to the neighbour on the uplink, to all that is outside.
const RULES: &str = r#"
[[rule]]
action = "allow"
from-vnis = "101"
to-vnis = "102"
protocol = "tcp"
port = 7000

[[rule]]
action = "allow"
from = ["10.0.1.0/24", "fd00:0:0:1::/64"]
to = ["10.0.3.10/32", "fd00:0:0:3::a/128"]
protocol = "icmp"
replies = false

[[rule]]
action = "allow"
from = ["10.0.3.0/24", "fd00:0:0:3::/64"]
to-vnis = "101"
protocol = "icmp"
replies = false

[[rule]]
action = "allow"
to = ["198.18.1.20/32", "2001:db8:0:2::14/128"]
protocol = "tcp"
port = 7001

[[rule]]
action = "reject"
from-vnis = "101-102"
to = "outside"
protocol = "tcp"
port = 7001

[[rule]]
action = "drop"
from-vnis = "103"
to = "outside"
protocol = ["udp", "icmp"]
"#;

/// What a client is told, by the family: of an ICMP error it hears at once.
const PROHIBITED: [ErrorKind; 2] = [ErrorKind::HostUnreachable, ErrorKind::PermissionDenied];

fn listen(namespace: &Namespace, address: IpAddr, port: u16) -> TcpListener {
    namespace.enter(|| TcpListener::bind((address, port))).unwrap().unwrap()
}

fn connect(from: &Host, address: IpAddr, port: u16) -> io::Result<TcpStream> {
    from.namespace.enter(|| TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)).unwrap()
}

/// A connection of which both ends have exchanged a byte.
fn assert_served(from: &Host, listener: &TcpListener) {
    let target = listener.local_addr().unwrap();
    let mut client =
        connect(from, target.ip(), target.port()).unwrap_or_else(|error| panic!("{target}: {error}"));
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut byte = [0];
    client.write_all(b"?").unwrap();
    server.read_exact(&mut byte).unwrap();
    server.write_all(b"!").unwrap();
    client.read_exact(&mut byte).unwrap();
}

fn assert_prohibited(from: &Host, address: IpAddr, port: u16) {
    let error = connect(from, address, port).unwrap_err();
    assert_eq!(error.kind(), PROHIBITED[Family::of(address) as usize], "{address} port {port}: {error}");
}

#[test]
fn rules_decide_between_overlays_and_outward() {
    let mut scene = idle_scene(3);
    start(&mut scene, &Plan { tables: RULES.to_owned(), ..Plan::default() });
    let [one, two, three] = &scene.stations[..] else { panic!("three stations") };
    let count = |name| scene.gateway.counter(name).unwrap();
    for family in Family::BOTH {
        let server = |host: &Host, address, port| listen(&host.namespace, address, port);
        let servers = [OPEN, CLOSED].map(|port| server(&two.host, two.address(family), port));
        let back = server(&one.host, one.address(family), OPEN);

        // Between overlays: what is allowed, and its replies.
        assert_served(&one.host, &servers[0]);
        let before = count("between_overlays");
        assert_prohibited(&one.host, two.address(family), CLOSED);
        assert_prohibited(&two.host, back.local_addr().unwrap().ip(), OPEN);
        assert_prohibited(&three.host, two.address(family), OPEN);
        assert_eq!(count("between_overlays") - before, 3, "{family:?}");
        let before = count("across");
        assert_answered(&Ping::to(three.address(family)), &one.host.namespace);
        assert_answered(&Ping::to(one.address(family)), &three.host.namespace);
        assert_eq!(count("across") - before, 4, "{family:?}");
        let told = |from: &Station, to: &Station| {
            let report =
                Ping::to(to.address(family)).count(1).timeout(PATIENCE).run(&from.host.namespace).unwrap();
            assert_eq!((report.received, report.errors), (0, 1), "{report:?}");
        };
        told(one, two);
        told(two, three);

        // Outward: the first that matches decides.
        let near = server(&scene.neighbour, Topology::UPLINK.address(family, Scene::NEIGHBOUR), CLOSED);
        let far = [OPEN, CLOSED].map(|port| server(&scene.outer, scene.outer_address(family), port));
        let before = count("rule_reject");
        for station in [one, two, three] {
            assert_served(&station.host, &near);
            assert_served(&station.host, &far[0]);
        }
        assert_served(&three.host, &far[1]);
        assert_eq!(count("rule_reject"), before);
        for station in [one, two] {
            assert_prohibited(&station.host, scene.outer_address(family), CLOSED);
        }
        assert_eq!(count("rule_reject") - before, 2, "{family:?}");

        // Silence.
        let before = count("rule_drop");
        let ping = Ping::to(scene.outer_address(family)).count(2).timeout(Duration::from_millis(100));
        let report = ping.run(&three.host.namespace).unwrap();
        assert_eq!((report.received, report.errors), (0, 0), "{report:?}");
        // The last may still be on its way.
        wait_counter(&scene, "rule_drop", before, report.sent);
        assert_eq!(count("rule_drop") - before, report.sent);
        // What comes from the outer network is not filtered.
        assert_answered(&Ping::to(one.address(family)), &scene.outer.namespace);
    }
    let shown = scene.gateway.show("rules").unwrap();
    // One of them has replies; ICMP is a protocol of each family.
    assert_eq!(shown.as_array().unwrap().len(), 2 + 2 + 2 + 1 + 1 + 3, "{shown}");
}
