//! The text of the classifier.
//!
//! One text for each role, with the configuration's constants as immediates. Registers through the whole program:
//! `R6` the context, `R7` the start of the frame and then of the IP header, `R8` the end of the frame, `R9` what is
//! amiss with the Ethernet header ([`FOREIGN`], [`GROUP`], [`TAGGED`], [`LONG`]): that counts only once the rest says that the
//! frame is the gateway's. The stack holds the destination address as a key of the tries ([`KEY4`], [`KEY6`]).
//!
//! Reading a frame is safe by the verifier: it refuses the program if any load may lie outside of the frame.

use std::os::fd::AsFd;

use wire::{EtherType, IpProtocol};

use super::asm::{Alu, Assembler, Cond, Helper, Instruction, Label, Reg, Reg::*, Size::*};
use super::bpf::Map;
use super::{PortRole, Verdict};

/// The maps that the program reads and writes.
#[derive(Debug)]
pub(super) struct Maps {
    /// Array of one: the port's MAC address and two bytes of nothing.
    pub(super) mac: Map,
    /// Per-CPU array: [`Verdict`] → frames.
    pub(super) counters: Map,
    /// Receive queue → AF_XDP socket.
    pub(super) sockets: Map,
    /// Hash: IPv4 VTEP address → nothing.
    pub(super) vteps4: Map,
    /// Hash: IPv6 VTEP address → nothing.
    pub(super) vteps6: Map,
    /// Hash: IPv4 address that the engine answers for → nothing.
    pub(super) answered4: Map,
    /// Hash: IPv6 address that the engine answers for → nothing.
    pub(super) answered6: Map,
    /// Trie: IPv4 prefixes of overlays → nothing.
    pub(super) blocks4: Map,
    /// Trie: IPv6 prefixes of overlays → nothing.
    pub(super) blocks6: Map,
}

/// UDP port of VXLAN (RFC 7348 §5).
const VXLAN_PORT: u16 = 4789;

/// Operation of an ARP request (RFC 826).
const ARP_REQUEST: u16 = 1;
/// ICMPv6 type of a neighbour solicitation (RFC 4861 §4.3).
const NEIGHBOUR_SOLICITATION: i32 = 135;

// What a program returns (`enum xdp_action`).
pub(super) const XDP_DROP: i32 = 1;
pub(super) const XDP_PASS: i32 = 2;
pub(super) const XDP_REDIRECT: i32 = 4;

// Offsets in the context (`struct xdp_md`).
pub(super) const CONTEXT_DATA: i16 = 0;
pub(super) const CONTEXT_DATA_END: i16 = 4;
pub(super) const CONTEXT_RX_QUEUE: i16 = 16;

/// In `R9`: the destination MAC address is not the port's.
const FOREIGN: i32 = 1;
/// In `R9`: the frame bears a VLAN tag that means a VLAN, or more than one tag.
const TAGGED: i32 = 2;
/// In `R9`: the frame does not fit the engine's memory.
const LONG: i32 = 4;

/// In `R9`, beside [`FOREIGN`]: the destination MAC address is that of a group.
const GROUP: i32 = 8;

/// Tags that are walked; the kernel strips any number of priority tags, so that a frame with more is not let through.
pub(super) const TAGS: usize = 2;

/// Place of an IPv4 key on the stack: prefix length (4 bytes), address (4).
const KEY4: i16 = -8;
/// Place of an IPv6 key on the stack: prefix length (4 bytes), address (16, aligned to 8).
const KEY6: i16 = -20;
/// Place of the target of a neighbour solicitation on the stack (16 bytes, aligned to 8).
const TARGET6: i16 = -40;
/// Place of a counter's key on the stack.
pub(super) const COUNTER: i16 = -4;

/// `value` as a load from the frame sees it.
fn network(value: u16) -> i32 {
    value.to_be().into()
}

pub(super) fn ether_type(value: EtherType) -> i32 {
    network(value.into())
}

pub(super) fn protocol(value: IpProtocol) -> i32 {
    u8::from(value).into()
}

