//! BFD between gateways has keys: those that have them alike hear each other, and nobody else ends what they have.

use std::net::UdpSocket;
use std::path::Path;

use lab::{Cluster, ClusterOptions, Family, Topology, wait_until};
use serde_json::Value;

use crate::forged::forged;
use crate::{ALL, GATEWAYS, PATIENCE, VXGATE, tables};

/// The session of gateway 1 with another on the underlay.
fn session(cluster: &Cluster, other: u8, family: Family) -> Result<Value, String> {
    let view = cluster.gateways[0].gateway.show("bfd").map_err(|error| error.to_string())?;
    let peer = Topology::UNDERLAY.address(family, other).to_string();
    let row = view["sessions"].as_array().unwrap().iter().find(|row| row["peer"] == *peer);
    row.cloned().ok_or_else(|| view.to_string())
}

pub(crate) fn wait_session(
    cluster: &Cluster,
    other: u8,
    family: Family,
    is: impl Fn(&Value) -> bool,
) -> Value {
    wait_until(&format!("the session with gateway {other}, {family:?}"), PATIENCE, || {
        let row = session(cluster, other, family)?;
        if is(&row) { Ok(row) } else { Err(row.to_string()) }
    })
    .unwrap()
}

pub(crate) fn dropped(row: &Value, reason: &str) -> u64 {
    row["dropped"][reason].as_u64().unwrap_or(0)
}

#[test]
fn those_with_the_key_hear_each_other_and_nobody_else() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 0, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    for number in ALL {
        let secret = if number == 3 { "another" } else { "hush-hush" };
        let keys = format!("[cluster.bfd]\nkeys = [{{ id = 1, secret = {secret:?} }}]\n");
        let tables = tables(&Cluster::SHARD_VTEPS).replacen("[cluster.bfd]\n", &keys, 1);
        let membership = cluster.membership(number, Family::V4, &tables);
        cluster.start(number, "", &membership).unwrap();
    }
    for family in Family::BOTH {
        let before = wait_session(&cluster, 2, family, |row| row["state"] == "Up");
        assert_eq!(before["authenticated"], true);
        let other = wait_session(&cluster, 3, family, |row| dropped(row, "auth-hash") > 0);
        assert_eq!((&other["state"], &other["ups"]), (&"Down".into(), &0.into()));

        // A host on the link that takes gateway 2's address.
        let [from, to] = [2, 1].map(|number| Topology::UNDERLAY.address(family, number));
        let length = if family == Family::V4 { 32 } else { 128 };
        let forger = &cluster.endpoint.namespace;
        forger.ip(&format!("link set lo up\naddress add {from}/{length} dev lo\n")).unwrap();
        let send = || {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            match family {
                Family::V4 => socket.set_ttl(255).unwrap(),
                Family::V6 => rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(255)).unwrap(),
            }
            let mut signed = forged().emit().to_vec();
            (signed[1], signed[3]) = (signed[1] | 0x04, 52);
            // Meticulous Keyed SHA1 (RFC 5880 section 4.4) with key 1, and without its secret.
            signed.extend([5, 28, 1, 0]);
            signed.resize(52, 0);
            for payload in [&forged().emit()[..], &signed] {
                socket.send_to(payload, (to, bfd::SINGLE_HOP_PORT)).unwrap();
            }
        };
        forger.enter(send).unwrap();
        let after = wait_session(&cluster, 2, family, |row| {
            dropped(row, "auth-missing") > 0 && dropped(row, "auth-hash") > 0
        });
        assert_eq!((&after["state"], &after["ups"]), (&"Up".into(), &before["ups"]), "{after}");
    }
    assert!(!cluster.gateways[0].gateway.log().contains("hush-hush"));
}
