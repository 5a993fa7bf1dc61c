//! DHCP of both families: Debian's client in an overlay, a server in the outer network.

use std::net::IpAddr;

use ipnet::IpNet;
use lab::{DhcpClient, DhcpPool, DhcpServer, Family, Ping, Site};

use crate::{PATIENCE, Plan, assert_answered, idle_scene, mac, start};

/// Addresses from number 100 on.
fn pools(site: &Site) -> [DhcpPool; 2] {
    Family::BOTH.map(|family| {
        let IpAddr::V4(router) = site.address(Family::V4, 1) else { panic!("asked for IPv4") };
        DhcpPool {
            first: site.address(family, 100),
            last: site.address(family, 199),
            prefix_len: if family == Family::V4 { 24 } else { 64 },
            router: (family == Family::V4).then_some(router),
            dns: None,
        }
    })
}

#[test]
fn clients_get_addresses_of_their_own_overlay() {
    let mut scene = idle_scene(2);
    let clients: Vec<_> = (0..2)
        .map(|index| {
            let name = format!("client{index}");
            scene.links[index].client(&scene.topology.lab, &name, mac(index as u8)).unwrap()
        })
        .collect();
    let tables = clients
        .iter()
        .zip(&scene.stations)
        .map(|(client, beside)| scene.station_table(&beside.site, client.nic.mac, beside.site.endpoint, &[]))
        .collect();
    let [v4, v6] = Family::BOTH.map(|family| scene.outer_address(family));
    let defaults =
        format!("dhcp-servers = [\"{v4}\", \"{v6}\"]\nadvertise = {{ managed = true, autonomous = false }}");
    start(&mut scene, &Plan { defaults: &defaults, tables, ..Plan::default() });
    let pools: Vec<_> = scene.stations.iter().flat_map(|station| pools(&station.site)).collect();
    let server = DhcpServer::start(&scene.outer.namespace, &pools).unwrap();

    for (client, station) in clients.iter().zip(&scene.stations) {
        for family in Family::BOTH {
            let dhcp = DhcpClient::start(&client.nic, family, PATIENCE)
                .unwrap_or_else(|error| panic!("{error}\nserver:\n{}", server.log()));
            let address = dhcp.lease().address.addr();
            let subnets = [IpNet::V4(station.site.v4), IpNet::V6(station.site.v6)];
            assert!(subnets[family as usize].contains(&address), "{:?}", dhcp.lease());
            assert_answered(&Ping::to(scene.outer_address(family)), &client.namespace);
            assert_answered(&Ping::to(address), &scene.outer.namespace);
        }
    }
    // A discovery and a request, a solicitation and a request, and their answers, each at least once.
    for name in ["dhcp_relayed", "dhcp_replied"] {
        assert!(scene.gateway.counter(name).unwrap() >= 8);
    }
    // The server tells overlays by what the relay said of them (RFC 3046).
    assert!(server.log().contains("circuit-id") || server.log().contains("agent"), "{}", server.log());
}
