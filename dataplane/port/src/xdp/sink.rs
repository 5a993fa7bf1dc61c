//! A sink: counts what is expected, how long it was on its way, and drops it.

use super::asm::{Alu, Assembler, Cond, Helper, Instruction, Reg::*, Size::*};
use super::bpf::{Map, MapKind};
use super::hook::Hook;
use super::program::{CONTEXT_DATA, CONTEXT_DATA_END, XDP_DROP, XDP_PASS, look_up, need};
use super::{XdpError, make_map, sum_over_cpus};
use crate::XdpRequest;

/// Place of the counter's key on the stack.
const KEY: i16 = -4;
/// Binary digits of a nanosecond count that latencies are told apart without.
const LATENCY_SHIFT: i32 = 8;
/// Latencies that are told apart; the last is all that are longer.
const LATENCIES: i32 = 1 << 14;
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

/// How a sink knows what it expects.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Bytes of a frame, exactly.
    pub length: u16,
    /// Offsets, and the bytes there.
    pub bytes: Vec<(u16, u8)>,
    /// Where the time is that a [`LiveSource`](super::LiveSource) wrote, if it did.
    pub stamp: Option<u16>,
}

/// An XDP program on a netdev, in the driver, that counts and drops the frames that are as expected, and counts all
/// others and leaves them to the kernel. Dropping it takes it off the netdev.
#[derive(Debug)]
pub struct Sink {
    counters: Map,
    latencies: Map,
    _hook: Hook,
}

impl Sink {
    /// Nanoseconds that one latency is told apart from the next by.
    pub const LATENCY_STEP: u64 = 1 << LATENCY_SHIFT;

    /// Attaches a sink to the netdev `ifindex`, named `interface` in errors, of the calling thread's network namespace.
    ///
    /// # Errors
    /// The hook is in use; the driver has no XDP; too few privileges.
    ///
    /// # Panics
    /// If what is expected lies beyond the frame's length: a mistake of the caller's text.
    pub fn attach(ifindex: u32, interface: &str, expected: &Expected) -> Result<Self, XdpError> {
        let Expected { length, bytes, stamp } = expected;
        assert!(bytes.iter().all(|(offset, _)| offset < length), "what is expected lies in the frame");
        assert!(stamp.is_none_or(|offset| offset + 8 <= *length), "the time lies in the frame");
        let counters = make_map(MapKind::PerCpuArray, "counters", 4, size_of::<[u64; 2]>(), 2)?;
        let latencies = make_map(MapKind::PerCpuArray, "latencies", 4, 8, LATENCIES.cast_unsigned())?;
        let mut hook = Hook::load("sink", &assemble(expected, &counters, &latencies))?;
        hook.attach(ifindex, interface, XdpRequest::Native)?;
        Ok(Self { counters, latencies, _hook: hook })
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

    /// The time that a quantile (0 to 1) of the stamped frames was at most on its way, in nanoseconds, to within
    /// [`LATENCY_STEP`](Self::LATENCY_STEP); one of more than 4 ms counts as that. `None` if there was none.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn latency(&self, quantiles: &[f64]) -> Result<Option<Vec<u64>>, XdpError> {
        let counts: Vec<u64> = (0..LATENCIES.cast_unsigned())
            .map(|index| sum_over_cpus(&self.latencies, index).map(|[frames]| frames))
            .collect::<Result<_, _>>()?;
        Ok(quantiles.iter().map(|&of| quantile(&counts, of)).collect())
    }

    fn counts(&self, index: u32) -> Result<Counts, XdpError> {
        let [frames, bytes] = sum_over_cpus(&self.counters, index)?;
        Ok(Counts { frames, bytes })
    }
}

/// The upper end of the step in which the quantile lies, of frames counted by step.
fn quantile(counts: &[u64], of: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let rank = ((of * all as f64).ceil() as u64).max(1);
    let mut before = 0;
    let step = counts.iter().position(|&count| {
        before += count;
        before >= rank
    })?;
    Some((step as u64 + 1) << LATENCY_SHIFT)
}

/// Writes the program. `R7` is the start of the frame, `R8` its end, `R9` what is returned.
fn assemble(expected: &Expected, counters: &Map, latencies: &Map) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [other, out] = asm.labels();
    asm.load(Word, R7, R1, CONTEXT_DATA);
    asm.load(Word, R8, R1, CONTEXT_DATA_END);
    asm.store(Word, R10, KEY, OTHER.cast_signed());
    asm.mov(R9, XDP_PASS);
    // Not shorter, and not longer.
    need(&mut asm, R7, expected.length, other);
    asm.jump_if(R3, Cond::NotEqual, R8, other);
    for &(offset, byte) in &expected.bytes {
        asm.load(Byte, R1, R7, offset.cast_signed());
        asm.jump_if(R1, Cond::NotEqual, i32::from(byte), other);
    }
    if let Some(offset) = expected.stamp {
        write_latency(&mut asm, latencies, offset.cast_signed());
    }
    asm.store(Word, R10, KEY, EXPECTED.cast_signed());
    asm.mov(R9, XDP_DROP);
    asm.bind(other);

    // The counters are this CPU's own, and the program is not interrupted by itself.
    look_up(&mut asm, counters, KEY, out);
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

/// Counts the time since the one at `offset` in the frame.
fn write_latency(asm: &mut Assembler, latencies: &Map, offset: i16) {
    let [short, done] = asm.labels();
    asm.call(Helper::Time);
    asm.load(Double, R1, R7, offset);
    asm.alu(Alu::Subtract, R0, R1);
    asm.alu(Alu::ShiftRight, R0, LATENCY_SHIFT);
    asm.mov(R1, LATENCIES);
    asm.jump_if(R1, Cond::Greater, R0, short);
    asm.mov(R0, LATENCIES - 1);
    asm.bind(short);
    asm.store(Word, R10, KEY, R0);
    look_up(asm, latencies, KEY, done);
    asm.load(Double, R1, R0, 0);
    asm.alu(Alu::Add, R1, 1);
    asm.store(Double, R0, 0, R1);
    asm.bind(done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_step_that_reaches_them() {
        assert_eq!(quantile(&[0; 4], 0.5), None);
        let counts = [0, 98, 1, 0, 1];
        assert_eq!(
            [0.0, 0.5, 0.98, 0.99, 1.0].map(|of| quantile(&counts, of)),
            [Some(512), Some(512), Some(512), Some(768), Some(1280)]
        );
    }
}
