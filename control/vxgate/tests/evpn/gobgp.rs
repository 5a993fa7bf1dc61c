//! GoBGP as reflector, for endpoints over IPv6.

use lab::{Family, GoBgp, Overlay, ROUTER_MAC, Topology, wait_until};
use wire::MacAddr;

use crate::stage::{PATIENCE, REFLECTOR, Stage, underlay};

const ENDPOINT: u8 = 12;
const STATION: u8 = 10;
const MAC: MacAddr = MacAddr([2, 0, 1, 0, 0, 0x0a]);

#[test]
fn an_endpoint_over_ipv6_is_known_by_gobgp() {
    let mut stage = Stage::new();
    let config = format!(
        "[global.config]\n as = 65000\n router-id = \"{0}\"\n\n\
         [[neighbors]]\n [neighbors.config]\n  neighbor-address = \"{1}\"\n  peer-as = 65000\n \
         [neighbors.transport.config]\n  passive-mode = true\n \
         [neighbors.route-reflector.config]\n  route-reflector-client = true\n  route-reflector-cluster-id = \"{0}\"\n \
         [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n   afi-safi-name = \"l2vpn-evpn\"\n",
        underlay(REFLECTOR),
        underlay(Topology::GATEWAY),
    );
    let gobgp = GoBgp::start(&stage.reflector.namespace, &config).unwrap();
    // GoBGP 3 takes routes with communities of RFC 9047 for withdrawn.
    stage.start("announce-ipv6-vtep = true\nannounce-router-flag = false");
    // The kernel's VXLAN over IPv6, told by hand where the gateway is; what it is GoBGP tells.
    let endpoint = stage.topology.endpoint("ep-v6", ENDPOINT, Family::V6).unwrap();
    let overlay = Overlay {
        vni: stage.site.vni,
        gateway: stage.topology.gateway_vtep(Family::V6),
        router_mac: ROUTER_MAC,
        routers: stage.site.routers().to_vec(),
        remotes: Vec::new(),
    };
    let link = endpoint.join(&overlay).unwrap();
    let addresses = [("24", Family::V4), ("64", Family::V6)]
        .map(|(length, family)| format!("{}/{length}", stage.site.address(family, STATION)).parse().unwrap());
    let station = link.station(&stage.topology.lab, "station", MAC, &addresses).unwrap();
    let (vtep, route) = (endpoint.vtep, "etag 0 label 101 rd 9:101 rt 65000:101 encap vxlan");
    let address = stage.site.address(Family::V6, STATION);
    gobgp.run(&format!("global rib -a evpn add macadv {MAC} {address} {route} nexthop {vtep}")).unwrap();
    gobgp.run(&format!(
        "global rib -a evpn add multicast {vtep} etag 0 rd 9:101 rt 65000:101 encap vxlan pmsi ingress-repl 101 {vtep}"
    ))
    .unwrap();
    stage.wait_station(MAC, vtep);
    stage.wait_pings(&station, STATION);

    // GoBGP has what the gateway announces, its IPv6 VTEP among it.
    wait_until("the gateway's routes", PATIENCE, || {
        let routes = gobgp.run("global rib -a evpn").unwrap();
        let own = stage.topology.gateway_vtep(Family::V6).to_string();
        let all = [&ROUTER_MAC.to_string(), &own, "fd00:0:0:1::1"].iter().all(|part| routes.contains(*part));
        if all { Ok(()) } else { Err(format!("{routes}\n{}", gobgp.log())) }
    })
    .unwrap();
    gobgp.run(&format!("global rib -a evpn del macadv {MAC} {address} {route}")).unwrap();
    stage.wait_no_stations();
}
