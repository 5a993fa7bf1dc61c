//! The collector in the real kernel, frame by frame.

use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketType};
use vxgate_port::xdp::{Action, Collected, Collector, CollectorConfig, Wanted};

use crate::frames::*;

#[track_caller]
fn expect(collector: &Collector, collected: Collected, frame: &[u8]) {
    let action = match collected {
        Collected::Pass => Action::Pass,
        Collected::Taken => Action::Redirect,
        Collected::NoSocket => Action::Drop,
    };
    let before = collector.counters().unwrap();
    assert_eq!(collector.run(frame).unwrap(), action);
    for ((which, after), (_, before)) in collector.counters().unwrap().into_iter().zip(before) {
        assert_eq!(after - before, u64::from(which == collected), "{which}");
    }
}

/// A frame, and whether each of [`Wanted`] takes it: everything, traffic, UDP.
fn frames() -> Vec<(&'static str, Vec<u8>, [bool; 3])> {
    let icmpv6 = |type_| to_port(&ipv6(ICMPV6, HOST6, &[type_, 0, 0, 0, 0, 0, 0, 0]));
    let tagged = |frame: &[u8]| {
        let ether_type = u16::from_be_bytes([frame[12], frame[13]]);
        ethernet(MAC, SERVICE_TAG, &tag(7, CUSTOMER_TAG, &tag(8, ether_type, &frame[14..])))
    };
    let arp = ethernet(MAC, ARP, &[0; 28]);
    let udp4 = udp_to(HOST4, &udp(9, &[1; 20]));
    vec![
        ("ARP", arp.clone(), [true, false, false]),
        ("ARP in two tags", tagged(&arp), [true, false, false]),
        ("router solicitation", icmpv6(133), [true, false, false]),
        ("redirect", icmpv6(137), [true, false, false]),
        ("multicast listener", icmpv6(132), [true, true, false]),
        ("inverse discovery", icmpv6(141), [true, true, false]),
        ("echo", icmpv6(128), [true, true, false]),
        ("ICMPv6 that is cut off", to_port(&ipv6(ICMPV6, HOST6, &[])), [true, true, false]),
        ("TCP", to_port(&ipv4(TCP, HOST4, &[0; 20])), [true, true, false]),
        ("UDP over IPv4", udp4.clone(), [true, true, true]),
        ("UDP in two tags", tagged(&udp4), [true, true, true]),
        ("UDP over IPv6", udp_to(HOST6, &udp(9, &[1; 20])), [true, true, true]),
        ("another MAC", ethernet(NEIGHBOUR, IPV4, &udp4[14..]), [true, true, true]),
        ("no IP", ethernet(MAC, 0x88b5, &[0; 46]), [true, true, false]),
        ("half a header", to_port(&ipv4(UDP, HOST4, &[])[..12]), [true, true, false]),
    ]
}

#[test]
fn each_takes_what_it_wants() {
    for (column, wanted) in [Wanted::Everything, Wanted::Traffic, Wanted::Udp].into_iter().enumerate() {
        let collector = Collector::load(CollectorConfig { wanted, queues: 1 }).unwrap();
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
        collector.set_socket(0, socket.as_fd()).unwrap();
        for (name, frame, taken) in frames() {
            eprintln!("{wanted:?}: {name}");
            let collected = if taken[column] { Collected::Taken } else { Collected::Pass };
            expect(&collector, collected, &frame);
        }
    }
}

#[test]
fn without_a_socket_the_kernel_gets_no_test_packets() {
    let collector = Collector::load(CollectorConfig { wanted: Wanted::Traffic, queues: 2 }).unwrap();
    expect(&collector, Collected::NoSocket, &udp_to(HOST4, &udp(9, &[])));
    expect(&collector, Collected::Pass, &ethernet(MAC, ARP, &[0; 28]));
    let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
    assert!(collector.set_socket(2, socket.as_fd()).is_err());
}
