//! The classifier in the real kernel, frame by frame: every verdict with its action and its counter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{CapabilitySet, CapabilitySets};
use vxgate_port::xdp::{Action, Classifier, ClassifierConfig, PortRole, Verdict, XdpError};
use wire::MacAddr;

use crate::frames::*;

const FRAME_LIMIT: u16 = 1700;

fn config(role: PortRole) -> ClassifierConfig {
    ClassifierConfig {
        role,
        mac: MAC,
        vteps: vec![VTEP4.into(), VTEP6.into()],
        answered: Vec::new(),
        blocks: ["10.0.0.0/9", "10.128.0.0/9", "192.0.2.4/30", "fd00::/16"]
            .map(|p| p.parse().unwrap())
            .into(),
        queues: 1,
        frame_limit: FRAME_LIMIT,
    }
}

fn load(config: &ClassifierConfig) -> Classifier {
    Classifier::load(config).unwrap_or_else(|error| panic!("{error}"))
}

/// An AF_XDP socket: bound to nothing, and yet the kernel takes it as a target.
fn xdp_socket() -> OwnedFd {
    rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap()
}

/// A classifier, with a socket that stands for the engine.
struct Bench {
    classifier: Classifier,
    _socket: OwnedFd,
}

impl Bench {
    fn new(role: PortRole) -> Self {
        let classifier = load(&config(role));
        let socket = xdp_socket();
        classifier.set_socket(0, socket.as_fd()).unwrap();
        Self { classifier, _socket: socket }
    }

    #[track_caller]
    fn expect(&self, verdict: Verdict, frame: &[u8]) {
        expect(&self.classifier, verdict, frame);
    }
}

/// Runs the classifier on `frame` and checks what it did, and that just the one counter went up, by one.
#[track_caller]
fn expect(classifier: &Classifier, verdict: Verdict, frame: &[u8]) {
    use Verdict::*;
    let action = match verdict {
        Pass | ForeignMac | Fragment => Action::Pass,
        ToEngine => Action::Redirect,
        NoSocket | Vlan | TooLong | BlockOnUnderlay | VxlanOnUplink | FragmentVxlan => Action::Drop,
    };
    let mut counters = classifier.counters().unwrap();
    let got = classifier.run(frame).unwrap();
    let risen: Vec<Verdict> = classifier
        .counters()
        .unwrap()
        .into_iter()
        .zip(&mut counters)
        .flat_map(|((verdict, after), (_, before))| vec![verdict; (after - *before) as usize])
        .collect();
    assert_eq!((got, risen), (action, vec![verdict]));
}

/// What each role hands to the engine, in both families.
fn engine_traffic() -> [(PortRole, [Vec<u8>; 2]); 2] {
    [
        (PortRole::Underlay, [ipv4(UDP, VTEP4, &vxlan()), ipv6(UDP, VTEP6, &vxlan())]),
        (PortRole::Uplink, [ipv4(TCP, STATION4, &[0; 20]), ipv6(TCP, STATION6, &[0; 20])]),
    ]
}

#[test]
fn underlay_hands_vxlan_to_the_engine() {
    let bench = Bench::new(PortRole::Underlay);
    bench.expect(Verdict::ToEngine, &udp_to(VTEP4, &vxlan()));
    bench.expect(Verdict::ToEngine, &udp_to(VTEP6, &vxlan()));
    for options in [4, 12, 40] {
        let packet = ipv4_with(UDP, VTEP4, 0, &vec![1; options], &vxlan());
        bench.expect(Verdict::ToEngine, &to_port(&packet));
    }
    // What is wrong with the VXLAN header is the engine's to count.
    bench.expect(Verdict::ToEngine, &udp_to(VTEP4, &udp(4789, &[])));
    bench.expect(Verdict::ToEngine, &udp_to(VTEP6, &udp(4789, &[])));
}

