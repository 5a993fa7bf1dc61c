//! A gateway that is not the owner of an overlay: it finds stations, and they do not notice.

use std::net::IpAddr;

use lab::{Capture, Family, Ping, ROUTER_MAC};
use wire::MacAddr;

use crate::{
    Plan, ROUTER_LINK_LOCAL, ask_quickly, assert_answered, idle_scene, known, neighbour_entry, neighbour_of,
    start,
};

const OWN_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 1, 7]);

#[test]
fn stations_keep_their_router() {
    let mut scene = idle_scene(2);
    let defaults = format!("owner = false\nown-mac = \"{OWN_MAC}\"\nproxy = \"isolate\"");
    start(&mut scene, &Plan { defaults: &defaults, ..Plan::default() });
    let underlay0 = &scene.topology.underlay0;
    let capture = Capture::start(&underlay0.far_namespace, &underlay0.far_interface).unwrap();
    for station in &scene.stations {
        ask_quickly(&station.host);
        let link_local: IpAddr = ROUTER_LINK_LOCAL.parse().unwrap();
        for family in Family::BOTH {
            let router = station.site.address(family, 1);
            assert_eq!(neighbour_of(&station.host, router).unwrap(), "nobody");
            // As the owner would have told it.
            let entry = format!("neighbour replace {router} lladdr {ROUTER_MAC} dev eth0 nud reachable");
            station.host.namespace.ip(&entry).unwrap();
            let address = station.address(family);
            assert_answered(&Ping::to(address), &scene.outer.namespace);
            let (mac, _) = known(&scene, address).unwrap();
            assert_eq!(mac, station.host.nic.mac.to_string());
            assert_eq!(neighbour_entry(&station.host, router)["lladdr"], ROUTER_MAC.to_string());
        }
        assert_eq!(neighbour_of(&station.host, link_local).unwrap(), "nobody");
    }
    let capture = capture.stop().unwrap();
    assert_eq!(capture.faults().unwrap(), []);
    // What it sends into overlays it sends as itself.
    let filter = format!("vxlan && eth.src == {}", underlay0.mac);
    let rows = capture.fields(&filter, &["eth.src"]).unwrap();
    assert!(rows.len() >= 8, "{rows:?}");
    for row in rows {
        assert_eq!(row[0].split(',').next_back(), Some(OWN_MAC.to_string().as_str()), "{row:?}");
    }
}
