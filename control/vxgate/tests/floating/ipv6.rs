//! An underlay of IPv6 alone: GoBGP as reflector, and an endpoint of the kernel's that has never heard of BGP and sends each
//! overlay's packets to the IPv6 VTEP address of its shard, by hand.

use std::net::IpAddr;
use std::path::Path;

use lab::{
    Attach, Cluster, ClusterOptions, Endpoint, Failure, Family, GoBgp, Overlay, ROUTER_MAC, Scene, Site,
    Station, Topology, wait_until,
};

use crate::discovery::announced;
use crate::{ALL, GATEWAYS, PATIENCE, VXGATE, events, shard_of, tables, victim, wait_even};

/// Beside those that [`Cluster`] uses.
const REFLECTOR: u8 = 120;
const ENDPOINT: u8 = 121;
const OVERLAYS: u16 = 6;

fn underlay(family: Family, number: u8) -> IpAddr {
    Topology::UNDERLAY.address(family, number)
}

/// Gateways are its clients, and it tells them of the endpoint.
fn reflector(cluster: &Cluster) -> GoBgp {
    let attach = Attach { addresses: Topology::UNDERLAY.addresses(REFLECTOR), ..Attach::default() };
    let host = cluster.topology.underlay.host(&cluster.topology.lab, "gobgp", attach, &[]).unwrap();
    let id = underlay(Family::V4, REFLECTOR);
    let mut config = format!("[global.config]\n as = {}\n router-id = \"{id}\"\n\n", Cluster::ASN);
    for number in 1..=GATEWAYS {
        config += &format!(
            "[[neighbors]]\n [neighbors.config]\n  neighbor-address = \"{}\"\n  peer-as = {}\n \
             [neighbors.transport.config]\n  passive-mode = true\n \
             [neighbors.route-reflector.config]\n  route-reflector-client = true\n  \
             route-reflector-cluster-id = \"{id}\"\n \
             [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n   afi-safi-name = \"l2vpn-evpn\"\n",
            underlay(Family::V6, number),
            Cluster::ASN,
        );
    }
    GoBgp::start(&host.namespace, &config).unwrap()
}