#[test]
fn uplink_hands_the_blocks_to_the_engine() {
    let bench = Bench::new(PortRole::Uplink);
    for (address, verdict) in [
        ("9.255.255.255", Verdict::Pass),
        ("10.0.0.0", Verdict::ToEngine),
        ("10.127.255.255", Verdict::ToEngine),
        ("10.128.0.0", Verdict::ToEngine),
        ("10.255.255.255", Verdict::ToEngine),
        ("11.0.0.0", Verdict::Pass),
        ("192.0.2.3", Verdict::Pass),
        ("192.0.2.4", Verdict::ToEngine),
        ("192.0.2.7", Verdict::ToEngine),
        ("192.0.2.8", Verdict::Pass),
    ] {
        bench.expect(verdict, &to_port(&ipv4(TCP, address.parse().unwrap(), &[0; 20])));
    }
    for (address, verdict) in [
        ("fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Verdict::Pass),
        ("fd00::", Verdict::ToEngine),
        ("fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Verdict::ToEngine),
        ("fd01::", Verdict::Pass),
    ] {
        bench.expect(verdict, &to_port(&ipv6(TCP, address.parse().unwrap(), &[0; 20])));
    }
    // Whatever the protocol, fragments and extension headers included: the destination alone decides.
    let later = ipv4_with(UDP, STATION4, 185, &[], &[0; 8]);
    let first = ipv4_with(UDP, STATION4, MORE_FRAGMENTS, &[], &udp(4789, &[0; 16]));
    for packet in
        [later, first, ipv4(UDP, STATION4, &[]), ipv4(UDP, STATION4, &vxlan()), ipv4(200, STATION4, &[])]
    {
        bench.expect(Verdict::ToEngine, &to_port(&packet));
    }
    let later = ipv6(FRAGMENT, STATION6, &fragment6(UDP, 185, false, &[0; 8]));
    let first = ipv6(FRAGMENT, STATION6, &fragment6(UDP, 0, true, &udp(4789, &[0; 16])));
    let cut = ipv6(FRAGMENT, STATION6, &[UDP, 0]);
    let routed = ipv6(ROUTING, STATION6, &[TCP, 0, 4, 0, 0, 0, 0, 0]);
    let options = ipv6(HOP_BY_HOP, STATION6, &options6(UDP, 1, &vxlan()));
    for packet in [later, first, cut, routed, options, ipv6(UDP, STATION6, &vxlan())] {
        bench.expect(Verdict::ToEngine, &to_port(&packet));
    }
}

#[test]
fn the_host_keeps_its_own_traffic() {
    for role in [PortRole::Underlay, PortRole::Uplink] {
        let bench = Bench::new(role);
        for address in [VTEP4, HOST4] {
            bench.expect(Verdict::Pass, &to_port(&ipv4(TCP, address, &[0x12, 0xb5, 0x12, 0xb5, 0, 0, 0, 0])));
            bench.expect(Verdict::Pass, &udp_to(address, &udp(53, &[0; 8])));
            // 4789 as the source port only.
            bench.expect(Verdict::Pass, &udp_to(address, &[0x12, 0xb5, 0, 53, 0, 8, 0, 0]));
        }
        for address in [VTEP6, HOST6] {
            bench.expect(Verdict::Pass, &to_port(&ipv6(TCP, address, &[0x12, 0xb5, 0x12, 0xb5, 0, 0, 0, 0])));
            bench.expect(Verdict::Pass, &udp_to(address, &udp(53, &[0; 8])));
            bench.expect(Verdict::Pass, &to_port(&ipv6(ICMPV6, address, &[135, 0, 0, 0, 0, 0, 0, 0])));
            bench.expect(Verdict::Pass, &to_port(&ipv6(ROUTING, address, &options6(UDP, 1, &vxlan()))));
            bench.expect(
                Verdict::Pass,
                &to_port(&ipv6(HOP_BY_HOP, address, &options6(UDP, 1, &udp(53, &[])))),
            );
        }
        // VXLAN of somebody else.
        bench.expect(Verdict::Pass, &udp_to(HOST4, &vxlan()));
        bench.expect(Verdict::Pass, &udp_to(HOST6, &vxlan()));
        // Neighbour resolution, and what is no IP at all, whoever it is for.
        for destination in [MAC, NEIGHBOUR, MacAddr::BROADCAST] {
            bench.expect(Verdict::Pass, &ethernet(destination, ARP, &[0; 28]));
            bench.expect(Verdict::Pass, &ethernet(destination, 0x88cc, &[0; 46]));
            bench.expect(Verdict::Pass, &ethernet(destination, 46, &[0; 46]));
        }
        let solicited = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
        let group = "ff02::1:ff00:1".parse().unwrap();
        bench.expect(Verdict::Pass, &ethernet(solicited, IPV6, &ipv6(ICMPV6, group, &[135; 24])));
        // A fragment header that is none: something else was announced.
        let disguised = options6(TCP, 1, &fragment6(UDP, 0, true, &vxlan()));
        bench.expect(Verdict::Pass, &to_port(&ipv6(HOP_BY_HOP, VTEP6, &disguised)));
    }
}

/// The kernel drops them, and says so in its own counters.
#[test]
fn a_version_that_is_not_the_ether_types_is_the_kernels() {
    for (role, packets) in engine_traffic() {
        let bench = Bench::new(role);
        for packet in packets {
            let mut frame = to_port(&packet);
            for version in (0..16).filter(|version| *version != packet[0] >> 4) {
                frame[14] = version << 4 | packet[0] & 0x0f;
                bench.expect(Verdict::Pass, &frame);
            }
        }
    }
}

#[test]
fn engine_traffic_without_a_socket_is_dropped() {
    let _alone = crate::alone();
    for (role, packets) in engine_traffic() {
        let classifier = load(&config(role));
        for packet in packets.map(|packet| to_port(&packet)) {
            expect(&classifier, Verdict::NoSocket, &packet);
            let socket = xdp_socket();
            classifier.set_socket(0, socket.as_fd()).unwrap();
            expect(&classifier, Verdict::ToEngine, &packet);
            drop(socket);
            expect(&classifier, Verdict::NoSocket, &packet);
        }
    }
}

#[test]
fn only_the_ports_own_mac_address_is_the_engines() {
    let another = MacAddr([0x02, 0, 0, 0, 0, 0x11]);
    let with_other_start = MacAddr([0x06, 0, 0, 0, 0, 0x01]);
    let group = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
    for (role, packets) in engine_traffic() {
        let bench = Bench::new(role);
        for packet in packets {
            let ether_type = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
            for destination in [another, with_other_start, group, MacAddr::BROADCAST, MacAddr::ZERO] {
                bench.expect(Verdict::ForeignMac, &ethernet(destination, ether_type, &packet));
                let tagged = tag(10, ether_type, &packet);
                bench.expect(Verdict::ForeignMac, &ethernet(destination, CUSTOMER_TAG, &tagged));
            }
            bench.expect(Verdict::ToEngine, &to_port(&packet));
            bench.classifier.set_mac(another).unwrap();
            bench.expect(Verdict::ForeignMac, &to_port(&packet));
            bench.expect(Verdict::ToEngine, &ethernet(another, ether_type, &packet));
            bench.classifier.set_mac(MAC).unwrap();
        }
    }
    // What would be dropped is none of the port's business either.
    let underlay = Bench::new(PortRole::Underlay);
    underlay.expect(Verdict::ForeignMac, &ethernet(another, IPV4, &ipv4(TCP, STATION4, &[0; 20])));
    let uplink = Bench::new(PortRole::Uplink);
    uplink.expect(Verdict::ForeignMac, &ethernet(another, IPV6, &ipv6(UDP, VTEP6, &vxlan())));
    // Host traffic to others stays what it is.
    uplink.expect(Verdict::Pass, &ethernet(another, IPV4, &ipv4(TCP, HOST4, &[0; 20])));
}

#[test]
fn priority_tags_are_skipped_and_vlans_refused() {
    for (role, packets) in engine_traffic() {
        let bench = Bench::new(role);
        for packet in packets {
            let ether_type = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
            let tagged = |vid| tag(vid, ether_type, &packet);
            bench.expect(Verdict::ToEngine, &ethernet(MAC, CUSTOMER_TAG, &tagged(0)));
            for vid in [1, 10, 256, 4095] {
                bench.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &tagged(vid)));
            }
            for vid in [0, 10] {
                bench.expect(Verdict::Vlan, &ethernet(MAC, SERVICE_TAG, &tagged(vid)));
                for outer in [0, 10] {
                    let twice = tag(outer, CUSTOMER_TAG, &tagged(vid));
                    bench.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &twice));
                    bench.expect(Verdict::Vlan, &ethernet(MAC, SERVICE_TAG, &twice));
                    let twice = tag(outer, SERVICE_TAG, &tagged(vid));
                    bench.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &twice));
                }
            }
        }
        // The host may have VLANs.
        for (ether_type, packet) in
            [(IPV4, ipv4(TCP, HOST4, &[0; 20])), (IPV6, ipv6(TCP, HOST6, &[0; 20])), (ARP, vec![0; 28])]
        {
            let tagged = tag(10, ether_type, &packet);
            bench.expect(Verdict::Pass, &ethernet(MAC, CUSTOMER_TAG, &tagged));
            bench.expect(Verdict::Pass, &ethernet(MAC, SERVICE_TAG, &tag(10, CUSTOMER_TAG, &tagged)));
        }
        // The kernel strips any number of priority tags: what hides behind more than two is dropped unseen.
        for third in [CUSTOMER_TAG, SERVICE_TAG] {
            let tags = tag(0, CUSTOMER_TAG, &tag(0, third, &tag(0, IPV4, &ipv4(TCP, HOST4, &[0; 20]))));
            bench.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &tags));
            bench.expect(Verdict::Pass, &ethernet(NEIGHBOUR, CUSTOMER_TAG, &tags));
        }
    }
}

