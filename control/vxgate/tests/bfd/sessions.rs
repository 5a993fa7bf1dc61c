//! Sessions with bfdd alone: over one hop and several, in both families, beside another bfdd, and against forgers.

use std::net::{IpAddr, UdpSocket};

use lab::{Family, Frr, Signal, Topology, wait_until};
use serde_json::Value;

use crate::forged::forged;
use crate::stage::{FRR_TIMING, PATIENCE, Stage, TIMING, far, frr_session, near, own};

/// One session of bfdd.
fn single_hop(own: IpAddr, peer: IpAddr, interface: &str) -> String {
    format!(" peer {peer} local-address {own} interface {interface}\n  {FRR_TIMING}\n !\n")
}

fn multihop(own: IpAddr, peer: IpAddr) -> String {
    format!(" peer {peer} multihop local-address {own}\n  {FRR_TIMING}\n !\n")
}

fn bfdd(sessions: impl IntoIterator<Item = String>) -> String {
    format!("bfd\n{}", sessions.into_iter().collect::<String>())
}

fn one_hop() -> String {
    format!("bfd = {{ {TIMING}, multihop = false }}")
}

fn count(row: &Value, group: &str, reason: &str) -> u64 {
    row[group][reason].as_u64().unwrap_or(0)
}

#[test]
fn one_hop_and_several_in_both_families() {
    let mut stage = Stage::new();
    let sessions = Family::BOTH
        .map(|family| single_hop(near(family), own(family), "eth0") + &multihop(far(family), own(family)));
    let frr = stage.frr(&[("bfdd", &bfdd(sessions))]);
    let (one, several) = (one_hop(), format!("bfd = {{ {TIMING} }}"));
    let peers = Family::BOTH.map(|family| [(near(family), &*one), (far(family), &*several)]);
    stage.start(&peers.concat());
    for (family, peer, is_far) in Family::BOTH
        .into_iter()
        .flat_map(|family| [(family, near(family), false), (family, far(family), true)])
    {
        let row = stage.wait_session(peer, "up, as agreed", |row| {
            row["state"] == "Up" && row["transmit-ms"] == 200.0 && row["detection-ms"] == 1000.0
        });
        let (segment, min_ttl) = if is_far { ("multihop", 254) } else { ("underlay0", 255) };
        assert_eq!((&row["segment"], &row["min-ttl"]), (&segment.into(), &min_ttl.into()), "{row}");
        wait_until("bfdd to agree", PATIENCE, || {
            let row = frr_session(&frr, own(family), is_far)?;
            let agrees = row["status"] == "up" && row["remote-transmit-interval"] == 200;
            if agrees { Ok(()) } else { Err(row.to_string()) }
        })
        .unwrap();
    }
    let table = stage.gateway.show_table("bfd").unwrap();
    assert!(table.contains("3784 IPv4 bound") && table.contains("4784 IPv6 bound"), "{table}");

    // The peer's operator.
    let peer = near(Family::V4);
    let select = format!("peer {} local-address {peer} interface eth0", own(Family::V4));
    frr.vtysh(&["configure terminal", "bfd", &select, "shutdown"]).unwrap();
    stage.wait_session(peer, "held down", |row| row["standing"] == "held down by the peer");
    frr.vtysh(&["configure terminal", "bfd", &select, "no shutdown"]).unwrap();
    stage.wait_up(peer);

    // A cable.
    stage.set_cable(false);
    for family in Family::BOTH {
        let row = stage.wait_session(near(family), "down", |row| row["standing"] == "down");
        assert_eq!(row["diagnostic"], "detection time expired", "{row}");
    }
    let events = stage.events();
    let down = events.iter().find(|row| row["cause"] == "nothing heard for the detection time").unwrap();
    assert!(down["silence-us"].as_u64().unwrap() >= 1_000_000, "{down}");
    stage.set_cable(true);
    Family::BOTH.into_iter().for_each(|family| drop(stage.wait_up(near(family))));

    // The gateway goes, and says so.
    stage.gateway.stop().unwrap();
    wait_until("the gateway's last word", PATIENCE, || {
        let row = frr_session(&frr, own(Family::V4), false)?;
        let told = row["status"] == "down" && row["remote-diagnostic"] == "administratively down";
        if told { Ok(()) } else { Err(row.to_string()) }
    })
    .unwrap();
}

#[test]
fn beside_a_bfdd_that_owns_the_port() {
    let mut stage = Stage::new();
    let frr = stage
        .frr(&[("bfdd", &bfdd(Family::BOTH.map(|family| single_hop(near(family), own(family), "eth0"))))]);
    // One on the gateway itself, with a session to the router.
    let router = |number| Topology::UPLINK.address(Family::V4, number);
    let [here, there] = [Topology::GATEWAY, Topology::ROUTER].map(router);
    let local =
        Frr::start_daemons(&stage.topology.gateway, &[("bfdd", &bfdd([single_hop(here, there, "uplink0")]))])
            .unwrap();
    let remote =
        Frr::start_daemons(&stage.topology.router, &[("bfdd", &bfdd([single_hop(there, here, "uplink")]))])
            .unwrap();
    let one = one_hop();
    stage.start(&Family::BOTH.map(|family| (near(family), &*one)));
    for family in Family::BOTH {
        stage.wait_up(near(family));
        wait_until("the far bfdd's session", PATIENCE, || {
            let row = frr_session(&frr, own(family), false)?;
            if row["status"] == "up" { Ok(()) } else { Err(row.to_string()) }
        })
        .unwrap();
    }
    for (frr, peer) in [(&local, there), (&remote, here)] {
        wait_until("bfdd's own session", PATIENCE, || {
            let row = frr_session(frr, peer, false)?;
            if row["status"] == "up" { Ok(()) } else { Err(row.to_string()) }
        })
        .unwrap();
    }
    let view = stage.gateway.show("bfd").unwrap();
    let ports = view["ports"].as_array().unwrap();
    assert!(ports.len() == 2 && ports.iter().all(|port| port.as_str().unwrap().contains("shared")), "{view}");
    // What is bfdd's is seen, and is none of ours.
    assert!(count(&view, "unclaimed", "unknown-discriminator") > 0, "{view}");
}

