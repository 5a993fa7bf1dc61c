//! A gateway that cannot serve, or is to no longer.

use super::*;

#[test]
fn an_unhealthy_gateway_lets_go_of_all_and_comes_back() {
    let mut cluster = Cluster::new(3, floating());
    cluster.told();
    let healthy = |healthy| Health { healthy, ..Health::default() };
    cluster.members[1].set_health(healthy(false), cluster.now);
    cluster.talk();
    let told: Vec<_> = cluster
        .told()
        .into_iter()
        .filter(|(at, output)| *at == 1 && !matches!(output, Output::Event(_)))
        .collect();
    let unfit = Cause::Unfit(Unfit::Unhealthy);
    assert_eq!(
        told,
        [
            (1, Output::AdminDown(true)),
            (1, Output::ReleaseAll { cause: unfit }),
            (1, Output::UplinkRoutes(false))
        ]
    );
    cluster.assert_shared(&[0, 2]);
    for other in [0, 2] {
        cluster.hear_one(other, 1, Heard::AdminDown);
    }
    cluster.members[1].set_health(healthy(true), cluster.now);
    cluster.talk();
    assert!(cluster.told().contains(&(1, Output::AdminDown(false))));
    assert_eq!(cluster.owned(1), 0, "its peers are to be heard first");
    cluster.hear(1, 0, Heard::Up);
    cluster.hear(1, 2, Heard::Up);
    cluster.talk();
    cluster.assert_shared(&[0, 1, 2]);
    assert_eq!(cluster.owned(1), 20);
}

#[test]
fn cut_off_is_who_hears_neither_peers_nor_reflectors() {
    let mut cluster = Cluster::new(3, floating());
    cluster.hear_one(0, 1, Heard::Down);
    cluster.hear_one(0, 2, Heard::Down);
    cluster.talk();
    assert_eq!(cluster.owned(0), 60, "the others may be dead");
    cluster.told();
    cluster.members[0].set_reflectors(Reflectors::Lost, cluster.now);
    cluster.talk();
    let told = cluster.told();
    assert!(told.contains(&(0, Output::UplinkRoutes(false))), "{told:?}");
    assert!(told.contains(&(0, Output::ReleaseAll { cause: Cause::Unfit(Unfit::CutOff) })), "{told:?}");
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    assert_eq!(cluster.owned(0), 0, "its peers may be heard again in a moment");
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.owned(0), 60);
}

#[test]
fn a_leaving_gateway_serves_until_all_is_taken() {
    let mut cluster = Cluster::new(3, announce(60));
    cluster.told();
    cluster.members[0].leave(cluster.now);
    cluster.talk();
    cluster.assert_shared(&[1, 2]);
    let told = cluster.told();
    assert!(
        told.contains(&(0, Output::Left))
            && !told.iter().any(|(_, output)| matches!(output, Output::ReleaseAll { .. }))
    );
    // The last one has nobody to leave it to.
    cluster.hear(1, 2, Heard::Down);
    cluster.members[1].leave(cluster.now);
    cluster.talk();
    assert!(cluster.told().contains(&(1, Output::ReleaseAll { cause: Cause::Operator })));
}

#[test]
fn a_leaving_gateway_waits_for_nobody_who_does_not_hear_of_it() {
    let mut cluster = Cluster::new(2, floating());
    cluster.disconnect(0, 1);
    cluster.told();
    cluster.members[0].leave(cluster.now);
    cluster.talk();
    let told = cluster.told();
    assert!(told.contains(&(0, Output::AdminDown(true))) && told.contains(&(0, Output::Left)), "{told:?}");
}
