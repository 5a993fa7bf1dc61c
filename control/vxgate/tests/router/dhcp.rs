//! DHCP of both families: Debian's client in an overlay, a server in the outer network.

use std::net::IpAddr;

use ipnet::IpNet;
use lab::{Capture, DhcpClient, DhcpPool, DhcpServer, Family, Ping, Site};

use crate::{PATIENCE, Plan, assert_answered, idle_scene, mac, start};

/// How tshark calls the relay agent information (RFC 3046).
const AGENT: &str = "dhcp.option.agent_information_option";

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

    let capture = Capture::start(&scene.outer.namespace, "eth0").unwrap();
    for (client, station) in clients.iter().zip(&scene.stations) {
        for family in Family::BOTH {
            let dhcp = DhcpClient::start(&client.nic, family, 3 * PATIENCE)
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
    // What the relay adds: the router's address, and from whom and where the message is (RFC 3046, RFC 8415 §19.1).
    let capture = capture.stop().unwrap();
    assert_eq!(capture.faults().unwrap(), []);
    for (client, station) in clients.iter().zip(&scene.stations) {
        let [v4, v6] = station.site.routers();
        let [a, b, c, d] = station.site.vni.value().to_be_bytes();
        let relayed = format!(
            "dhcp.type == 1 && dhcp.ip.relay == {v4} && {AGENT}.agent_circuit_id == {a:02x}:{b:02x}:{c:02x}:{d:02x} \
             && {AGENT}.agent_remote_id == {}",
            client.nic.mac
        );
        assert!(capture.count(&relayed).unwrap() >= 2, "{relayed}");
        let relayed = format!("dhcpv6.msgtype == 12 && dhcpv6.linkaddr == {v6}");
        assert!(capture.count(&relayed).unwrap() >= 2, "{relayed}");
    }
}
