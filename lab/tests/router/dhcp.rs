//! DHCP through relays, in both families.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use lab::{DhcpClient, DhcpPool, DhcpServer, Family, Process, wait_until};

use crate::{World, address};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Pools of overlay 100, from number 100 on, and of a subnet that nobody asks for.
fn pools() -> Vec<DhcpPool> {
    let pool = |first: &str, last: &str, prefix_len, router: Option<&str>, dns: &str| DhcpPool {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        prefix_len,
        router: router.map(|router| router.parse().unwrap()),
        dns: Some(dns.parse().unwrap()),
    };
    vec![
        pool("10.2.0.100", "10.2.0.199", 24, Some("10.2.0.1"), "198.18.2.54"),
        pool("10.1.0.100", "10.1.0.199", 24, Some("10.1.0.1"), "198.18.2.53"),
        pool("fd00:2::100", "fd00:2::1ff", 64, None, "fd00::54"),
        pool("fd00:1::100", "fd00:1::1ff", 64, None, "fd00::53"),
    ]
}

/// Relays both families from the overlay to the outer host.
fn relay(world: &World) -> Process {
    let relay = |family| format!("--dhcp-relay={},{}", address(family, 1), world.outer_address(family));
    let mut arguments = vec![
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        "--port=0",
    ];
    let relays = Family::BOTH.map(relay);
    arguments.extend(relays.iter().map(String::as_str));
    let mut process = world.topology.gateway.spawn("dnsmasq", &arguments).unwrap();
    process.wait_for_output("a relay", TIMEOUT, |output| output.contains("started, version")).unwrap();
    process
}

#[test]
fn a_client_gets_leases_through_a_relay() {
    let world = World::build();
    let client = world.client(0, 10);
    let server = DhcpServer::start(&world.outer.namespace, &pools()).unwrap();
    let _relay = relay(&world);
    let expected = [("10.1.0.0/24", 24, "198.18.2.53"), ("fd00:1::/64", 128, "fd00::53")];
    for (family, (subnet, prefix_len, dns)) in Family::BOTH.into_iter().zip(expected) {
        let dhcp = DhcpClient::start(&client.nic, family, TIMEOUT)
            .unwrap_or_else(|error| panic!("{error}\nserver:\n{}", server.log()));
        let lease = dhcp.lease();
        let subnet: IpNet = subnet.parse().unwrap();
        assert!(subnet.contains(&lease.address.addr()), "{lease:?}");
        assert_eq!(lease.address.prefix_len(), prefix_len);
        assert_eq!(lease.dns, [dns.parse::<IpAddr>().unwrap()]);
        assert_eq!(lease.lifetime, Duration::from_secs(3600));
        let has = |address: &lab::NicAddress| address.net == lease.address;
        assert!(client.nic.current_addresses().unwrap().iter().any(has));
        if family == Family::V4 {
            assert_eq!(lease.server, world.outer_address(family).to_string());
            assert_eq!(client.nic.default_router(family).unwrap(), Some(address(family, 1)));
        }
    }
}

#[test]
fn a_server_gives_relays_back_what_they_said() {
    let world = World::build();
    let _server = DhcpServer::start(&world.outer.namespace, &pools()).unwrap();
    for (family, port, message, said) in [
        (Family::V4, 67, discover(), &[82, 8, 1, 6, b'v', b'n', b'i', b'1', b'0', b'0'][..]),
        (Family::V6, 547, relay_forward(), &[0, 18, 0, 4, b'v', b'1', b'0', b'0'][..]),
    ] {
        let socket =
            world.topology.gateway.enter(|| UdpSocket::bind((address(family, 1), port)).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = [0; 1500];
        // A first one may get lost while routers find each other.
        let length = wait_until("an answer of the server", TIMEOUT, || {
            let server = (world.outer_address(family), if family == Family::V4 { 67 } else { 547 });
            socket.send_to(&message, server)?;
            socket.recv(&mut answer)
        })
        .unwrap();
        let answer = &answer[..length];
        assert!(answer.windows(said.len()).any(|window| window == said), "{family:?}: {answer:02x?}");
    }
}

/// DHCPDISCOVER (RFC 2131) as a relay at 10.1.0.1 passes it on, with a circuit id (RFC 3046).
fn discover() -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 1]);
    message[24..28].copy_from_slice(&[10, 1, 0, 1]);
    message[28..34].copy_from_slice(&crate::mac(77).0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 82, 8, 1, 6, b'v', b'n', b'i', b'1', b'0', b'0', 255]);
    message
}

/// SOLICIT in a Relay-forward from link fd00:1::1, with an Interface-Id (RFC 8415 §9, §18.2.1).
fn relay_forward() -> Vec<u8> {
    let octets = |address: &str| address.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let duid = [&[0, 3, 0, 1][..], &crate::mac(77).0].concat();
    let option = |code: u8, data: &[u8]| [&[0, code, 0, data.len() as u8], data].concat();
    let solicit = [vec![1, 0, 0, 7], option(1, &duid), option(3, &[0; 12]), option(8, &[0; 2])].concat();
    let mut message = vec![12, 0];
    message.extend(octets("fd00:1::1"));
    message.extend(octets("fe80::77"));
    message.extend(option(18, b"v100"));
    message.extend(option(9, &solicit));
    message
}
