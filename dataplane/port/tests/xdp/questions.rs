//! Questions for addresses that the engine alone answers for, in the real kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};
use vxgate_port::xdp::{Action, Classifier, ClassifierConfig, PortRole, Verdict};
use wire::MacAddr;

use crate::frames::*;

/// That only the engine has.
const OURS4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 0x100);
const SOLICITED: MacAddr = MacAddr([0x33, 0x33, 0xff, 0, 0x01, 0]);
const SOLICITATION: u8 = 135;
const REQUEST: u16 = 1;

struct Bench {
    classifier: Classifier,
    _socket: OwnedFd,
}

fn bench(role: PortRole, answered: Vec<IpAddr>) -> Bench {
    let classifier = Classifier::load(&ClassifierConfig {
        role,
        mac: MAC,
        vteps: vec![VTEP4.into(), VTEP6.into(), OURS4.into(), OURS6.into()],
        answered,
        blocks: ["10.0.0.0/8", "fd00::/16"].map(|prefix| prefix.parse().unwrap()).into(),
        queues: 1,
        frame_limit: 1700,
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
    classifier.set_socket(0, socket.as_fd()).unwrap();
    Bench { classifier, _socket: socket }
}

impl Bench {
    fn count(&self, verdict: Verdict) -> u64 {
        self.classifier.counters().unwrap().into_iter().find(|(of, _)| *of == verdict).unwrap().1
    }

    #[track_caller]
    fn expect(&self, verdict: Verdict, frame: &[u8]) {
        let before = self.count(verdict);
        let expected = match verdict {
            Verdict::ToEngine => Action::Redirect,
            Verdict::Pass | Verdict::ForeignMac => Action::Pass,
            _ => Action::Drop,
        };
        assert_eq!(self.classifier.run(frame).unwrap(), expected);
        assert_eq!(self.count(verdict), before + 1, "{verdict}");
    }
}

fn arp(to: MacAddr, operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let sender = Ipv4Addr::new(198, 18, 0, 9).octets();
    let packet =
        [&[0, 1, 8, 0, 6, 4][..], &operation.to_be_bytes(), &NEIGHBOUR.0, &sender, &[0; 6], &target.octets()];
    let mut frame = ethernet(to, ARP, &packet.concat());
    frame.resize(60, 0);
    frame
}

fn solicitation(to: MacAddr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &NEIGHBOUR.0].concat();
    let group = "ff02::1:ff00:100".parse().unwrap();
    ethernet(to, IPV6, &ipv6(ICMPV6, if to == MAC { target } else { group }, &message))
}

#[test]
fn questions_for_the_engines_addresses_are_its_own() {
    for role in [PortRole::Underlay, PortRole::Uplink, PortRole::Both] {
        let bench = bench(role, vec![OURS4.into(), OURS6.into()]);
        for to in [MAC, MacAddr::BROADCAST] {
            bench.expect(Verdict::ToEngine, &arp(to, REQUEST, OURS4));
        }
        for to in [MAC, SOLICITED] {
            bench.expect(Verdict::ToEngine, &solicitation(to, SOLICITATION, OURS6));
        }
        // Priority is no VLAN, and a VLAN is another link.
        for (vid, verdict) in [(0, Verdict::ToEngine), (10, Verdict::Pass)] {
            let untagged = arp(MacAddr::BROADCAST, REQUEST, OURS4);
            let tagged = ethernet(MacAddr::BROADCAST, CUSTOMER_TAG, &tag(vid, ARP, &untagged[14..]));
            bench.expect(verdict, &tagged);
            let untagged = solicitation(SOLICITED, SOLICITATION, OURS6);
            bench.expect(verdict, &ethernet(SOLICITED, CUSTOMER_TAG, &tag(vid, IPV6, &untagged[14..])));
        }
        // Flooded by a switch on its way to another gateway.
        bench.expect(Verdict::ForeignMac, &arp(NEIGHBOUR, REQUEST, OURS4));
        bench.expect(Verdict::ForeignMac, &solicitation(NEIGHBOUR, SOLICITATION, OURS6));
        for other in [VTEP4, HOST4, STATION4] {
            bench.expect(Verdict::Pass, &arp(MacAddr::BROADCAST, REQUEST, other));
        }
        for other in [VTEP6, HOST6, STATION6] {
            bench.expect(Verdict::Pass, &solicitation(SOLICITED, SOLICITATION, other));
        }
        // No questions: a reply, an advertisement, an echo request.
        bench.expect(Verdict::Pass, &arp(MAC, 2, OURS4));
        bench.expect(Verdict::Pass, &solicitation(SOLICITED, 136, OURS6));
        bench.expect(Verdict::Pass, &solicitation(SOLICITED, 128, OURS6));
        // Cut short.
        bench.expect(Verdict::Pass, &arp(MacAddr::BROADCAST, REQUEST, OURS4)[..14 + 27]);
        bench.expect(Verdict::Pass, &solicitation(SOLICITED, SOLICITATION, OURS6)[..14 + 40 + 23]);
        let engine = if role == PortRole::Uplink { Verdict::VxlanOnUplink } else { Verdict::ToEngine };
        bench.expect(engine, &udp_to(OURS4, &vxlan()));
        bench.expect(engine, &udp_to(OURS6, &vxlan()));
        // A group's frames are no more the engine's than before, but for questions.
        let flooded = ethernet(MacAddr::BROADCAST, IPV4, &ipv4(UDP, OURS4, &vxlan()));
        bench.expect(Verdict::ForeignMac, &flooded);
    }
}

#[test]
fn one_family_alone_and_none() {
    let bench = bench(PortRole::Uplink, vec![OURS4.into()]);
    bench.expect(Verdict::ToEngine, &arp(MacAddr::BROADCAST, REQUEST, OURS4));
    bench.expect(Verdict::Pass, &solicitation(SOLICITED, SOLICITATION, OURS6));
    let none = self::bench(PortRole::Underlay, Vec::new());
    none.expect(Verdict::Pass, &arp(MacAddr::BROADCAST, REQUEST, OURS4));
    none.expect(Verdict::Pass, &solicitation(SOLICITED, SOLICITATION, OURS6));
}

/// As many as a cluster can have, with the largest maps.
#[test]
fn four_thousand_addresses_of_each_family() {
    let v4 = |n: u16| Ipv4Addr::from_bits(0xc613_0000 + u32::from(n));
    let v6 = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 2, n);
    let all = (0..4096).flat_map(|n| [IpAddr::from(v4(n)), IpAddr::from(v6(n))]).collect();
    let bench = bench(PortRole::Both, all);
    for (n, verdict) in [(0, Verdict::ToEngine), (4095, Verdict::ToEngine), (4096, Verdict::Pass)] {
        bench.expect(verdict, &arp(MacAddr::BROADCAST, REQUEST, v4(n)));
        bench.expect(verdict, &solicitation(SOLICITED, SOLICITATION, v6(n)));
    }
}
