//! The topology and the probes, with the kernel standing in for the gateway. Needs root.

use std::io::{self, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use lab::{
    Capture, Family, Host, Iperf, Lab, Offloads, Overlay, Ping, SteadyProbe, Topology, TopologyOptions,
    wait_until,
};
use wire::{MacAddr, Vni};

const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);

fn nets<const N: usize>(texts: [&str; N]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn topology() -> Topology {
    topology_with(Offloads::Off)
}

fn topology_with(offloads: Offloads) -> Topology {
    let blocks = nets(["10.0.0.0/8", "fd00::/16"]);
    let options = TopologyOptions { offloads, ..TopologyOptions::new(&blocks) };
    Topology::build(&Lab::new().unwrap(), &options).unwrap()
}

/// Overlay 100, subnets 10.1.0.0/24 and fd00:1::/64, for an endpoint of one family.
fn overlay(topology: &Topology, family: Family, remotes: &[IpAddr]) -> Overlay {
    Overlay {
        vni: Vni::new(100).unwrap(),
        gateway: topology.gateway_vtep(family),
        router_mac: ROUTER_MAC,
        routers: vec!["10.1.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        remotes: remotes.to_vec(),
    }
}

/// An endpoint with one station of overlay 100, both with this number.
fn endpoint_with_station(topology: &Topology, number: u8, family: Family, remotes: &[IpAddr]) -> Host {
    let endpoint = topology.endpoint(&format!("ep{number}"), number, family).unwrap();
    let link = endpoint.join(&overlay(topology, family, remotes)).unwrap();
    let addresses = nets([&format!("10.1.0.{number}/24"), &format!("fd00:1::{number}/64")]);
    let mac = MacAddr([0x02, 0, 0, 1, 0, number]);
    link.station(&topology.lab, &format!("st{number}"), mac, &addresses).unwrap()
}

/// Makes the kernel of the gateway's namespace the router of overlay 100.
fn kernel_gateway(topology: &Topology, endpoint: IpAddr) {
    let vtep = topology.gateway_vtep(if endpoint.is_ipv4() { Family::V4 } else { Family::V6 });
    let gateway = &topology.gateway;
    gateway
        .ip(&format!(
            "link add vx100 address {ROUTER_MAC} mtu 1500 type vxlan id 100 local {vtep} dstport 4789\n\
             address add 10.1.0.1/24 dev vx100\n\
             address add fd00:1::1/64 dev vx100\n\
             link set vx100 up"
        ))
        .unwrap();
    gateway.bridge(&format!("fdb append {} dev vx100 dst {endpoint}", MacAddr::ZERO)).unwrap();
    gateway.set("net.ipv4.ip_forward", "1").unwrap();
    gateway.set("net.ipv6.conf.all.forwarding", "1").unwrap();
}

fn assert_reaches(from: &Host, to: &Host) {
    let destinations = [to.ipv4().unwrap().to_string(), to.ipv6().unwrap().to_string()];
    for destination in destinations {
        // One by one: of a series, ping(8) waits for the last reply only for twice the round trip of the others.
        for size in [56, 1400].repeat(5) {
            let ping = Ping::to(&destination).size(size).count(1).timeout(Duration::from_secs(10));
            let report = ping.run(&from.namespace).unwrap();
            assert!(report.is_complete(), "{destination}: {report:?}");
        }
    }
}

#[test]
fn stations_reach_each_other_through_kernel_vxlan_over_both_families() {
    let topology = topology();
    for (family, first, second) in [(Family::V4, 11, 12), (Family::V6, 21, 22)] {
        let vtep = |number| Topology::UNDERLAY.address(family, number);
        let one = endpoint_with_station(&topology, first, family, &[vtep(second)]);
        let other = endpoint_with_station(&topology, second, family, &[vtep(first)]);
        let capture = Capture::start(topology.underlay.namespace(), &format!("ep{first}")).unwrap();
        assert_reaches(&one, &other);
        let frames = capture.stop().unwrap();
        assert_eq!(frames.faults().unwrap(), []);
        let source = if family == Family::V4 { "ip.src" } else { "ipv6.src" };
        let tunnelled = format!("{source} == {} && vxlan.vni == 100 && icmp.type == 8", vtep(first));
        assert_eq!(frames.count(&tunnelled).unwrap(), 10);
    }
}

#[test]
fn stations_reach_the_outer_network_through_a_router_in_the_gateways_place() {
    let topology = topology();
    let station = endpoint_with_station(&topology, 11, Family::V6, &[]);
    let outer = topology.outer_host("outer1", 10).unwrap();
    let neighbour = topology.uplink_host("neighbour", 20).unwrap();
    // Nothing stands in yet: nothing may get through.
    let report = Ping::to(outer.ipv4().unwrap())
        .count(1)
        .timeout(Duration::from_millis(200))
        .run(&station.namespace)
        .unwrap();
    assert_eq!((report.sent, report.received), (1, 0));

    kernel_gateway(&topology, Topology::UNDERLAY.address(Family::V6, 11));
    wait_until("the way to the outer network", Duration::from_secs(10), || {
        Ping::to(outer.ipv4().unwrap())
            .count(1)
            .run(&station.namespace)
            .is_ok_and(|report| report.is_complete())
    })
    .unwrap();
    for host in [&outer, &neighbour] {
        assert_reaches(&station, host);
        assert_reaches(host, &station);
    }
}

#[test]
fn iperf_measures_both_directions() {
    let topology = topology();
    let [client, server] =
        [("outer1", 10), ("outer2", 11)].map(|(name, number)| topology.outer_host(name, number).unwrap());
    let (v4, v6) = (server.ipv4().unwrap().into(), server.ipv6().unwrap().into());
    for test in [Iperf::tcp(), Iperf::tcp().reverse()] {
        let report = test.run(&client.namespace, &server.namespace, v4).unwrap();
        assert!(report.bits_per_second > 1e6, "{report:?}");
    }
    for test in [Iperf::udp(8_000_000), Iperf::udp(8_000_000).reverse()] {
        let report = test.run(&client.namespace, &server.namespace, v6).unwrap();
        assert!((4e6..9e6).contains(&report.bits_per_second), "{report:?}");
        assert!(report.datagrams > 300 && report.loss() < 0.5, "{report:?}");
    }
    // A server that cannot be reached is an error, not a rate of zero.
    client.namespace.ip("link set eth0 down").unwrap();
    assert!(Iperf::tcp().run(&client.namespace, &server.namespace, v4).is_err());
}

#[test]
fn only_offloads_make_frames_longer_than_the_mtu() {
    for (offloads, longer) in [(Offloads::Off, false), (Offloads::On, true)] {
        let topology = topology_with(offloads);
        let host = topology.uplink_host("host", 20).unwrap();
        let capture = Capture::start(topology.uplink.namespace(), "host").unwrap();
        let address = Topology::UPLINK.address(Family::V6, Topology::GATEWAY);
        let listener = topology.gateway.enter(|| TcpListener::bind((address, 5000))).unwrap().unwrap();
        let mut stream = host.namespace.enter(|| TcpStream::connect((address, 5000))).unwrap().unwrap();
        let sender = thread::spawn(move || stream.write_all(&[0; 200_000]));
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(io::copy(&mut stream, &mut io::sink()).unwrap(), 200_000);
        sender.join().unwrap().unwrap();
        let frames = capture.stop().unwrap();
        assert_eq!(frames.count("tcp && frame.len > 1514").unwrap() > 0, longer, "{offloads:?}");
    }
}

#[test]
fn a_steady_probe_counts_losses() {
    let topology = topology();
    let [from, to] =
        [("outer1", 10), ("outer2", 11)].map(|(name, number)| topology.outer_host(name, number).unwrap());
    let start = || {
        let interval = Duration::from_millis(1);
        SteadyProbe::start(&from.namespace, &to.namespace, to.ipv6().unwrap().into(), interval).unwrap()
    };
    let await_more = |probe: &SteadyProbe, count| {
        let before = probe.received();
        wait_until("more datagrams", Duration::from_secs(10), || probe.received() >= before + count).unwrap();
    };

    let probe = start();
    await_more(&probe, 100);
    let report = probe.stop().unwrap();
    assert_eq!((report.lost(), report.duplicates), (0, 0), "{report:?}");

    let probe = start();
    await_more(&probe, 20);
    // The bridge's port, so that the host keeps its addresses.
    let port = &to.nic;
    port.far_namespace.ip(&format!("link set {} down", port.far_interface)).unwrap();
    let during = probe.received();
    wait_until("a pause in the stream", Duration::from_secs(10), || probe.sent() > during + 50).unwrap();
    port.far_namespace.ip(&format!("link set {} up", port.far_interface)).unwrap();
    await_more(&probe, 20);
    let report = probe.stop().unwrap();
    assert!(report.lost() >= 20 && report.longest_gap >= Duration::from_millis(20), "{report:?}");
}

#[test]
fn a_capture_shows_what_is_wrong() {
    let topology = topology();
    let port = &topology.uplink0;
    let capture = Capture::start(&port.far_namespace, &port.far_interface).unwrap();
    let socket = topology.gateway.packet_socket(&port.interface).unwrap();
    let good = udp_frame(|_| ());
    socket.send(&good).unwrap();
    socket.send(&udp_frame(|frame| frame[25] ^= 1)).unwrap();
    socket.send(&udp_frame(|frame| frame[41] ^= 1)).unwrap();
    socket.send(&good[..40]).unwrap();
    let frames = capture.stop().unwrap();

    let marked = "eth.src == 02:00:00:00:00:01";
    let mut numbers = frames
        .fields(marked, &["frame.number"])
        .unwrap()
        .into_iter()
        .map(|row| row[0].parse::<u64>().unwrap());
    assert!(numbers.next().is_some(), "the good one");
    let faults = frames.faults().unwrap();
    let faulty: Vec<u64> = faults.iter().map(|fault| fault.frame).collect();
    assert_eq!(faulty, numbers.collect::<Vec<_>>(), "{faults:?}");
    assert_eq!(faulty.len(), 3);
    assert!(faults[0].message.contains("checksum"), "{faults:?}");
}

/// A datagram of four bytes from 198.18.1.1 to 198.18.1.254, port 9 (discard), with right checksums; then
/// `spoil`ed.
fn udp_frame(spoil: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = vec![
        0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
        0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 198, 18, 1, 1, 198, 18, 1, 254, // IPv4
        0, 9, 0, 9, 0, 12, 0, 0, b't', b'e', b's', b't', // UDP
    ];
    let sum = |bytes: &[u8], start: u32| {
        let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>() + start;
        let folded = (sum & 0xffff) + (sum >> 16);
        !(((folded & 0xffff) + (folded >> 16)) as u16)
    };
    let header = sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let datagram = sum(&frame[26..], 17 + 12);
    frame[40..42].copy_from_slice(&datagram.to_be_bytes());
    spoil(&mut frame);
    frame
}
