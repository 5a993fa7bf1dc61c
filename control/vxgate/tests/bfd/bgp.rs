//! BGP sessions that end when BFD says so.

use std::net::IpAddr;

use lab::{Family, Frr, wait_until};

use crate::stage::{PATIENCE, Stage, TIMING, far, frr_session, near, own, own_far};

/// A reflector with hold times that no test waits for: who notices a death is BFD.
fn bgpd(peers: &[(IpAddr, IpAddr)]) -> String {
    let mut text = "router bgp 65000\n bgp router-id 198.18.0.9\n no bgp default ipv4-unicast\n".to_owned();
    for (own, gateway) in peers {
        text += &format!(
            " neighbor {gateway} remote-as 65000\n neighbor {gateway} timers 600 1800\n \
             neighbor {gateway} update-source {own}\n neighbor {gateway} timers connect 1\n \
             neighbor {gateway} bfd 5 200 200\n"
        );
    }
    text += " address-family l2vpn evpn\n";
    for (_, gateway) in peers {
        text += &format!("  neighbor {gateway} activate\n  neighbor {gateway} route-reflector-client\n");
    }
    text + " exit-address-family\n"
}

fn wait_bgp(stage: &Stage, peer: IpAddr, is_up: bool) {
    wait_until(&format!("BGP with {peer}, established: {is_up}"), PATIENCE, || {
        let rows = stage.gateway.show("bgp peers").map_err(|error| error.to_string())?;
        let row = rows.as_array().unwrap().iter().find(|row| row["address"] == peer.to_string());
        let established = row.is_some_and(|row| row["state"] == "Established");
        if established == is_up { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap();
}

/// FRR chooses by itself between one hop and several, as the gateway does.
fn wait_frr(frr: &Frr, gateway: IpAddr, multihop: bool) {
    wait_until("bgpd's session of bfdd", PATIENCE, || {
        let row = frr_session(frr, gateway, multihop)?;
        if row["status"] == "up" { Ok(()) } else { Err(row.to_string()) }
    })
    .unwrap();
}

#[test]
fn bgp_falls_with_its_link_and_outlives_the_operators_pause() {
    let mut stage = Stage::new();
    let frr = stage.frr(&[
        ("bfdd", ""),
        ("bgpd", &bgpd(&[(near(Family::V4), own(Family::V4)), (far(Family::V6), own_far(Family::V6))])),
    ]);
    let keys = format!("hold-time = 1800\nconnect-retry = 1\nbfd = {{ {TIMING} }}");
    let peers = [near(Family::V4), far(Family::V6)];
    let by_loopback = format!("{keys}\nlocal-address = \"{}\"", own_far(Family::V6));
    stage.start(&[(peers[0], &keys), (peers[1], &by_loopback)]);
    wait_frr(&frr, own(Family::V4), false);
    wait_frr(&frr, own_far(Family::V6), true);
    for (peer, segment) in peers.into_iter().zip(["underlay0", "multihop"]) {
        wait_bgp(&stage, peer, true);
        assert_eq!(stage.wait_up(peer)["segment"], segment);
    }

    stage.set_cable(false);
    for peer in peers {
        stage.wait_session(peer, "down", |row| row["standing"] == "down");
        wait_bgp(&stage, peer, false);
    }
    stage.set_cable(true);
    for peer in peers {
        stage.wait_up(peer);
        wait_bgp(&stage, peer, true);
    }

    // bfdd is put to rest: the path is as it was, and so is BGP (RFC 5882 §3.2).
    let [v4, _] = peers;
    let select = format!("peer {} local-address {v4} interface eth0", own(Family::V4));
    frr.vtysh(&["configure terminal", "bfd", &select, "shutdown"]).unwrap();
    stage.wait_session(v4, "held down", |row| row["standing"] == "held down by the peer");
    wait_bgp(&stage, v4, true);
}
