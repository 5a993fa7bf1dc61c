//! Echo requests to the router's own addresses.

use lab::{Family, Ping, Station};

use crate::{PATIENCE, Plan, ROUTER_LINK_LOCAL, assert_answered, idle_scene, start};

#[test]
fn the_router_answers_echo_requests() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    let mut requests = 0;
    for Station { site, host } in &scene.stations {
        let link_local = format!("{ROUTER_LINK_LOCAL}%eth0");
        for address in site.routers().map(|router| router.to_string()).into_iter().chain([link_local]) {
            for size in [0, 56, 1452] {
                assert_answered(&Ping::to(&address).size(size), &host.namespace);
                requests += 1;
            }
        }
        for family in Family::BOTH {
            for from in [&scene.outer, &scene.neighbour] {
                assert_answered(&Ping::to(site.address(family, 1)), &from.namespace);
                requests += 1;
            }
        }
    }
    assert_eq!(scene.gateway.counter("echo_answered").unwrap(), requests);
    // One overlay's router is no way into another.
    let [one, other] = &scene.stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        let report = Ping::to(other.site.address(family, 1))
            .count(1)
            .timeout(PATIENCE)
            .run(&one.host.namespace)
            .unwrap();
        assert_eq!((report.received, report.errors), (0, 1), "{family:?}: {report:?}");
    }
}
