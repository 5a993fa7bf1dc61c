//! A program that takes what a port receives to AF_XDP sockets, for receivers of test traffic and bumps in a wire.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use wire::{EtherType, IpProtocol};

use super::asm::{Alu, Assembler, Cond, Helper, Instruction, Reg::*, Size::*};
use super::bpf::{Action, Map, MapKind};
use super::hook::Hook;
use super::program::{
    CONTEXT_DATA, CONTEXT_DATA_END, CONTEXT_RX_QUEUE, COUNTER, TAGS, XDP_DROP, XDP_PASS, XDP_REDIRECT,
    ether_type, look_up, need, protocol,
};
use super::{XdpError, enter_socket, make_map, sum_over_cpus};
use crate::{XdpMode, XdpRequest};

/// Which frames are taken; the kernel gets the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All there are.
    Everything,
    /// All but ARP and IPv6 neighbour discovery (router messages and redirects included, RFC 4861 §4), so that the kernel
    /// goes on to answer for the port's own addresses.
    #[default]
    Traffic,
    /// UDP right behind the IP header, fragments included.
    Udp,
}

/// What the program has to know.
#[derive(Clone, Copy, Debug)]
pub struct CollectorConfig {
    /// Which frames are taken.
    pub wanted: Wanted,
    /// Receive queues of the netdev.
    pub queues: u32,
}

/// What the program decided, each with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Collected {
    /// Not wanted: to the kernel.
    Pass,
    /// To a socket, whose own statistics tell of frames that did not fit its rings.
    Taken,
    /// Wanted, and no socket is there for this queue: dropped, since the kernel must not answer test packets.
    NoSocket,
}

impl Collected {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Taken, Self::NoSocket];
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Taken => "taken",
            Self::NoSocket => "no_socket",
        })
    }
}

/// The XDP program of one port, with its maps. Dropping it takes the program off the netdev.
#[derive(Debug)]
pub struct Collector {
    hook: Hook,
    counters: Map,
    sockets: Map,
    queues: u32,
}

impl Collector {
    /// Makes the maps and loads the program. Nothing changes on the netdev.
    ///
    /// # Errors
    /// Too few privileges; a kernel too old for the program.
    pub fn load(config: CollectorConfig) -> Result<Self, XdpError> {
        let counters = make_map(MapKind::PerCpuArray, "counters", 4, 8, Collected::ALL.len() as u32)?;
        let sockets = make_map(MapKind::XskMap, "sockets", 4, 4, config.queues)?;
        let text = assemble(config.wanted, &counters, &sockets);
        Ok(Self { hook: Hook::load("vxgate_collect", &text)?, counters, sockets, queues: config.queues })
    }

    /// As [`Classifier::attach`](super::Classifier::attach).
    ///
    /// # Errors
    /// The hook is in use; the netdev does not support the mode; too few privileges.
    pub fn attach(
        &mut self,
        ifindex: u32,
        interface: &str,
        request: XdpRequest,
    ) -> Result<XdpMode, XdpError> {
        self.hook.attach(ifindex, interface, request)
    }

    /// Why [`XdpRequest::Auto`] ended in generic mode.
    pub fn native_refusal(&self) -> Option<&XdpError> {
        self.hook.native_refusal()
    }

    /// Sends what `queue` receives to `socket`, as [`Classifier::set_socket`](super::Classifier::set_socket).
    ///
    /// # Errors
    /// The netdev has no such queue; this is no AF_XDP socket.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        enter_socket(&self.sockets, self.queues, queue, socket)
    }

    /// Frames by what was decided since the program was loaded, summed over the CPUs.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn counters(&self) -> Result<Vec<(Collected, u64)>, XdpError> {
        let sum = |collected: Collected| {
            let [frames] = sum_over_cpus(&self.counters, collected as u32)?;
            Ok((collected, frames))
        };
        Collected::ALL.into_iter().map(sum).collect()
    }

    /// Runs the program in the kernel on a frame, as [`Classifier::run`](super::Classifier::run).
    ///
    /// # Errors
    /// The frame is shorter than an Ethernet header or longer than a page can hold.
    pub fn run(&self, frame: &[u8]) -> Result<Action, XdpError> {
        self.hook.run(frame)
    }
}