#[test]
fn frames_that_do_not_fit_the_engines_memory_are_dropped() {
    let limit = usize::from(FRAME_LIMIT);
    for (role, packets) in engine_traffic() {
        let bench = Bench::new(role);
        for packet in packets {
            let mut frame = to_port(&packet);
            frame.resize(limit, 0);
            bench.expect(Verdict::ToEngine, &frame);
            frame.push(0);
            bench.expect(Verdict::TooLong, &frame);
            frame.resize(3000, 0);
            bench.expect(Verdict::TooLong, &frame);
        }
        let mut host = udp_to(HOST4, &udp(53, &[]));
        host.resize(3000, 0);
        bench.expect(Verdict::Pass, &host);
    }
}

#[test]
fn ipv4_fragments() {
    for (role, vxlan_verdict) in
        [(PortRole::Underlay, Verdict::ToEngine), (PortRole::Uplink, Verdict::VxlanOnUplink)]
    {
        let bench = Bench::new(role);
        let fragment = |destination, fragment, payload: &[u8]| {
            to_port(&ipv4_with(UDP, destination, fragment, &[], payload))
        };
        bench.expect(vxlan_verdict, &fragment(VTEP4, MORE_FRAGMENTS, &vxlan()));
        // The smallest first fragment that there can be.
        bench.expect(vxlan_verdict, &fragment(VTEP4, MORE_FRAGMENTS, &vxlan()[..8]));
        bench.expect(Verdict::Pass, &fragment(VTEP4, MORE_FRAGMENTS, &udp(53, &[0; 8])));
        for place in [1, 185, 0x1fff, 1 | MORE_FRAGMENTS, 256 | MORE_FRAGMENTS] {
            bench.expect(Verdict::Fragment, &fragment(VTEP4, place, &vxlan()));
            bench.expect(Verdict::Pass, &fragment(HOST4, place, &vxlan()));
        }
        bench.expect(Verdict::Pass, &to_port(&ipv4_with(TCP, VTEP4, 185, &[], &[0; 8])));
    }
}