/// Places that are known to more than one part of the program.
#[derive(Clone, Copy)]
struct Places {
    /// The IPv4 header.
    ipv4: Label,
    /// The IPv6 header.
    ipv6: Label,
    /// ARP; `None` where the engine answers for no address.
    arp: Option<Label>,
    /// A question that the engine answers; `None` as well.
    question: Option<Label>,
    /// What the engine takes.
    engine: Label,
    /// More tags than are walked.
    many_tags: Label,
    /// Nothing of the gateway's: to the kernel.
    pass: Label,
    /// A fragment of UDP to a VTEP address that is not known to be VXLAN.
    fragment: Label,
    /// VXLAN to a VTEP address.
    vxlan: Label,
    /// The first IPv6 fragment of VXLAN to a VTEP address.
    vxlan_fragment: Label,
    /// Anything else to an overlay block.
    block: Label,
}

/// Writes the classifier for a port of `role` whose engine takes frames of at most `frame_limit` bytes, and may answer for
/// addresses there.
pub(super) fn assemble(role: PortRole, frame_limit: u16, answers: bool, maps: &Maps) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [ipv4, ipv6, engine, many_tags, pass, fragment] = asm.labels();
    let [first, second] = asm.labels();
    // What this role drops; the verifier refuses a program with parts that nothing leads to.
    let (drops, vxlan, vxlan_fragment, block): (&[_], _, _, _) = match role {
        PortRole::Underlay => {
            (&[(first, Verdict::FragmentVxlan), (second, Verdict::BlockOnUnderlay)], engine, first, second)
        }
        PortRole::Uplink => (&[(first, Verdict::VxlanOnUplink)], first, first, engine),
        PortRole::Both => (&[(first, Verdict::FragmentVxlan)], engine, first, engine),
    };
    let [arp, question] = asm.labels().map(|label| answers.then_some(label));
    let places =
        Places { ipv4, ipv6, arp, question, engine, many_tags, pass, fragment, vxlan, vxlan_fragment, block };
    write_ethernet(&mut asm, frame_limit, maps, places);
    write_ipv4(&mut asm, maps, places);
    write_ipv6(&mut asm, maps, places);
    write_questions(&mut asm, maps, places);
    write_verdicts(&mut asm, maps, places, drops);
    asm.finish()
}

/// Goes to `short` unless `length` bytes from `start` on are in the frame, which ends at `R8`. Changes `R3`.
pub(super) fn need(asm: &mut Assembler, start: Reg, length: u16, short: Label) {
    asm.mov(R3, start);
    asm.alu(Alu::Add, R3, i32::from(length));
    asm.jump_if(R3, Cond::Greater, R8, short);
}

/// Goes to `miss` unless `map` has the key at `key` on the stack. Changes `R0` to `R5`.
pub(super) fn look_up(asm: &mut Assembler, map: &Map, key: i16, miss: Label) {
    asm.load_map(R1, map.as_fd());
    asm.mov(R2, R10);
    asm.alu(Alu::Add, R2, i32::from(key));
    asm.call(Helper::MapLookup);
    asm.jump_if(R0, Cond::Equal, 0, miss);
}

