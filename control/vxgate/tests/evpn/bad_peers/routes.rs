//! Routes that must not count.

use std::net::IpAddr;

use lab::{Family, ROUTER_MAC, wait_until};
use wire::MacAddr;

use super::Scene;
use crate::liar::{evpn, mac_route};
use crate::stage::PATIENCE;
use crate::watch::{peer, stations_behind, wait_state};

/// One more than allowed.
const TOO_MANY: u16 = 1001;

fn mac(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr([2, 0, 66, 1, high, low])
}

/// Each is told with its reason, counts in no overlay, and leaves the session as it was.
pub(super) fn refused(scene: &mut Scene, from: IpAddr) {
    let mut liar = scene.establish(from);
    let group = MacAddr([1, 0, 0x5e, 0, 0, 5]);
    let [v4, v6] = Family::BOTH.map(|family| scene.stage.topology.gateway_vtep(family));
    let cases = [
        (mac(1), 101, v4, "next hop is our own VTEP"),
        (mac(2), 101, v6, "next hop is our own VTEP"),
        (ROUTER_MAC, 101, from, "the shared MAC address from a stranger"),
        (mac(3), 0, from, "VNI 0"),
        (group, 101, from, "MAC address of no station"),
        (MacAddr::ZERO, 101, from, "MAC address of no station"),
        (mac(4), 101, "127.0.0.1".parse().unwrap(), "malformed, treated as withdrawn"),
    ];
    for (mac, vni, next_hop, reason) in cases {
        scene.watch.mark();
        liar.announce(&evpn(next_hop, 101, vec![mac_route(vni, mac)]));
        let event = scene.watch.wait(from, "rejected", reason);
        assert!(event["route"].as_str().unwrap().contains(&mac.to_string()), "{event}");
    }
    // A good one after them counts: the session has not ended.
    liar.announce(&evpn(from, 101, vec![mac_route(101, mac(9))]));
    scene.stage.wait_station(mac(9), from);
    assert_eq!(stations_behind(&scene.stage, from), 1);
    let routes = scene.stage.gateway.show(&format!("bgp evpn --peer {from}")).unwrap();
    let counting: Vec<_> = routes.as_array().unwrap().iter().filter(|row| !row["vni"].is_null()).collect();
    // The malformed one is as if withdrawn; the others are there to be seen.
    let seen = cases.len() - 1 + 1;
    assert_eq!((routes.as_array().unwrap().len(), counting.len()), (seen, 1), "{routes}");
    let row = peer(&scene.stage, from);
    assert_eq!((&row["state"], &row["received"][0][1]), (&"Established".into(), &seen.into()));
    // All of them go with it.
    drop(liar);
    wait_state(&scene.stage, from, "Active");
    wait_until("its routes gone", PATIENCE, || {
        let routes = scene.stage.gateway.show(&format!("bgp evpn --peer {from}")).unwrap();
        if routes.as_array().unwrap().is_empty() { Ok(()) } else { Err(routes.to_string()) }
    })
    .unwrap();
}

/// Announces so many routes that the session ends.
fn flood(scene: &mut Scene, from: IpAddr) {
    let mut liar = scene.establish(from);
    scene.watch.mark();
    for first in (0..TOO_MANY).step_by(100) {
        let last = TOO_MANY.min(first + 100);
        let routes = (first..last).map(|number| mac_route(101, mac(number))).collect();
        liar.announce(&evpn(from, 101, routes));
    }
    // RFC 4486 §4.
    assert_eq!(liar.hear_end(), Some((6, 1)));
    scene.watch.wait(from, "down", "more than 1000 routes");
    wait_until("its stations gone", PATIENCE, || stations_behind(&scene.stage, from) == 0).unwrap();
}

/// One that has more routes than it may is out until the gateway starts again.
pub(super) fn too_many(scene: &mut Scene, from: IpAddr) {
    flood(scene, from);
    let row = wait_state(&scene.stage, from, "Idle");
    assert!(row["last-down"].as_str().unwrap().contains("more than 1000 routes"), "{row}");
    assert_eq!(scene.connect(from).hear(), None, "it is not heard");
    assert_eq!(peer(&scene.stage, from)["state"], "Idle");
}

/// Or for a while, and comes again.
pub(super) fn too_many_for_a_while(scene: &mut Scene, from: IpAddr) {
    flood(scene, from);
    wait_state(&scene.stage, from, "Active");
    let mut liar = scene.establish(from);
    liar.announce(&evpn(from, 101, vec![mac_route(101, mac(1))]));
    scene.stage.wait_station(mac(1), from);
}