#[test]
fn ipv6_fragments() {
    for (role, vxlan_verdict) in
        [(PortRole::Underlay, Verdict::FragmentVxlan), (PortRole::Uplink, Verdict::VxlanOnUplink)]
    {
        let bench = Bench::new(role);
        type Chain = fn(Ipv6Addr, &[u8]) -> Vec<u8>;
        let chains: [Chain; 4] = [
            |to, fragment| ipv6(FRAGMENT, to, fragment),
            |to, fragment| ipv6(HOP_BY_HOP, to, &options6(FRAGMENT, 1, fragment)),
            |to, fragment| ipv6(DESTINATION_OPTIONS, to, &options6(FRAGMENT, 1, fragment)),
            |to, fragment| ipv6(DESTINATION_OPTIONS, to, &options6(FRAGMENT, 24, fragment)),
        ];
        for chain in chains {
            let packet = |destination, fragment: &[u8]| to_port(&chain(destination, fragment));
            for more in [false, true] {
                bench.expect(vxlan_verdict, &packet(VTEP6, &fragment6(UDP, 0, more, &vxlan())));
                bench.expect(Verdict::Pass, &packet(HOST6, &fragment6(UDP, 0, more, &vxlan())));
                bench.expect(Verdict::Fragment, &packet(VTEP6, &fragment6(UDP, 0, more, &udp(53, &[]))));
                for offset in [1, 185, 0x1fff] {
                    bench.expect(Verdict::Fragment, &packet(VTEP6, &fragment6(UDP, offset, more, &vxlan())));
                    bench.expect(Verdict::Pass, &packet(HOST6, &fragment6(UDP, offset, more, &vxlan())));
                }
            }
            bench.expect(Verdict::Pass, &packet(VTEP6, &fragment6(TCP, 0, true, &[0; 24])));
            bench.expect(Verdict::Pass, &packet(VTEP6, &fragment6(TCP, 185, false, &[0; 24])));
        }
    }
}

