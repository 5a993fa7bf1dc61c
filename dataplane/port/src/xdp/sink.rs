//! A sink: counts what is expected and drops it.

use std::os::fd::AsFd;

use super::asm::{Alu, Assembler, Cond, Helper, Instruction, Reg::*, Size::*};
use super::bpf::{Map, MapKind};
use super::hook::Hook;
use super::program::{CONTEXT_DATA, CONTEXT_DATA_END, XDP_DROP, XDP_PASS, need};
use super::{XdpError, make_map, sum_over_cpus};
use crate::XdpRequest;

/// Place of the counter's key on the stack.
const KEY: i16 = -4;
const EXPECTED: u32 = 0;
const OTHER: u32 = 1;

/// Frames, and their bytes from the Ethernet header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An XDP program on a netdev, in the driver, that counts and drops the frames that are as expected, and counts all
/// others and leaves them to the kernel. Dropping it takes it off the netdev.
#[derive(Debug)]
pub struct Sink {
    counters: Map,
    _hook: Hook,
}

impl Sink {
    /// Attaches a sink to the netdev `ifindex`, named `interface` in errors, of the calling thread's network namespace.
    /// Expected are frames of exactly `length` bytes that have these bytes at these offsets.
    ///
    /// # Errors
    /// The hook is in use; the driver has no XDP; too few privileges.
    ///
    /// # Panics
    /// If an offset lies beyond `length`: a mistake of the caller's text.
    pub fn attach(
        ifindex: u32,
        interface: &str,
        length: u16,
        expected: &[(u16, u8)],
    ) -> Result<Self, XdpError> {
        assert!(expected.iter().all(|&(offset, _)| offset < length), "what is expected lies in the frame");
        let counters = make_map(MapKind::PerCpuArray, "counters", 4, size_of::<[u64; 2]>(), 2)?;
        let mut hook = Hook::load("sink", &assemble(length, expected, &counters))?;
        hook.attach(ifindex, interface, XdpRequest::Native)?;
        Ok(Self { counters, _hook: hook })
    }

    /// What was as expected, since the sink was attached.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn expected(&self) -> Result<Counts, XdpError> {
        self.counts(EXPECTED)
    }

    /// What was not.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn other(&self) -> Result<Counts, XdpError> {
        self.counts(OTHER)
    }

    fn counts(&self, index: u32) -> Result<Counts, XdpError> {
        let [frames, bytes] = sum_over_cpus(&self.counters, index)?;
        Ok(Counts { frames, bytes })
    }
}

/// Writes the program. `R7` is the start of the frame, `R8` its end, `R9` what is returned.
fn assemble(length: u16, expected: &[(u16, u8)], counters: &Map) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [other, out] = asm.labels();
    asm.load(Word, R7, R1, CONTEXT_DATA);
    asm.load(Word, R8, R1, CONTEXT_DATA_END);
    asm.store(Word, R10, KEY, OTHER.cast_signed());
    asm.mov(R9, XDP_PASS);
    // Not shorter, and not longer.
    need(&mut asm, R7, length, other);
    asm.jump_if(R3, Cond::NotEqual, R8, other);
    for &(offset, byte) in expected {
        asm.load(Byte, R1, R7, offset.cast_signed());
        asm.jump_if(R1, Cond::NotEqual, i32::from(byte), other);
    }
    asm.store(Word, R10, KEY, EXPECTED.cast_signed());
    asm.mov(R9, XDP_DROP);
    asm.bind(other);

    // The counters are this CPU's own, and the program is not interrupted by itself.
    asm.load_map(R1, counters.as_fd());
    asm.mov(R2, R10);
    asm.alu(Alu::Add, R2, i32::from(KEY));
    asm.call(Helper::MapLookup);
    asm.jump_if(R0, Cond::Equal, 0, out);
    asm.load(Double, R1, R0, 0);
    asm.alu(Alu::Add, R1, 1);
    asm.store(Double, R0, 0, R1);
    // A difference of pointers to a packet is a number.
    asm.alu(Alu::Subtract, R8, R7);
    asm.load(Double, R1, R0, 8);
    asm.alu(Alu::Add, R1, R8);
    asm.store(Double, R0, 8, R1);
    asm.bind(out);
    asm.mov(R0, R9);
    asm.exit();
    asm.finish()
}
