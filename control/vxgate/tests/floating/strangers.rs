//! Who is no gateway and knocks where gateways listen for each other: nothing comes of it, and a gateway gets in all the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use cluster::session::frame::Kind;
use lab::{Cluster, ClusterOptions, Failure, Family, Namespace, Topology, wait_until};

use crate::liar::{Liar, PORT, dial};
use crate::{ALL, GATEWAYS, PATIENCE, VXGATE, events, tables, wait_even};

/// Connections that a flood holds open at a time, as far as it is let.
const FLOOD: usize = 300;
/// So many have been tried before a gateway tries to get in.
const ENOUGH: usize = 2 * FLOOD;

/// The gateway that dies and comes again meanwhile.
const COMING: u8 = 2;

/// Does this again and again until gateway 1 has told of a stranger at an address in words of which these are some: not each
/// one is told of.
fn provoke<T>(cluster: &Cluster, address: IpAddr, words: &str, deed: impl Fn() -> T) {
    wait_until(&format!("a stranger: {words:?}"), PATIENCE, || {
        deed();
        let events = events(cluster, Topology::GATEWAY);
        let mut details = events
            .iter()
            .filter(|row| row["event"] == "cluster-stranger")
            .filter_map(|row| row["detail"].as_str());
        let is_so = |detail: &str| detail.starts_with(&address.to_string()) && detail.contains(words);
        if details.any(is_so) { Ok(()) } else { Err(format!("{events:#?}")) }
    })
    .unwrap();
}

/// Says this, and waits until the gateway has ended the connection.
fn say(from: &Namespace, to: IpAddr, bytes: &[u8]) {
    let mut stream = dial(from, to);
    // It may be at its limit of strangers and have closed already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

/// Whether the gateway has ended a connection on which nothing was said.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Holds many connections open and says nothing; those that are closed are begun anew.
fn flood(from: &Namespace, to: IpAddr, tried: &AtomicUsize, stop: &AtomicBool) {
    let address = std::net::SocketAddr::new(to, PORT);
    from.enter(|| {
        let mut held: Vec<TcpStream> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            held.retain_mut(|stream| !is_closed(stream));
            while held.len() < FLOOD && !stop.load(Ordering::Relaxed) {
                tried.fetch_add(1, Ordering::Relaxed);
                let Ok(stream) = TcpStream::connect_timeout(&address, PATIENCE) else { break };
                stream.set_nonblocking(true).unwrap();
                held.push(stream);
            }
        }
    })
    .unwrap();
}

#[test]
fn who_has_no_key_gets_nothing_and_is_in_nobodys_way() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 0, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    for number in ALL {
        let membership = cluster.membership(number, Family::V6, &tables(&Cluster::SHARD_VTEPS));
        let mut config = cluster.config(number, "", &membership);
        if number == Topology::GATEWAY {
            // Where nobody listens: between the two the session is for the other to begin.
            let address = Topology::UNDERLAY.address(Family::V6, COMING);
            let (here, nowhere) =
                (format!("session = \"{address}\""), format!("session = \"[{address}]:1\""));
            assert!(config.contains(&here));
            config = config.replace(&here, &nowhere);
        }
        cluster.start_with(number, &config).unwrap();
    }
    let before = wait_even(&cluster, &ALL);
    let stranger = cluster.endpoint.namespace.clone();
    let [from, to] =
        [Cluster::ENDPOINT, Topology::GATEWAY].map(|number| Topology::UNDERLAY.address(Family::V6, number));

    provoke(&cluster, from, "corrupt", || say(&stranger, to, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"));
    // The beginning of a handshake (RFC 8446 §5.1), and no more.
    provoke(&cluster, from, "closed", || say(&stranger, to, &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]));
    let files = cluster.topology.lab.directory().join("keys-stranger");
    let keygen = Command::new(VXGATE).args(["cluster", "keygen", "--out"]).arg(&files).output().unwrap();
    assert!(keygen.status.success(), "{keygen:?}");
    let [key, certificate] = ["cluster.key", "cluster.crt"].map(|name| files.join(name));
    provoke(&cluster, from, "its certificate has the pin", || {
        let mut liar = Liar::connect(&stranger, [&key, &certificate], to);
        // TLS 1.3: the client has finished before its certificate is looked at.
        let _ = liar.say(Kind::Open, &[]);
        assert!(liar.hear().is_err());
    });
    assert_eq!(wait_even(&cluster, &ALL), before);

    // Hundreds of connections on which nothing is said, while a gateway comes back.
    cluster.gateway(COMING).fail(Failure::Killed).unwrap();
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != COMING).collect();
    wait_even(&cluster, &rest);
    let (tried, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let wait_tried = |more: usize| {
        let before = tried.load(Ordering::Relaxed);
        wait_until("a flood", PATIENCE, || {
            let tried = tried.load(Ordering::Relaxed);
            if tried >= before + more { Ok(()) } else { Err(tried.to_string()) }
        })
        .unwrap();
    };
    thread::scope(|scope| {
        // However this ends, the flood does.
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| flood(&stranger, to, &tried, &stop));
        wait_tried(ENOUGH);
        cluster.gateway(COMING).mend().unwrap();
        wait_until("the session", PATIENCE, || {
            let shown = cluster.member(Topology::GATEWAY).gateway.show("cluster").unwrap();
            let row = shown.as_array().unwrap().iter().find(|row| row["id"] == COMING).unwrap();
            if row["session"] == "up" { Ok(()) } else { Err(shown.to_string()) }
        })
        .unwrap();
        assert_eq!(wait_even(&cluster, &ALL), before);
        wait_tried(FLOOD);
    });
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
