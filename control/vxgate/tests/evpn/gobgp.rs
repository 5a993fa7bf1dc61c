//! GoBGP as client of reflectors, and as one itself, for endpoints over IPv6.

use std::net::IpAddr;

use lab::{Family, Frr, GoBgp, Namespace, ROUTER_MAC, Topology, wait_until};
use wire::MacAddr;

use crate::stage::{PATIENCE, REFLECTOR, Stage, peer_table, underlay};
use crate::watch::at;

const ENDPOINT: u8 = 12;
const STATION: u8 = 10;
const MAC: MacAddr = MacAddr([2, 0, 1, 0, 0, 0x0a]);

/// A neighbour for EVPN, with more tables.
fn neighbour(address: IpAddr, more: &str) -> String {
    format!(
        "[[neighbors]]\n [neighbors.config]\n  neighbor-address = \"{address}\"\n  peer-as = 65000\n{more} \
         [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n   afi-safi-name = \"l2vpn-evpn\"\n"
    )
}

fn start(namespace: &Namespace, number: u8, neighbours: &str) -> GoBgp {
    let router_id = underlay(number);
    let config = format!("[global.config]\n as = 65000\n router-id = \"{router_id}\"\n\n{neighbours}");
    GoBgp::start(namespace, &config).unwrap()
}

/// A neighbour that a client is to connect to soon.
fn reflector(address: IpAddr) -> String {
    neighbour(address, " [neighbors.timers.config]\n  connect-retry = 1\n")
}

#[test]
fn an_endpoint_over_ipv6_and_a_gateway_over_ipv6_know_each_other_by_gobgp() {
    let mut stage = Stage::new();
    // The gateway has an IPv6 VTEP alone, and speaks BGP over IPv6.
    let (v4, v6) = (underlay(Topology::GATEWAY), stage.topology.gateway_vtep(Family::V6));
    stage.topology.gateway.ip(&format!("address del {v4}/24 dev underlay0")).unwrap();
    let client = |address| {
        let id = underlay(REFLECTOR);
        let passive = " [neighbors.transport.config]\n  passive-mode = true\n";
        let reflects = format!(
            " [neighbors.route-reflector.config]\n  route-reflector-client = true\n  \
             route-reflector-cluster-id = \"{id}\"\n"
        );
        neighbour(address, &format!("{passive}{reflects}"))
    };
    let clients = client(v6) + &client(at(Family::V6, ENDPOINT));
    let reflecting = start(&stage.reflector.namespace, REFLECTOR, &clients);
    // The kernel's VXLAN over IPv6, told by hand where the gateway is; what it is its GoBGP tells.
    let (endpoint, link) = stage.static_endpoint("ep-v6", ENDPOINT, Family::V6);
    let telling = start(&endpoint.namespace, ENDPOINT, &reflector(at(Family::V6, REFLECTOR)));
    // GoBGP 3 takes routes with communities of RFC 9047 for withdrawn.
    let keys = "connect-retry = 1\nannounce-ipv6-vtep = true\nannounce-router-flag = false";
    stage.start_with(&peer_table(at(Family::V6, REFLECTOR), keys));
    let station = stage.station(&link, MAC, STATION);
    let (vtep, route) = (endpoint.vtep, "etag 0 label 101 rd 9:101 rt 65000:101 encap vxlan");
    let address = stage.site.address(Family::V6, STATION);
    telling.run(&format!("global rib -a evpn add macadv {MAC} {address} {route} nexthop {vtep}")).unwrap();
    telling
        .run(&format!(
            "global rib -a evpn add multicast {vtep} etag 0 rd 9:101 rt 65000:101 encap vxlan pmsi ingress-repl 101 {vtep}"
        ))
        .unwrap();
    stage.wait_station(MAC, vtep);
    stage.wait_pings(&station, STATION);

    // The endpoint's GoBGP has from the reflector what the gateway announces, at its IPv6 VTEP.
    wait_until("the gateway's routes", PATIENCE, || {
        let routes = telling.run("global rib -a evpn").unwrap();
        let multicast = format!("[type:multicast][rd:1:101][etag:0][ip:{v6}]");
        let [router_v4, router_v6] = stage.site.routers();
        let at_vtep = |part: String| {
            routes.lines().any(|line| line.contains(&part) && line.contains(&format!(" {v6} ")))
        };
        let router = |ip: IpAddr| format!("[mac:{ROUTER_MAC}][ip:{ip}]");
        if at_vtep(multicast) && at_vtep(router(router_v4)) && at_vtep(router(router_v6)) {
            Ok(())
        } else {
            Err(format!("{routes}\n{}\n{}", telling.log(), reflecting.log()))
        }
    })
    .unwrap();
    let routes = stage.gateway.show("bgp evpn --vni 101").unwrap();
    let all_v6 = routes.as_array().unwrap().iter().all(|row| row["next-hop"] == vtep.to_string());
    assert!(all_v6 && routes.as_array().unwrap().len() == 2, "{routes}");
    telling.run(&format!("global rib -a evpn del macadv {MAC} {address} {route}")).unwrap();
    stage.wait_no_stations();
}