/// Fills the registers that last, skips tags, and leads to the IP header by EtherType.
fn write_ethernet(asm: &mut Assembler, frame_limit: u16, maps: &Maps, to: Places) {
    asm.mov(R6, R1);
    asm.load(Word, R7, R6, CONTEXT_DATA);
    asm.load(Word, R8, R6, CONTEXT_DATA_END);
    need(asm, R7, 14, to.pass);
    asm.mov(R9, 0);

    // Three gateways on one segment all see a flooded frame: only the one that it is addressed to may forward it.
    let [foreign, own] = asm.labels();
    asm.load(Word, R1, R7, 0);
    asm.load(Half, R2, R7, 4);
    asm.load_map_value(R3, maps.mac.as_fd());
    asm.load(Word, R4, R3, 0);
    asm.load(Half, R5, R3, 4);
    asm.jump_if(R1, Cond::NotEqual, R4, foreign);
    asm.jump_if(R2, Cond::Equal, R5, own);
    asm.bind(foreign);
    asm.alu(Alu::Or, R9, FOREIGN);
    if to.question.is_some() {
        asm.load(Byte, R1, R7, 0);
        asm.alu(Alu::And, R1, 1);
        asm.jump_if(R1, Cond::Equal, 0, own);
        asm.alu(Alu::Or, R9, GROUP);
    }
    asm.bind(own);

    let [fits] = asm.labels();
    asm.mov(R1, R7);
    asm.alu(Alu::Add, R1, i32::from(frame_limit));
    asm.jump_if(R1, Cond::GreaterEqual, R8, fits);
    asm.alu(Alu::Or, R9, LONG);
    asm.bind(fits);

    // From here on R1 is the EtherType and R7 points behind it. A priority tag (VID 0, IEEE 802.1Q) is no VLAN.
    asm.load(Half, R1, R7, 12);
    asm.alu(Alu::Add, R7, 14);
    let [protocol] = asm.labels();
    for depth in 0..TAGS {
        let [customer, vlan, skip] = asm.labels();
        asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Vlan), customer);
        asm.jump_if(R1, Cond::Equal, ether_type(EtherType::QinQ), vlan);
        asm.jump(protocol);
        asm.bind(customer);
        if depth == 0 {
            need(asm, R7, 4, to.pass);
            asm.load(Half, R2, R7, 0);
            asm.alu(Alu::And, R2, network(0x0fff));
            asm.jump_if(R2, Cond::Equal, 0, skip);
        }
        asm.bind(vlan);
        asm.alu(Alu::Or, R9, TAGGED);
        asm.bind(skip);
        need(asm, R7, 4, to.pass);
        asm.load(Half, R1, R7, 2);
        asm.alu(Alu::Add, R7, 4);
    }
    asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Vlan), to.many_tags);
    asm.jump_if(R1, Cond::Equal, ether_type(EtherType::QinQ), to.many_tags);
    asm.bind(protocol);
    asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Ipv4), to.ipv4);
    asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Ipv6), to.ipv6);
    if let Some(arp) = to.arp {
        asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Arp), arp);
    }
    asm.jump(to.pass);
}

/// Goes to `other` unless the version field of the IP header is `version`.
fn check_version(asm: &mut Assembler, version: i32, other: Label) {
    asm.load(Byte, R1, R7, 0);
    asm.alu(Alu::ShiftRight, R1, 4);
    asm.jump_if(R1, Cond::NotEqual, version, other);
}

/// Goes to `other` unless the header at `udp` is in the frame and has VXLAN's destination port. Changes `R3`.
fn check_vxlan_port(asm: &mut Assembler, udp: Reg, other: Label) {
    need(asm, udp, 8, other);
    asm.load(Half, R3, udp, 2);
    asm.jump_if(R3, Cond::NotEqual, network(VXLAN_PORT), other);
}

/// IPv4 (RFC 791): VXLAN to a VTEP address, fragments of UDP to one, the blocks.
fn write_ipv4(asm: &mut Assembler, maps: &Maps, to: Places) {
    asm.bind(to.ipv4);
    let [later, block] = asm.labels();
    need(asm, R7, 20, to.pass);
    check_version(asm, 4, to.pass);
    asm.store(Word, R10, KEY4, 32);
    asm.load(Word, R1, R7, 16);
    asm.store(Word, R10, KEY4 + 4, R1);

    asm.load(Byte, R1, R7, 9);
    asm.jump_if(R1, Cond::NotEqual, protocol(IpProtocol::Udp), block);
    asm.load(Half, R1, R7, 6);
    asm.jump_if(R1, Cond::AnyBit, network(0x1fff), later);
    // A length of less than the fixed header is invalid and gets past neither the engine nor the kernel.
    asm.load(Byte, R1, R7, 0);
    asm.alu(Alu::And, R1, 0x0f);
    asm.alu(Alu::ShiftLeft, R1, 2);
    asm.mov(R2, R7);
    asm.alu(Alu::Add, R2, R1);
    check_vxlan_port(asm, R2, block);
    look_up(asm, &maps.vteps4, KEY4 + 4, block);
    asm.jump(to.vxlan);

    // A later fragment has no port. It may belong to the host's own UDP, and if to VXLAN it is harmless: the first
    // fragment went elsewhere, so that the kernel never completes the datagram.
    asm.bind(later);
    look_up(asm, &maps.vteps4, KEY4 + 4, block);
    asm.jump(to.fragment);

    asm.bind(block);
    look_up(asm, &maps.blocks4, KEY4, to.pass);
    asm.jump(to.block);
}

