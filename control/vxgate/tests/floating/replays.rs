//! BFD packets of gateways that somebody on the link has recorded, and sends again: as they were, or changed.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use lab::{Cluster, ClusterOptions, Failure, Family, PacketSocket, Topology, wait_until};
use serde_json::Value;

use crate::keys::{dropped, wait_session};
use crate::{ALL, GATEWAYS, PATIENCE, VXGATE, events, tables, wait_even};

/// Whose packets are recorded, all on their way to or from gateway 1.
const RECORDED: u8 = 2;

/// Where a packet has its state (RFC 5880 §4.1), and its own and the other's discriminator.
const STATE: usize = 1;
const YOUR_DISCRIMINATOR: usize = 8;

const UP: u8 = 3;
const ADMIN_DOWN: u8 = 0;

fn state(payload: &[u8]) -> u8 {
    payload[STATE] >> 6
}

/// What comes to a gateway from now on.
fn arriving(cluster: &Cluster, number: u8) -> PacketSocket {
    cluster.member(number).namespace.packet_socket("underlay0").unwrap()
}

/// Waits for a packet of BFD that comes to a gateway from this address and is so: what it says.
fn record(socket: &PacketSocket, from: IpAddr, is: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    wait_until(&format!("a packet of BFD from {from}"), PATIENCE, || {
        while let Ok(Some(length)) = socket.receive(&mut buffer, Duration::from_millis(100)) {
            let Ok(headers) = PacketHeaders::from_ethernet_slice(&buffer[..length]) else { continue };
            let source: IpAddr = match &headers.net {
                Some(NetHeaders::Ipv4(header, _)) => header.source.into(),
                Some(NetHeaders::Ipv6(header, _)) => header.source.into(),
                _ => continue,
            };
            let Some(TransportHeader::Udp(udp)) = headers.transport else { continue };
            let payload = headers.payload.slice();
            if source == from && udp.destination_port == bfd::SINGLE_HOP_PORT && is(payload) {
                return Ok(payload.to_vec());
            }
        }
        Err("none")
    })
    .unwrap()
}

/// Somebody on the underlay who sends to gateway 1 in the name of others.
struct Forger<'a> {
    cluster: &'a Cluster,
    socket: PacketSocket,
}

impl<'a> Forger<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let endpoint = &cluster.endpoint;
        let socket = endpoint.namespace.packet_socket(&endpoint.nic.interface).unwrap();
        Self { cluster, socket }
    }

    /// One packet, with this TTL.
    fn send(&self, from: IpAddr, ttl: u8, payload: &[u8]) {
        let to = &self.cluster.topology.underlay0;
        let ethernet = PacketBuilder::ethernet2(self.cluster.endpoint.nic.mac.0, to.mac.0);
        let family = if from.is_ipv4() { Family::V4 } else { Family::V6 };
        let ip = match (from, Topology::UNDERLAY.address(family, Topology::GATEWAY)) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), ttl),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), ttl),
            _ => unreachable!("one family"),
        };
        let mut frame = Vec::new();
        ip.udp(*bfd::SOURCE_PORTS.start(), bfd::SINGLE_HOP_PORT).write(&mut frame, payload).unwrap();
        self.socket.send(&frame).unwrap();
    }

    /// Sends a packet until it is counted for this reason: at its session, or as nobody's.
    fn refused(&self, from: IpAddr, ttl: u8, payload: &[u8], reasons: &[&str]) {
        let count = || {
            let view = self.cluster.member(1).gateway.show("bfd").unwrap();
            let rows = view["sessions"].as_array().unwrap();
            let of_session = rows.iter().filter(|row| row["peer"] == from.to_string());
            let all = of_session.map(|row| &row["dropped"]).chain([&view["unclaimed"]]);
            let counted = |counts: &Value| reasons.iter().filter_map(|of| counts[of].as_u64()).sum::<u64>();
            (all.map(counted).sum::<u64>(), view)
        };
        let (before, _) = count();
        wait_until(&format!("a packet to be refused as {reasons:?}"), PATIENCE, || {
            self.send(from, ttl, payload);
            let (now, view) = count();
            if now > before { Ok(()) } else { Err(view.to_string()) }
        })
        .unwrap();
    }
}

fn moves(cluster: &Cluster, number: u8) -> usize {
    events(cluster, number).iter().filter(|event| event["event"] == "cluster-moved").count()
}