#[test]
fn forgers_are_not_heard_and_counted() {
    let mut stage = Stage::new();
    let _frr = stage
        .frr(&[("bfdd", &bfdd(Family::BOTH.map(|family| single_hop(near(family), own(family), "eth0"))))]);
    let one = one_hop();
    stage.start(&Family::BOTH.map(|family| (near(family), &*one)));
    for family in Family::BOTH {
        let (peer, target) = (near(family), own(family));
        let before = stage.wait_up(peer);
        let send = |from: IpAddr, ttl: u32, payload: &[u8]| {
            let send = || {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                match from {
                    IpAddr::V4(_) => socket.set_ttl(ttl).unwrap(),
                    IpAddr::V6(_) => {
                        rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(ttl as u8)).unwrap();
                    }
                }
                socket.send_to(payload, (target, bfd::SINGLE_HOP_PORT)).unwrap();
            };
            stage.peer.namespace.enter(send).unwrap();
        };
        // From beyond a router, and from another host; not a packet at all; authenticated, as nobody agreed.
        send(peer, 254, &forged().emit());
        send(far(family), 255, &forged().emit());
        send(peer, 255, b"x");
        let mut signed = forged().emit().to_vec();
        (signed[1], signed[3]) = (signed[1] | 0x04, 52);
        signed.extend([5, 28]);
        signed.resize(52, 0);
        send(peer, 255, &signed);
        stage.wait_session(peer, "with what was forged counted", |row| {
            count(row, "dropped", "ttl") >= 1 && count(row, "dropped", "auth-unexpected") >= 1
        });
        wait_until("what is of no session", PATIENCE, || {
            let view = stage.gateway.show("bfd").unwrap();
            let met =
                ["unknown-peer", "truncated"].iter().all(|reason| count(&view, "unclaimed", reason) >= 1);
            if met { Ok(()) } else { Err(view.to_string()) }
        })
        .unwrap();
        let after = stage.session(peer).unwrap();
        assert_eq!((&after["state"], &after["ups"]), (&"Up".into(), &before["ups"]), "{after}");
    }
}

/// A netdev's name may stay while its index, which packets are told apart by, is another.
#[test]
fn a_session_follows_an_interface_that_is_made_anew() {
    let mut stage = Stage::new();
    let (own, peer): ([IpAddr; 2], [IpAddr; 2]) = (
        ["192.0.77.1", "2001:db8:77::1"].map(|address| address.parse().unwrap()),
        ["192.0.77.9", "2001:db8:77::9"].map(|address| address.parse().unwrap()),
    );
    let tagged = |under: &str, [v4, v6]: [IpAddr; 2]| {
        format!(
            "link add link {under} name tagged0 type vlan id 77\nlink set tagged0 up\n\
             address add {v4}/24 dev tagged0\naddress add {v6}/64 dev tagged0 nodad"
        )
    };
    stage.peer.namespace.ip(&tagged("eth0", peer)).unwrap();
    let here = tagged("underlay0", own);
    stage.topology.gateway.ip(&here).unwrap();
    let sessions = [0, 1].map(|family| single_hop(peer[family], own[family], "tagged0"));
    let _frr = stage.frr(&[("bfdd", &bfdd(sessions))]);
    let one = one_hop();
    stage.start(&peer.map(|peer| (peer, &*one)));
    peer.into_iter().for_each(|peer| drop(stage.wait_up(peer)));

    stage.topology.gateway.ip(&format!("link delete tagged0\n{here}")).unwrap();
    for peer in peer {
        wait_until("the end of the session", PATIENCE, || {
            let of_peer = |row: &&Value| row["peer"] == peer.to_string();
            let events = stage.events();
            let is_down = |row: &Value| row["cause"] == "nothing heard for the detection time";
            let ended = events.iter().filter(of_peer).any(is_down);
            if ended { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .unwrap();
        stage.wait_up(peer);
    }
}

#[test]
fn a_stopped_gateway_accuses_nobody() {
    let mut stage = Stage::new();
    let frr = stage
        .frr(&[("bfdd", &bfdd(Family::BOTH.map(|family| single_hop(near(family), own(family), "eth0"))))]);
    let one = one_hop();
    stage.start(&Family::BOTH.map(|family| (near(family), &*one)));
    Family::BOTH.into_iter().for_each(|family| drop(stage.wait_up(near(family))));
    let before = stage.events().len();
    let process = stage.gateway.process().unwrap();
    process.signal(Signal::STOP).unwrap();
    for family in Family::BOTH {
        wait_until("the peer to miss it", PATIENCE, || {
            let row = frr_session(&frr, own(family), false)?;
            if row["status"] == "down" { Ok(()) } else { Err(row.to_string()) }
        })
        .unwrap();
    }
    stage.gateway.process().unwrap().signal(Signal::CONT).unwrap();
    for family in Family::BOTH {
        stage.wait_session(near(family), "up again", |row| row["state"] == "Up" && row["ups"] == 2);
    }
    let events = stage.events();
    assert!(events.len() > before);
    let accusations = events.iter().filter(|row| row["cause"].as_str().unwrap().starts_with("nothing"));
    assert_eq!(accusations.count(), 0, "{events:?}");
    let view = stage.gateway.show("bfd").unwrap();
    assert!(view["stolen-periods"].as_u64().unwrap() >= 1, "{view}");
}
