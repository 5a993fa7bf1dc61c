//! A gateway that did not run for longer than the others wait throws away what waited for it, and announces nothing before it has
//! joined anew.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::{Capture, Cluster, ClusterOptions, Failure, Family, GapProbe, Topology, wait_until};

use crate::{ALL, GATEWAYS, PATIENCE, events, shard_of, start, victim, wait_even};

const INTERVAL: Duration = Duration::from_millis(2);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 100;

fn stale(cluster: &Cluster, number: u8) -> u64 {
    cluster.member(number).gateway.counter("stale").unwrap()
}

/// When a gateway last became what its events say, in seconds since 1970.
fn became(cluster: &Cluster, number: u8, stage: &str) -> f64 {
    let events = events(cluster, number);
    let row = events.iter().rfind(|row| row["event"] == "cluster-stage" && row["detail"] == stage);
    let time = row.and_then(|row| row["time"].as_str()?.parse().ok());
    time.unwrap_or_else(|| panic!("{events:#?}"))
}

/// Waits until the reflector has given a gateway up too: what that knows of BGP then is old.
fn wait_missed(cluster: &Cluster, number: u8) {
    let peer = Topology::UNDERLAY.address(Family::V4, number).to_string();
    wait_until("the reflector to miss it", PATIENCE, || {
        let shown = cluster.reflector.show("show bgp l2vpn evpn summary json").map_err(|e| e.to_string())?;
        let is_up = shown["peers"][&peer]["state"] == "Established";
        if is_up { Err(shown.to_string()) } else { Ok(()) }
    })
    .unwrap();
}

/// What a gateway announces on the uplink, the times in seconds since 1970.
fn announced(cluster: &Cluster, number: u8, capture: Capture) -> Vec<f64> {
    let link = cluster.member(number).namespace.ip_json(&["link", "show", "dev", "uplink0"]).unwrap();
    let mac = link[0]["address"].as_str().unwrap().to_owned();
    let filter = "(arp.isgratuitous == 1 or (icmpv6.type == 136 and icmpv6.nd.na.flag.s == 0)) and not vxlan";
    let rows = capture.stop().unwrap().fields(filter, &["frame.time_epoch", "eth.src"]).unwrap();
    rows.iter().filter(|row| row[1] == mac).map(|row| row[0].parse().unwrap()).collect()
}

#[test]
fn what_waited_over_a_stop_is_thrown_away_and_nothing_is_announced_too_soon() {
    let mut cluster = start(ClusterOptions { gateways: GATEWAYS, probed: 1, ..ClusterOptions::default() });
    let before = wait_even(&cluster, &ALL);
    cluster.route_shards(cluster.stations.iter().map(|station| &station.site), shard_of).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    let (victim, rest) = victim(&cluster, &before);

    for failure in [Failure::Stopped, Failure::WorkerHeld] {
        let thrown_away = stale(&cluster, victim);
        let flows = [cluster.egress_flows(), cluster.ingress_flows()].concat();
        let probe = GapProbe::start(&flows, INTERVAL).unwrap();
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
        cluster.gateway(victim).fail(failure).unwrap();
        wait_even(&cluster, &rest);
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
        if failure == Failure::Stopped {
            wait_missed(&cluster, victim);
        }

        let port = cluster.member(victim).namespace.name();
        let capture = Capture::start(cluster.topology.uplink.namespace(), port).unwrap();
        #[expect(clippy::disallowed_methods, reason = "compared with events and a capture's stamps")]
        let resumed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        cluster.gateway(victim).mend().unwrap();
        assert_eq!(wait_even(&cluster, &ALL), before);
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
        let report = probe.stop().unwrap().whole();
        assert!(report.flows.iter().all(|flow| flow.duplicates == 0), "{failure:?}: {report:?}");
        let thrown_away = stale(&cluster, victim) - thrown_away;
        assert!(thrown_away > 0, "{failure:?}: nothing waited for it");

        // Of all that it has announced the first came when it had joined.
        let serving = became(&cluster, victim, "serving");
        if failure == Failure::Stopped {
            let joining = became(&cluster, victim, "joining");
            assert!(resumed < joining && joining < serving, "{resumed} {joining} {serving}");
        }
        let announced = announced(&cluster, victim, capture);
        let first = announced.first().unwrap_or_else(|| panic!("{failure:?}: it has announced nothing"));
        eprintln!("=== {failure:?}: {thrown_away} thrown away, announced {} s later ===", first - resumed);
        // An event's time is in milliseconds, cut off.
        assert!(*first >= serving - 0.001, "{failure:?}: {serving}: {announced:?}");
    }
}
