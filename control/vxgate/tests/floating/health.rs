//! What a gateway looks at to know whether it is able to serve: routers of the uplink, and the operator's tracks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lab::{Cluster, ClusterOptions, Family, Topology, wait_until};

use crate::{ALL, GATEWAYS, PATIENCE, VXGATE, tables, wait_even};

/// Waits until the gateway says why it is unhealthy.
fn wait_reason(cluster: &Cluster, number: u8, reason: &str) {
    let gateway = &cluster.member(number).gateway;
    wait_until(&format!("gateway {number} to say {reason:?}"), PATIENCE, || {
        let log = gateway.log();
        if log.contains(reason) { Ok(()) } else { Err(log) }
    })
    .unwrap();
}

#[test]
fn shards_leave_who_cannot_reach_a_router_or_whose_track_fails() {
    let interval = Duration::from_millis(50);
    let options =
        ClusterOptions { gateways: GATEWAYS, probed: 0, bfd: Some(interval), ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    // FRR speaks BFD with gateway 1 for its own sake, and with nobody as a BGP peer.
    let own = Topology::UPLINK.address(Family::V4, 1);
    let peer = format!("peer {own}");
    let asn = format!("router bgp {}", Cluster::UPSTREAM_ASN);
    cluster.upstream.vtysh(&["configure terminal", &asn, "no neighbor c bfd"]).unwrap();
    let watch = |cluster: &Cluster| {
        cluster.upstream.vtysh(&["configure terminal", "bfd", &peer, "profile lab"]).unwrap();
    };
    watch(&cluster);

    let router = Topology::UPLINK.address(Family::V4, Topology::ROUTER);
    let track = cluster.topology.lab.directory().join("serve");
    fs::write(&track, "").unwrap();
    for number in ALL {
        let more = match number {
            1 => format!("[[cluster.uplink-router]]\naddress = \"{router}\"\n\n"),
            2 => String::new(),
            _ => format!("[[cluster.uplink-router]]\naddress = \"{router}\"\nby = \"bgp\"\n\n"),
        };
        let mut membership = cluster.membership(number, Family::V4, &tables(&Cluster::SHARD_VTEPS));
        if number == 2 {
            let tracks = format!(
                "[cluster]\ntracks = [{{ file = {track:?} }}, {{ interface = \"underlay0\" }}, {{ route = \"::/0\" }}]\n"
            );
            membership = membership.replacen("[cluster]\n", &tracks, 1);
        }
        let config = cluster.config(number, "", &(membership + &more));
        let (head, tail) = config.split_once(&format!("remote-asn = {}", Cluster::UPSTREAM_ASN)).unwrap();
        let tail = tail.replacen(&format!("bfd = {{ interval = {} }}\n", interval.as_millis()), "", 1);
        let config = format!("{head}remote-asn = {}{tail}", Cluster::UPSTREAM_ASN);
        cluster.start_with(number, &config).unwrap();
    }
    let before = wait_even(&cluster, &ALL);

    // The operator's script says that this one is not to serve.
    fs::remove_file(&track).unwrap();
    wait_even(&cluster, &[1, 3]);
    wait_reason(&cluster, 2, "track file ");
    fs::write(&track, "").unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);
    let default = format!("default via {}", Topology::UPLINK.address(Family::V6, Topology::ROUTER));
    cluster.gateways[1].namespace.ip(&format!("route del {default}")).unwrap();
    wait_even(&cluster, &[1, 3]);
    wait_reason(&cluster, 2, "track route ::/0");
    cluster.gateways[1].namespace.ip(&format!("route add {default}")).unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);

    // The router is no longer heard by who listens.
    cluster.upstream.vtysh(&["configure terminal", "bfd", &format!("no {peer}")]).unwrap();
    wait_even(&cluster, &[2, 3]);
    wait_reason(&cluster, 1, "the uplink's router is not alive");
    watch(&cluster);
    assert_eq!(wait_even(&cluster, &ALL), before);

    // Its BGP ends, which one gateway alone takes for a sign.
    cluster.upstream.kill_bgpd().unwrap();
    wait_even(&cluster, &[1, 2]);
    wait_reason(&cluster, 3, "the uplink's router is not alive");
    cluster.upstream.restart_bgpd().unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);
}
