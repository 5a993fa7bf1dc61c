//! Gateways that find each other by EVPN, with FRR as the reflector; another cluster and a stranger on the same fabric.

use std::path::Path;

use lab::{Cluster, ClusterOptions, Failure, Family, Topology, wait_until};
use serde_json::Value;

use crate::{ALL, GATEWAYS, PATIENCE, SHARDS, VXGATE, events, tables, wait_even, wait_part};

const OF_ANOTHER_CLUSTER: u8 = GATEWAYS + 1;
const STRANGER: u8 = GATEWAYS + 2;

/// The tables of a gateway, with those of its first `others` alone.
fn membership(cluster: &Cluster, number: u8, keys: &str, others: usize) -> String {
    let all = cluster.membership(number, Family::V4, &format!("discover = true\n{keys}"));
    let gateways: Vec<_> = all.split("[[cluster.gateway]]").take(1 + others).collect();
    gateways.join("[[cluster.gateway]]")
}

/// VTEPs of which there are type 4 routes of a cluster's segment at a gateway.
pub(crate) fn announced(cluster: &Cluster, number: u8, of: u16) -> Vec<String> {
    let rows = cluster.member(number).gateway.show("bgp routes").unwrap();
    let segment = format!("[00:76:78:67:77:{:02x}:{:02x}:00:00:00]", of >> 8, of & 0xff);
    let routes = rows.as_array().unwrap().iter().map(|row| row["route"].as_str().unwrap());
    let routes = routes.filter(|route| route.starts_with("[4]") && route.contains(&segment));
    routes.map(|route| route.rsplit('[').next().unwrap().trim_end_matches(']').to_owned()).collect()
}

#[test]
fn gateways_find_each_other_and_no_stranger_disturbs_them() {
    let options = ClusterOptions { gateways: STRANGER, probed: 1, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let floating = tables(&Cluster::SHARD_VTEPS);
    for number in ALL {
        let tables = membership(&cluster, number, &floating, usize::from(GATEWAYS) - 1);
        let config = cluster.config(number, "", &tables);
        cluster.start_with(number, &config).unwrap();
    }
    let before = wait_even(&cluster, &ALL);

    // Another cluster, with overlays and shards of its own, of which one gateway runs.
    let tables = membership(&cluster, OF_ANOTHER_CLUSTER, &floating, 5);
    let (head, gateways) = tables.split_once("[[cluster.gateway]]").unwrap();
    let stranger = format!("id = {STRANGER}\n");
    let listed = gateways.split("[[cluster.gateway]]").find(|table| table.contains(&stranger)).unwrap();
    let config = cluster
        .config(OF_ANOTHER_CLUSTER, "", &format!("{head}[[cluster.gateway]]{listed}"))
        .replace("number = 1\n", "number = 2\n")
        .replace("vnis = \"1-100\"", "vnis = \"1001-1100\"")
        .replace("198.18.13.", "198.18.14.")
        .replace("198.18.9.", "198.18.10.")
        .replace("::100/120", "::200/120");
    cluster.start_with(OF_ANOTHER_CLUSTER, &config).unwrap();
    // A gateway that says that it is of the first cluster, in which nobody knows it.
    let tables = membership(&cluster, STRANGER, "mode = \"announce\"\n", 1);
    let config = cluster.config(STRANGER, "", &tables).replace("vnis = \"1-100\"", "vnis = \"2001-2100\"");
    cluster.start_with(STRANGER, &config).unwrap();

    let vtep = |number: u8| Topology::UNDERLAY.address(Family::V4, number).to_string();
    let is_told = |event: &Value, of: &str| {
        event["event"] == "cluster-stranger" && event["detail"].as_str().unwrap().starts_with(of)
    };
    for number in ALL {
        let mut expected: Vec<String> = ALL.into_iter().filter(|&other| other != number).map(vtep).collect();
        expected.push(vtep(STRANGER));
        wait_until(&format!("gateway {number} to hear of all"), PATIENCE, || {
            let mut found = announced(&cluster, number, Cluster::NUMBER);
            found.sort();
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .unwrap();
        wait_until(&format!("gateway {number} to hear of the other cluster"), PATIENCE, || {
            let found = announced(&cluster, number, 2);
            if found == [vtep(OF_ANOTHER_CLUSTER)] { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .unwrap();
        let events = events(&cluster, number);
        assert!(events.iter().any(|event| is_told(event, &vtep(STRANGER))), "{events:#?}");
        assert!(!events.iter().any(|event| is_told(event, &vtep(OF_ANOTHER_CLUSTER))), "{events:#?}");
        let members = events.iter().filter(|event| event["event"] == "cluster-member").count();
        assert_eq!(members, usize::from(GATEWAYS) - 1, "{events:#?}");
    }
    wait_part(&cluster, OF_ANOTHER_CLUSTER, "serving", |shards| shards == u64::from(SHARDS));
    assert_eq!(wait_even(&cluster, &ALL), before, "nothing has moved");

    // Without a reflector nothing moves, and who dies is taken over for, and is a member no more.
    cluster.reflector.kill_bgpd().unwrap();
    for number in ALL {
        wait_until(&format!("gateway {number} to lose the reflector"), PATIENCE, || {
            let found = announced(&cluster, number, Cluster::NUMBER);
            if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .unwrap();
    }
    assert_eq!(wait_even(&cluster, &ALL), before);
    let rest = &ALL[1..];
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    wait_even(&cluster, rest);
    for &number in rest {
        wait_until(&format!("gateway {number} to remove the dead one"), PATIENCE, || {
            let events = events(&cluster, number);
            let removed = |event: &&Value| event["event"] == "cluster-member" && event["detail"] == "removed";
            match &events.iter().filter(removed).collect::<Vec<_>>()[..] {
                [event] if event["gateway"] == 1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }
}