#[test]
fn types_1_to_5_come_from_gobgp_by_frr() {
    let mut stage = Stage::new();
    let config = format!(
        "router bgp 65000\n bgp router-id {0}\n bgp cluster-id {0}\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as 65000\n neighbor c timers connect 1\n \
         bgp listen range 198.18.0.0/24 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n",
        underlay(REFLECTOR)
    );
    let frr = Frr::start(&stage.reflector.namespace, &config).unwrap();
    let endpoint = stage.topology.endpoint("go", ENDPOINT, Family::V4).unwrap();
    let gobgp = start(&endpoint.namespace, ENDPOINT, &reflector(underlay(REFLECTOR)));
    stage.start("");
    let (vtep, rest) = (endpoint.vtep, "rd 9:101 rt 65000:101 encap vxlan");
    let segment = "esi ARBITRARY 11:22:33:44:55:66:77:88:99";
    let ip = stage.site.address(Family::V4, STATION);
    for route in [
        format!("a-d {segment} etag 0 label 101 {rest}"),
        format!("macadv {MAC} {ip} etag 0 label 101 {rest}"),
        format!("multicast {vtep} etag 0 {rest} pmsi ingress-repl 101 {vtep}"),
        format!("esi {vtep} {segment} {rest}"),
        format!("prefix 10.100.0.0/24 gw 0.0.0.0 etag 0 label 5000 {rest} router-mac {MAC}"),
    ] {
        gobgp.run(&format!("global rib -a evpn add {route}")).unwrap();
    }
    // Types 2 and 3 count in the overlay.
    let esi = "00:11:22:33:44:55:66:77:88:99";
    let shown = [
        (1, format!("[1]:[9:101]:[0]:[{esi}]"), None),
        (2, format!("[2]:[9:101]:[0]:[{MAC}]:[{ip}]"), Some(101)),
        (3, format!("[3]:[9:101]:[0]:[{vtep}]"), Some(101)),
        (4, format!("[4]:[9:101]:[{esi}]:[{vtep}]"), None),
        (5, "[5]:[9:101]:[0]:[10.100.0.0/24]".to_owned(), None),
    ];
    for (route_type, text, vni) in &shown {
        wait_until(&format!("type {route_type}"), PATIENCE, || {
            let rows = stage.gateway.show(&format!("bgp evpn --type {route_type}")).unwrap();
            let [row] = &rows.as_array().unwrap()[..] else {
                return Err(format!("{rows} {}", frr.vtysh(&["show bgp l2vpn evpn"]).unwrap()));
            };
            let is_it = row["route"] == *text
                && row["vni"].as_u64() == *vni
                && row["next-hop"] == vtep.to_string()
                && row["peer"] == underlay(REFLECTOR).to_string();
            if is_it { Ok(()) } else { Err(row.to_string()) }
        })
        .unwrap();
    }
    stage.wait_station(MAC, vtep);
    let rows = stage.gateway.show("bgp evpn").unwrap();
    assert_eq!(rows.as_array().unwrap().len(), shown.len(), "{rows}");
}
