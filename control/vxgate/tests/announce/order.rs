//! Those overlays of a dead gateway come first that carried most through it: it has told the others.

use std::time::Duration;

use lab::{Failure, GapProbe, wait_until};

use crate::{ALL, PATIENCE, stage, wait_owned, winners};

#[test]
fn what_carries_most_is_taken_first() {
    let mut cluster = stage();
    // The last of all overlays: by number it would come last.
    let vni = cluster.stations.last().unwrap().site.vni.value();
    let victim = winners(&ALL)[vni as usize - 1];
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != victim).collect();
    let heir = winners(&rest)[vni as usize - 1];

    let flows = cluster.egress_flows().split_off(2 * (cluster.stations.len() - 1));
    let probe = GapProbe::start(&flows, Duration::from_millis(10)).unwrap();
    wait_until("the heir to know what carries most", PATIENCE, || {
        let rows = cluster.member(heir).gateway.show("cluster").map_err(|error| error.to_string())?;
        let row = rows.as_array().into_iter().flatten().find(|row| row["id"] == victim);
        if row.is_some_and(|row| row["busiest"] == vni) { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    wait_owned(&cluster, &rest);
    drop(probe);

    let rows = cluster.member(heir).gateway.show("moves").unwrap();
    let cause = format!("gateway {victim} is dead");
    let is_first = |row: &serde_json::Value| row["cause"] == *cause && row["groups"][0] == vni;
    let row = rows.as_array().unwrap().iter().find(|row| is_first(row));
    let row = row.unwrap_or_else(|| panic!("{rows:#}"));
    assert!(row["count"].as_u64().unwrap() > 1, "{rows:#}");
}