/// IPv6 (RFC 8200): VXLAN to a VTEP address, fragments of UDP to one, the blocks.
///
/// Of extension headers only those are walked that a fragment of VXLAN may bear: one of options, and the fragment
/// header. Another chain can reach the kernel at worst as UDP to a port that nobody has open.
fn write_ipv6(asm: &mut Assembler, maps: &Maps, to: Places) {
    asm.bind(to.ipv6);
    let [udp, options, fragment, later, block] = asm.labels();
    need(asm, R7, 40, to.pass);
    check_version(asm, 6, to.pass);
    asm.store(Word, R10, KEY6, 128);
    for half in [0, 8] {
        asm.load(Double, R1, R7, 24 + half);
        asm.store(Double, R10, KEY6 + 4 + half, R1);
    }

    // R1 is the header that comes next, R2 its kind.
    asm.mov(R1, R7);
    asm.alu(Alu::Add, R1, 40);
    asm.load(Byte, R2, R7, 6);
    asm.jump_if(R2, Cond::Equal, protocol(IpProtocol::Udp), udp);
    asm.jump_if(R2, Cond::Equal, protocol(IpProtocol::Fragment), fragment);
    asm.jump_if(R2, Cond::Equal, protocol(IpProtocol::HopByHop), options);
    asm.jump_if(R2, Cond::Equal, protocol(IpProtocol::DestOpts), options);
    if let Some(question) = to.question {
        // A solicitation has no extension headers (RFC 6980).
        asm.jump_if(R2, Cond::NotEqual, protocol(IpProtocol::Icmpv6), block);
        need(asm, R1, 24, block);
        asm.load(Byte, R2, R1, 0);
        asm.jump_if(R2, Cond::NotEqual, NEIGHBOUR_SOLICITATION, block);
        for half in [0, 8] {
            asm.load(Double, R2, R1, 8 + half);
            asm.store(Double, R10, TARGET6 + half, R2);
        }
        look_up(asm, &maps.answered6, TARGET6, block);
        asm.jump(question);
    } else {
        asm.jump(block);
    }

    asm.bind(udp);
    check_vxlan_port(asm, R1, block);
    look_up(asm, &maps.vteps6, KEY6 + 4, block);
    asm.jump(to.vxlan);

    asm.bind(options);
    need(asm, R1, 8, block);
    asm.load(Byte, R2, R1, 0);
    asm.jump_if(R2, Cond::NotEqual, protocol(IpProtocol::Fragment), block);
    // Length in units of 8 bytes, without the first 8 (RFC 8200 §4.3).
    asm.load(Byte, R2, R1, 1);
    asm.alu(Alu::Add, R2, 1);
    asm.alu(Alu::ShiftLeft, R2, 3);
    asm.alu(Alu::Add, R1, R2);

    asm.bind(fragment);
    need(asm, R1, 8, block);
    asm.load(Byte, R2, R1, 0);
    asm.jump_if(R2, Cond::NotEqual, protocol(IpProtocol::Udp), block);
    asm.load(Half, R2, R1, 2);
    asm.jump_if(R2, Cond::AnyBit, network(0xfff8), later);
    asm.alu(Alu::Add, R1, 8);
    check_vxlan_port(asm, R1, later);
    look_up(asm, &maps.vteps6, KEY6 + 4, block);
    asm.jump(to.vxlan_fragment);

    asm.bind(later);
    look_up(asm, &maps.vteps6, KEY6 + 4, block);
    asm.jump(to.fragment);

    asm.bind(block);
    look_up(asm, &maps.blocks6, KEY6, to.pass);
    asm.jump(to.block);
}

