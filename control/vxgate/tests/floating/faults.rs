//! Each fault of a gateway alone: who has its shards then, and that nobody is left alone.

use lab::{ClusterOptions, Failure};

use crate::{ALL, GATEWAYS, PATIENCE, events, start, victim, wait_even};

#[test]
fn shards_have_one_owner_whoever_dies() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 3, ..ClusterOptions::default() };
    let mut cluster = start(options);
    let before = wait_even(&cluster, &ALL);

    cluster.wait_open(PATIENCE).unwrap();

    // Killed: the others have its shards, and nothing else moves.
    let (victim, rest) = victim(&cluster, &before);
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    let during = wait_even(&cluster, &rest);
    let moved = (0..before.len()).filter(|&n| before[n] != during[n]).count();
    let of_victim = before.iter().filter(|&&owner| owner == victim).count();
    assert!(moved < of_victim + usize::from(GATEWAYS), "{before:?}, {during:?}");
    cluster.wait_open(PATIENCE).unwrap();
    for &number in &rest {
        let events = events(&cluster, number);
        let death = format!("gateway {victim} is dead");
        let moved = events.iter().find(|event| event["event"] == "cluster-moved" && event["cause"] == *death);
        let moved = moved.unwrap_or_else(|| panic!("{events:#?}"));
        eprintln!("=== gateway {number}: {} in {} us ===", moved["detail"], moved["duration-us"]);
        let gateway = &cluster.member(number).gateway;
        let moves = gateway.show(&format!("moves --gateway {victim}")).unwrap();
        let taken = moves.as_array().unwrap().iter().find(|row| row["cause"] == *death);
        let taken = taken.unwrap_or_else(|| panic!("{moves}"));
        assert_eq!(
            (&taken["action"], &taken["from"], &taken["to"]),
            (&"taken".into(), &victim.into(), &number.into())
        );
        assert!(taken["count"].as_u64() >= Some(1), "{moves}");
        let table = gateway.show_table("moves").unwrap();
        assert!(table.contains("DURATION") && table.contains(&death), "{table}");
        let shown = cluster.member(number).gateway.show("cluster").unwrap();
        let row = shown.as_array().unwrap().iter().find(|row| row["id"] == victim).unwrap();
        assert_eq!((&row["part"], &row["serves"]), (&"dead".into(), &0.into()), "{shown}");
    }

    // Back: even again, as it was.
    cluster.gateway(victim).mend().unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);
    cluster.wait_open(PATIENCE).unwrap();

    // What it can tell itself it does, and serves nothing; of what stopped it only the others can tell.
    let failures = [Failure::UplinkDown, Failure::UnderlayDown, Failure::WorkerHeld, Failure::AllDown];
    for failure in failures.into_iter().chain([Failure::Stopped]) {
        cluster.gateway(victim).fail(failure).unwrap();
        wait_even(&cluster, &rest);
        if failure != Failure::Stopped {
            let shown = cluster.gateway(victim).gateway.show("cluster").unwrap();
            assert_eq!((&shown[0]["part"], &shown[0]["serves"]), (&"unfit: unhealthy".into(), &0.into()));
        }
        cluster.wait_open(PATIENCE).unwrap();
        cluster.gateway(victim).mend().unwrap();
        assert_eq!(wait_even(&cluster, &ALL), before);
    }
    cluster.wait_open(PATIENCE).unwrap();

    // Stopped in order: others have taken over before.
    cluster.gateway(victim).gateway.stop().unwrap();
    wait_even(&cluster, &rest);
    cluster.wait_open(PATIENCE).unwrap();
    let events = events(&cluster, rest[0]);
    let leaving = format!("gateway {victim} leaves");
    assert!(
        events.iter().any(|event| event["event"] == "cluster-moved" && event["cause"] == *leaving),
        "{events:#?}"
    );
}