#[test]
fn what_is_on_the_wrong_side_is_dropped() {
    let underlay = Bench::new(PortRole::Underlay);
    underlay.expect(Verdict::BlockOnUnderlay, &to_port(&ipv4(TCP, STATION4, &[0; 20])));
    underlay.expect(Verdict::BlockOnUnderlay, &to_port(&ipv6(TCP, STATION6, &[0; 20])));
    underlay.expect(Verdict::BlockOnUnderlay, &udp_to(STATION4, &vxlan()));
    underlay.expect(Verdict::BlockOnUnderlay, &udp_to(STATION6, &vxlan()));
    underlay.expect(Verdict::BlockOnUnderlay, &to_port(&ipv4_with(UDP, STATION4, 185, &[], &[0; 8])));
    let fragment = fragment6(UDP, 0, true, &vxlan());
    underlay.expect(Verdict::BlockOnUnderlay, &to_port(&ipv6(FRAGMENT, STATION6, &fragment)));
    let tagged = tag(10, IPV4, &ipv4(TCP, STATION4, &[0; 20]));
    underlay.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &tagged));

    let uplink = Bench::new(PortRole::Uplink);
    uplink.expect(Verdict::VxlanOnUplink, &udp_to(VTEP4, &vxlan()));
    uplink.expect(Verdict::VxlanOnUplink, &udp_to(VTEP6, &vxlan()));
    uplink.expect(Verdict::VxlanOnUplink, &to_port(&ipv4_with(UDP, VTEP4, 0, &[1; 8], &vxlan())));
    let tagged = tag(10, IPV6, &ipv6(UDP, VTEP6, &vxlan()));
    uplink.expect(Verdict::Vlan, &ethernet(MAC, CUSTOMER_TAG, &tagged));
}

/// The lengths of the headers that the classifier wants to see whole: only then may the engine get the frame.
#[test]
fn truncated_frames_are_the_kernels() {
    let underlay = Bench::new(PortRole::Underlay);
    let uplink = Bench::new(PortRole::Uplink);
    let options = ipv4_with(UDP, VTEP4, 0, &[1; 40], &vxlan());
    let priority = ethernet(MAC, CUSTOMER_TAG, &tag(0, IPV6, &ipv6(UDP, VTEP6, &vxlan())));
    for (bench, frame, headers) in [
        (&underlay, udp_to(VTEP4, &vxlan()), 14 + 20 + 8),
        (&underlay, udp_to(VTEP6, &vxlan()), 14 + 40 + 8),
        (&underlay, to_port(&options), 14 + 60 + 8),
        (&underlay, priority, 14 + 4 + 40 + 8),
        (&uplink, to_port(&ipv4(TCP, STATION4, &[0; 20])), 14 + 20),
        (&uplink, to_port(&ipv6(TCP, STATION6, &[0; 20])), 14 + 40),
    ] {
        // The kernel runs no program on less than an Ethernet header.
        for length in 14..=frame.len() {
            let verdict = if length < headers { Verdict::Pass } else { Verdict::ToEngine };
            bench.expect(verdict, &frame[..length]);
        }
    }
    let first = to_port(&ipv6(HOP_BY_HOP, VTEP6, &options6(FRAGMENT, 2, &fragment6(UDP, 0, true, &vxlan()))));
    for length in 14..=first.len() {
        let verdict = match length - 14 {
            // As far as the fragment header.
            0..64 => Verdict::Pass,
            // Not yet the port: not known to be VXLAN.
            64..72 => Verdict::Fragment,
            _ => Verdict::FragmentVxlan,
        };
        underlay.expect(verdict, &first[..length]);
    }
}

