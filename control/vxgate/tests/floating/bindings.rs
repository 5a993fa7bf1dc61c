//! What a gateway has learned of stations: who takes over does not ask them anew, and who comes back has it before it serves.

use std::net::IpAddr;

use lab::{Capture, Cluster, ClusterOptions, Failure, Family, Ping, wait_until};

use crate::{ALL, GATEWAYS, PATIENCE, shard_of, start, victim, wait_even, wait_part};

/// The stations' addresses that a gateway has MAC addresses of.
fn known(cluster: &Cluster, number: u8) -> Vec<IpAddr> {
    let rows = cluster.member(number).gateway.show("neighbours").unwrap();
    let rows = rows.as_array().unwrap().iter().filter(|row| row["mac"].is_string());
    rows.map(|row| row["address"].as_str().unwrap().parse().unwrap()).collect()
}

/// The addresses of the stations that this gateway has not.
fn missing(cluster: &Cluster, number: u8) -> Vec<IpAddr> {
    let known = known(cluster, number);
    let all = cluster.stations.iter().flat_map(|station| Family::BOTH.map(|family| station.address(family)));
    all.filter(|address| !known.contains(address)).collect()
}

#[test]
fn who_takes_over_asks_no_station_anew() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 3, ..ClusterOptions::default() };
    let mut cluster = start(options);
    let before = wait_even(&cluster, &ALL);
    cluster.route_shards(cluster.stations.iter().map(|station| &station.site), shard_of).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    // Each was learned by the one gateway that serves its overlay.
    for number in ALL {
        wait_until(&format!("the bindings at gateway {number}"), PATIENCE, || {
            match missing(&cluster, number)[..] {
                [] => Ok(()),
                ref some => Err(format!("it has none of {some:?}")),
            }
        })
        .unwrap();
    }

    let (victim, rest) = victim(&cluster, &before);
    let capture = Capture::start(&cluster.endpoint.namespace, &cluster.endpoint.nic.interface).unwrap();
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    wait_even(&cluster, &rest);
    // From the outside alone: a station that sends would be learned of by that.
    for family in Family::BOTH {
        let address = cluster.stations[0].address(family);
        wait_until(&format!("{address} to be reached"), PATIENCE, || {
            let report = Ping::to(address).count(1).run(&cluster.outer.namespace).unwrap();
            if report.is_complete() { Ok(()) } else { Err(format!("{report:?}")) }
        })
        .unwrap();
    }
    let capture = capture.stop().unwrap();
    for (family, question) in [
        (Family::V4, "arp.opcode == 1 && eth.dst == ff:ff:ff:ff:ff:ff && arp.dst.proto_ipv4"),
        (Family::V6, "icmpv6.type == 135 && eth.dst[0:2] == 33:33 && icmpv6.nd.ns.target_address"),
    ] {
        let address = cluster.stations[0].address(family);
        assert_eq!(capture.count(&format!("vxlan && {question} == {address}")).unwrap(), 0, "{address}");
    }
    assert!(capture.count("vxlan && icmp.type == 8").unwrap() > 0, "what went to the station was seen");

    // Back: nothing is sent to stations meanwhile.
    cluster.gateway(victim).mend().unwrap();
    wait_part(&cluster, victim, "serving", |_| true);
    assert_eq!(missing(&cluster, victim), [] as [IpAddr; 0]);
    assert_eq!(wait_even(&cluster, &ALL), before);
}
