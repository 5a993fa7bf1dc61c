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
            // As the owner would have told it.
            let entry = format!("neighbour replace {router} lladdr {ROUTER_MAC} dev eth0 nud reachable");
            station.host.namespace.ip(&entry).unwrap();
            let address = station.address(family);
            assert_answered(&Ping::to(address), &scene.outer.namespace);
            let (mac, _) = known(&scene, address).unwrap();
            assert_eq!(mac, station.host.nic.mac.to_string());
            assert_eq!(neighbour_entry(&station.host, router)["lladdr"], ROUTER_MAC.to_string());
            // That is for the owner to say.
            assert_eq!(neighbour_of(&station.host, router), None);
        }
        assert_eq!(neighbour_of(&station.host, link_local), None);
    }
    let capture = capture.stop().unwrap();
    assert_eq!(capture.faults().unwrap(), []);
    // What it sends into overlays it sends as itself, and what it asks too: without an address that stations have an
    // entry of.
    let own_mac = OWN_MAC.to_string();
    let own_link_local = OWN_MAC.link_local().to_string();
    let inner = |filter: &str, field: &str| -> Vec<String> {
        let filter = format!("vxlan && eth.src == {}{filter}", underlay0.mac);
        let rows = capture.fields(&filter, &[field]).unwrap();
        rows.iter().filter_map(|row| Some(row[0].split(',').next_back()?.to_owned())).collect()
    };
    for (filter, field, least, expected) in [
        ("", "eth.src", 8, &own_mac[..]),
        (" && arp", "arp.src.hw_mac", 2, &own_mac),
        (" && arp", "arp.src.proto_ipv4", 2, "0.0.0.0"),
        (" && icmpv6.type == 135", "icmpv6.opt.linkaddr", 2, &own_mac),
        (" && icmpv6.type == 135", "ipv6.src", 2, &own_link_local),
    ] {
        let values = inner(filter, field);
        assert!(values.len() >= least && values.iter().all(|value| value == expected), "{field}: {values:?}");
    }
}