/// ARP requests (RFC 826) and neighbour solicitations (RFC 4861) for an address that the engine answers for. To the port's
/// own MAC address or to a group: all of a link hear of who takes an address over, and the kernel need not.
fn write_questions(asm: &mut Assembler, maps: &Maps, to: Places) {
    let (Some(arp), Some(question)) = (to.arp, to.question) else { return };
    asm.bind(arp);
    need(asm, R7, 28, to.pass);
    asm.load(Half, R1, R7, 6);
    asm.jump_if(R1, Cond::NotEqual, network(ARP_REQUEST), to.pass);
    asm.load(Word, R1, R7, 24);
    asm.store(Word, R10, KEY4 + 4, R1);
    look_up(asm, &maps.answered4, KEY4 + 4, to.pass);

    asm.bind(question);
    // In another VLAN the address is another's.
    asm.jump_if(R9, Cond::AnyBit, TAGGED, to.pass);
    let [heard] = asm.labels();
    asm.jump_if(R9, Cond::AnyBit, GROUP, heard);
    asm.jump(to.engine);
    asm.bind(heard);
    asm.alu(Alu::And, R9, !FOREIGN);
    asm.jump(to.engine);
}

/// What becomes of the frame, and its counter.
fn write_verdicts(asm: &mut Assembler, maps: &Maps, at: Places, drops: &[(Label, Verdict)]) {
    let [foreign, vlan, too_long, count, out] = asm.labels();
    // R7 is free by now: it becomes what the program returns.
    let conclude = |asm: &mut Assembler, verdict: Verdict, action: i32| {
        asm.store(Word, R10, COUNTER, verdict as i32);
        asm.mov(R7, action);
        asm.jump(count);
    };

    asm.bind(at.engine);
    asm.jump_if(R9, Cond::AnyBit, FOREIGN, foreign);
    asm.jump_if(R9, Cond::AnyBit, TAGGED, vlan);
    asm.jump_if(R9, Cond::AnyBit, LONG, too_long);
    asm.load_map(R1, maps.sockets.as_fd());
    asm.load(Word, R2, R6, CONTEXT_RX_QUEUE);
    // What is returned when the queue has no socket: fail closed.
    asm.mov(R3, XDP_DROP);
    asm.call(Helper::RedirectMap);
    asm.mov(R7, R0);
    asm.store(Word, R10, COUNTER, Verdict::ToEngine as i32);
    asm.jump_if(R7, Cond::Equal, XDP_REDIRECT, count);
    asm.store(Word, R10, COUNTER, Verdict::NoSocket as i32);
    asm.jump(count);

    for &(label, verdict) in drops {
        asm.bind(label);
        asm.jump_if(R9, Cond::AnyBit, FOREIGN, foreign);
        asm.jump_if(R9, Cond::AnyBit, TAGGED, vlan);
        conclude(asm, verdict, XDP_DROP);
    }
    asm.bind(at.many_tags);
    asm.jump_if(R9, Cond::AnyBit, FOREIGN, at.pass);
    asm.bind(vlan);
    conclude(asm, Verdict::Vlan, XDP_DROP);
    asm.bind(too_long);
    conclude(asm, Verdict::TooLong, XDP_DROP);
    asm.bind(foreign);
    conclude(asm, Verdict::ForeignMac, XDP_PASS);
    asm.bind(at.fragment);
    conclude(asm, Verdict::Fragment, XDP_PASS);
    asm.bind(at.pass);
    asm.store(Word, R10, COUNTER, Verdict::Pass as i32);
    asm.mov(R7, XDP_PASS);

    // The counter is this CPU's own, and the program is not interrupted by itself: a plain addition will do.
    asm.bind(count);
    look_up(asm, &maps.counters, COUNTER, out);
    asm.load(Double, R1, R0, 0);
    asm.alu(Alu::Add, R1, 1);
    asm.store(Double, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, R7);
    asm.exit();
}