/// A small generator (xorshift64*), so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn garbage_gets_exactly_one_verdict() {
    const FRAMES: u64 = 20_000;
    let mut random = Random(0x5eed);
    for (role, packets) in engine_traffic() {
        let bench = Bench::new(role);
        let [four, six] = packets.map(|packet| to_port(&packet));
        let chain =
            to_port(&ipv6(HOP_BY_HOP, VTEP6, &options6(FRAGMENT, 3, &fragment6(UDP, 0, true, &vxlan()))));
        let tagged = ethernet(MAC, CUSTOMER_TAG, &tag(0, IPV4, &four[14..]));
        let seeds = [four, six, chain, tagged];
        for _ in 0..FRAMES {
            // From a few bytes changed to almost nothing left of the frame.
            let mut frame = seeds[random.below(seeds.len())].clone();
            let damage = 1 << random.below(9);
            for _ in 0..damage {
                let place = random.below(frame.len());
                frame[place] = random.below(256) as u8;
            }
            frame.truncate(14 + random.below(frame.len() - 13));
            match bench.classifier.run(&frame).unwrap() {
                Action::Pass | Action::Drop => {}
                Action::Redirect => assert_eq!(frame[..6], MAC.0, "{frame:02x?}"),
                other => panic!("{other:?}: {frame:02x?}"),
            }
        }
        let counters = bench.classifier.counters().unwrap();
        assert_eq!(counters.iter().map(|&(_, frames)| frames).sum::<u64>(), FRAMES);
        let passed = counters.iter().find(|(verdict, _)| *verdict == Verdict::ToEngine).unwrap().1;
        assert!(passed > FRAMES / 100, "most of the frames were not damaged beyond the point of this test");
    }
}

#[test]
fn without_addresses_and_blocks_all_is_the_hosts() {
    for (role, packets) in engine_traffic() {
        let classifier = load(&ClassifierConfig { vteps: vec![], blocks: vec![], ..config(role) });
        for packet in packets {
            expect(&classifier, Verdict::Pass, &to_port(&packet));
        }
    }
}

#[test]
fn many_addresses_and_the_widest_blocks() {
    let vteps = |n: u16| {
        [
            Ipv4Addr::from([198, 19, (n >> 8) as u8, n as u8]).into(),
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n)),
        ]
    };
    let all = ClassifierConfig {
        vteps: (0..256).flat_map(vteps).collect(),
        blocks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        ..config(PortRole::Underlay)
    };
    let classifier = load(&all);
    for address in vteps(0).into_iter().chain(vteps(255)) {
        expect(&classifier, Verdict::NoSocket, &udp_to(address, &vxlan()));
    }
    for address in vteps(256) {
        expect(&classifier, Verdict::BlockOnUnderlay, &udp_to(address, &vxlan()));
    }
}

#[test]
fn only_af_xdp_sockets_of_existing_queues_are_taken() {
    let classifier = load(&config(PortRole::Underlay));
    let error = classifier.set_socket(1, xdp_socket().as_fd()).unwrap_err();
    assert!(error.to_string().starts_with("no socket can receive from queue 1 of 1: "), "{error}");
    let datagrams = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    let error = classifier.set_socket(0, datagrams.as_fd()).unwrap_err();
    assert!(matches!(error, XdpError::Socket { queue: 0, .. }), "{error}");
    expect(&classifier, Verdict::NoSocket, &udp_to(VTEP4, &vxlan()));
}

/// Capabilities are a thread's own, so the rest of the tests keeps its.
#[test]
fn the_capabilities_that_the_error_names_are_enough() {
    let with = |capabilities| {
        std::thread::spawn(move || {
            let sets = CapabilitySets {
                effective: capabilities,
                permitted: capabilities,
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, sets).unwrap();
            Classifier::load(&config(PortRole::Uplink))
        })
        .join()
        .unwrap()
    };
    let needed = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    with(needed).unwrap_or_else(|error| panic!("{error}"));
    for missing in [CapabilitySet::BPF, CapabilitySet::NET_ADMIN, CapabilitySet::PERFMON] {
        let error = with(needed - missing).unwrap_err();
        assert!(matches!(error, XdpError::Privileges { .. }), "{error}");
        assert!(error.to_string().contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"), "{error}");
    }
}