/// The first and the last type of neighbour discovery: router solicitation and redirect.
const NEIGHBOUR_DISCOVERY: [i32; 2] = [133, 137];

/// Registers as in the classifier's text: `R6` the context, `R7` where the frame is being read, `R8` its end.
fn assemble(wanted: Wanted, counters: &Map, sockets: &Map) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [take, pass, count, out] = asm.labels();
    asm.mov(R6, R1);
    if wanted != Wanted::Everything {
        let [network, ipv4, ipv6] = asm.labels();
        asm.load(Word, R7, R6, CONTEXT_DATA);
        asm.load(Word, R8, R6, CONTEXT_DATA_END);
        need(&mut asm, R7, 14, pass);
        asm.load(Half, R1, R7, 12);
        asm.alu(Alu::Add, R7, 14);
        for _ in 0..TAGS {
            let [tag] = asm.labels();
            asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Vlan), tag);
            asm.jump_if(R1, Cond::NotEqual, ether_type(EtherType::QinQ), network);
            asm.bind(tag);
            need(&mut asm, R7, 4, pass);
            asm.load(Half, R1, R7, 2);
            asm.alu(Alu::Add, R7, 4);
        }
        asm.bind(network);
        match wanted {
            Wanted::Everything => {}
            Wanted::Traffic => {
                asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Arp), pass);
                asm.jump_if(R1, Cond::NotEqual, ether_type(EtherType::Ipv6), take);
                need(&mut asm, R7, 41, take);
                asm.load(Byte, R1, R7, 6);
                asm.jump_if(R1, Cond::NotEqual, protocol(IpProtocol::Icmpv6), take);
                let [first, last] = NEIGHBOUR_DISCOVERY;
                asm.load(Byte, R1, R7, 40);
                asm.mov(R2, first);
                asm.jump_if(R2, Cond::Greater, R1, take);
                asm.jump_if(R1, Cond::Greater, last, take);
                asm.jump(pass);
            }
            Wanted::Udp => {
                asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Ipv4), ipv4);
                asm.jump_if(R1, Cond::Equal, ether_type(EtherType::Ipv6), ipv6);
                asm.jump(pass);
                for (label, length, field) in [(ipv4, 20, 9), (ipv6, 40, 6)] {
                    asm.bind(label);
                    need(&mut asm, R7, length, pass);
                    asm.load(Byte, R1, R7, field);
                    asm.jump_if(R1, Cond::Equal, protocol(IpProtocol::Udp), take);
                    asm.jump(pass);
                }
            }
        }
        asm.bind(pass);
        asm.store(Word, R10, COUNTER, Collected::Pass as i32);
        asm.mov(R7, XDP_PASS);
        asm.jump(count);
    }
    asm.bind(take);
    asm.load_map(R1, sockets.as_fd());
    asm.load(Word, R2, R6, CONTEXT_RX_QUEUE);
    asm.mov(R3, XDP_DROP);
    asm.call(Helper::RedirectMap);
    asm.mov(R7, R0);
    asm.store(Word, R10, COUNTER, Collected::Taken as i32);
    asm.jump_if(R7, Cond::Equal, XDP_REDIRECT, count);
    asm.store(Word, R10, COUNTER, Collected::NoSocket as i32);

    // As in the classifier: a plain addition will do.
    asm.bind(count);
    look_up(&mut asm, counters, COUNTER, out);
    asm.load(Double, R1, R0, 0);
    asm.alu(Alu::Add, R1, 1);
    asm.store(Double, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, R7);
    asm.exit();
    asm.finish()
}