/// Gateways that are not started yet, and the reflector.
fn build() -> (Cluster, GoBgp) {
    let options = ClusterOptions {
        gateways: GATEWAYS,
        overlays: OVERLAYS.into(),
        probed: 0,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let reflector = reflector(&cluster);
    (cluster, reflector)
}

/// A gateway without any IPv4 address on the underlay, whose one peer for EVPN is GoBGP, over IPv6.
/// `keys` are more of `[cluster]`, a line each.
fn start(cluster: &mut Cluster, number: u8, keys: &str) {
    let address = underlay(Family::V4, number);
    let keys = format!("{keys}{}", tables(&Cluster::SHARD_VTEPS[1..]));
    let membership = cluster.membership(number, Family::V6, &keys);
    // GoBGP 3 takes routes with communities of RFC 9047 for withdrawn.
    let peer = format!(
        "address = \"{}\"\nannounce-ipv6-vtep = true\nannounce-router-flag = false\n",
        underlay(Family::V6, REFLECTOR)
    );
    let config = cluster.config(number, "", &membership);
    let mut config =
        config.replace(&format!("address = \"{}\"\n", underlay(Family::V4, Cluster::REFLECTOR)), &peer);
    // BFD over IPv4 has no way there.
    for other in 1..=GATEWAYS {
        config =
            config.replace(&format!("underlay = [\"{}\", ", underlay(Family::V4, other)), "underlay = [");
    }
    cluster.gateway(number).namespace.ip(&format!("address del {address}/24 dev underlay0")).unwrap();
    cluster.start_with(number, &config).unwrap();
}

/// Stations in overlays that are in different shards, behind the kernel's VXLAN over IPv6.
fn stations(cluster: &Cluster, endpoint: &Endpoint, reflector: &GoBgp) -> Vec<Station> {
    // In the subnet of the shards' addresses.
    let device = &endpoint.nic.interface;
    endpoint.namespace.ip(&format!("address add 2001:db8:0:8::fe/64 dev {device} nodad")).unwrap();
    let rows = cluster.gateways[0].gateway.show("assignments").unwrap();
    let station = |index: u16| {
        let site = Site::of_block(index);
        let shard = usize::from(shard_of(site.vni.value()));
        let [gateway] = &rows[shard]["vtep"].as_array().unwrap()[..] else { panic!("{rows}") };
        let overlay = Overlay {
            vni: site.vni,
            gateway: gateway.as_str().unwrap().parse().unwrap(),
            router_mac: ROUTER_MAC,
            routers: site.routers().to_vec(),
            remotes: Vec::new(),
        };
        let link = endpoint.join(&overlay).unwrap();
        let host = link.station(
            &cluster.topology.lab,
            &format!("six{index}"),
            site.mac(),
            &site.station_addresses(),
        );
        let (vni, vtep) = (site.vni, endpoint.vtep);
        let rest = format!("rd 9:{vni} rt {}:{vni} encap vxlan", Cluster::ASN);
        for route in [
            format!(
                "macadv {} {} etag 0 label {vni} {rest}",
                site.mac(),
                site.address(Family::V6, Scene::STATION)
            ),
            format!("multicast {vtep} etag 0 {rest} pmsi ingress-repl {vni} {vtep}"),
        ] {
            reflector.run(&format!("global rib -a evpn add {route} nexthop {vtep}")).unwrap();
        }
        Station { site, host: host.unwrap() }
    };
    (0..OVERLAYS).map(station).collect()
}

#[test]
fn an_endpoint_with_static_entries_is_served_whoever_dies() {
    let (mut cluster, reflector) = build();
    let endpoint = cluster.topology.endpoint("six", ENDPOINT, Family::V6).unwrap();
    ALL.into_iter().for_each(|number| start(&mut cluster, number, ""));
    let before = wait_even(&cluster, &ALL);
    cluster.stations = stations(&cluster, &endpoint, &reflector);
    cluster.route_shards(cluster.stations.iter().map(|station| &station.site), shard_of).unwrap();
    cluster.wait_open(PATIENCE).unwrap();

    let (victim, rest) = victim(&cluster, &before);
    for failure in [Failure::Killed, Failure::UnderlayDown] {
        cluster.gateway(victim).fail(failure).unwrap();
        wait_even(&cluster, &rest);
        cluster.wait_open(PATIENCE).unwrap();
        cluster.gateway(victim).mend().unwrap();
        assert_eq!(wait_even(&cluster, &ALL), before);
        cluster.wait_open(PATIENCE).unwrap();
    }
    let rows = cluster.gateways[0].gateway.show("stations").unwrap();
    let rows = rows.as_array().unwrap();
    let is_there = |row: &serde_json::Value| row["endpoint"] == endpoint.vtep.to_string();
    assert!(rows.len() == usize::from(OVERLAYS) && rows.iter().all(is_there), "{rows:?}");
}

#[test]
fn gateways_find_each_other() {
    let (mut cluster, reflector) = build();
    ALL.into_iter().for_each(|number| start(&mut cluster, number, "discover = true\n"));
    wait_even(&cluster, &ALL);
    // GoBGP itself has read the originators, of 128 bits (RFC 7432 §7.4).
    let rib = reflector.run("global rib -a evpn").unwrap();
    for number in ALL {
        let vtep = underlay(Family::V6, number).to_string();
        assert!(rib.lines().any(|line| line.contains("esi") && line.contains(&vtep)), "{rib}");
        let others = ALL.into_iter().filter(|&other| other != number);
        let expected: Vec<_> = others.map(|other| underlay(Family::V6, other).to_string()).collect();
        wait_until(&format!("gateway {number} to hear of the others"), PATIENCE, || {
            let mut found = announced(&cluster, number, Cluster::NUMBER);
            found.sort();
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .unwrap();
    }

    // Who is withdrawn, and dead to BFD, is a member no longer.
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    let rest = &ALL[1..];
    wait_even(&cluster, rest);
    for &number in rest {
        wait_until(&format!("gateway {number} to remove the dead one"), PATIENCE, || {
            let events = events(&cluster, number);
            let is_removal = |event: &serde_json::Value| {
                event["event"] == "cluster-member" && event["detail"] == "removed" && event["gateway"] == 1
            };
            if events.iter().any(is_removal) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .unwrap();
    }
}