/// Does this: no session of gateway 1 with the recorded one ends or comes up by it, and nothing moves.
fn harmless(cluster: &Cluster, running: &[u8], deed: impl FnOnce(&Forger<'_>)) {
    let is_up = running.contains(&RECORDED);
    let settled = |row: &Value| (row["state"] == "Up") == is_up;
    let owners = wait_even(cluster, running);
    let before = Family::BOTH.map(|family| wait_session(cluster, RECORDED, family, settled));
    let moved: Vec<usize> = running.iter().map(|&number| moves(cluster, number)).collect();
    deed(&Forger::new(cluster));
    for (family, before) in Family::BOTH.into_iter().zip(before) {
        let after = wait_session(cluster, RECORDED, family, |_| true);
        assert_eq!((&after["state"], &after["ups"]), (&before["state"], &before["ups"]), "{after}");
    }
    assert_eq!(running.iter().map(|&number| moves(cluster, number)).collect::<Vec<_>>(), moved);
    assert_eq!(wait_even(cluster, running), owners);
}

#[test]
fn what_is_sent_again_or_changed_ends_nothing_and_brings_nobody_up() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 0, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let keys = "[cluster.bfd]\nkeys = [{ id = 1, secret = \"hush-hush\" }]\n";
    let tables = tables(&Cluster::SHARD_VTEPS).replacen("[cluster.bfd]\n", keys, 1);
    cluster.start_all(Family::V4, &tables).unwrap();
    wait_even(&cluster, &ALL);
    let sources = Family::BOTH.map(|family| Topology::UNDERLAY.address(family, RECORDED));
    let own = Family::BOTH.map(|family| Topology::UNDERLAY.address(family, Topology::GATEWAY));

    // Of a session that is up.
    let incoming = arriving(&cluster, Topology::GATEWAY);
    let said = sources.map(|source| record(&incoming, source, |payload| state(payload) == UP));
    harmless(&cluster, &ALL, |forger| {
        for (source, said) in sources.into_iter().zip(&said) {
            forger.refused(source, 255, said, &["auth-sequence"]);
            forger.refused(source, 254, said, &["ttl"]);
            for length in [0, 1, 3, bfd::packet::LENGTH - 1, bfd::packet::LENGTH, said.len() - 1] {
                forger.refused(source, 255, &said[..length], &["truncated"]);
            }
            let changed = |at: usize, to: u8| {
                let mut said = said.clone();
                said[at] = to;
                said
            };
            forger.refused(source, 255, &changed(STATE, said[STATE] & 0x3f), &["auth-hash"]);
            forger.refused(source, 255, &changed(said.len() - 1, !said[said.len() - 1]), &["auth-hash"]);
            let other = !said[YOUR_DISCRIMINATOR];
            forger.refused(source, 255, &changed(YOUR_DISCRIMINATOR, other), &["unknown-discriminator"]);
            // The same without what authenticates it, as one who has no key would say it.
            let mut bare = said[..bfd::packet::LENGTH].to_vec();
            (bare[STATE], bare[3]) = (bare[STATE] & 0x3b, bare.len() as u8);
            forger.refused(source, 255, &bare, &["auth-missing"]);
        }
    });

    // What it said while it was unhealthy: the session is the same one still.
    let incoming = arriving(&cluster, Topology::GATEWAY);
    cluster.gateway(RECORDED).fail(Failure::UplinkDown).unwrap();
    let last_words = sources.map(|source| record(&incoming, source, |payload| state(payload) == ADMIN_DOWN));
    cluster.gateway(RECORDED).mend().unwrap();
    harmless(&cluster, &ALL, |forger| {
        for (source, words) in sources.into_iter().zip(&last_words) {
            forger.refused(source, 255, words, &["auth-sequence"]);
        }
    });

    // What it said when it was stopped in order: it is there again.
    let incoming = arriving(&cluster, Topology::GATEWAY);
    cluster.gateway(RECORDED).gateway.stop().unwrap();
    let last_words = sources.map(|source| record(&incoming, source, |payload| state(payload) == ADMIN_DOWN));
    cluster.gateway(RECORDED).gateway.start().unwrap();
    harmless(&cluster, &ALL, |forger| {
        for words in [&said, &last_words] {
            for (source, words) in sources.into_iter().zip(words) {
                forger.refused(source, 255, words, &["auth-sequence", "unknown-discriminator"]);
            }
        }
    });

    // It is dead: neither what it has said makes it live, nor what gateway 1 itself says.
    cluster.gateway(RECORDED).fail(Failure::Killed).unwrap();
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != RECORDED).collect();
    wait_even(&cluster, &rest);
    let outgoing = arriving(&cluster, RECORDED);
    let searching = own.map(|own| {
        record(&outgoing, own, |payload| payload[YOUR_DISCRIMINATOR..][..4] == [0; 4] && state(payload) != UP)
    });
    harmless(&cluster, &rest, |forger| {
        for ((source, said), own) in sources.into_iter().zip(&said).zip(&searching) {
            forger.refused(source, 255, said, &["unknown-discriminator"]);
            forger.refused(source, 255, own, &["reflected"]);
        }
    });
    for family in Family::BOTH {
        let row = wait_session(&cluster, RECORDED, family, |_| true);
        assert!(dropped(&row, "reflected") > 0, "{row}");
    }
    cluster.gateway(RECORDED).mend().unwrap();
    wait_even(&cluster, &ALL);
}
