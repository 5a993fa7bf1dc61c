//! A source of frames in the kernel: `BPF_PROG_RUN` with live frames (Linux 5.18), several times as fast as a socket.
//!
//! The kernel makes a batch of frames in pages, runs an XDP program on each, and does what the program says: here, to
//! send the frame out of a netdev. Pages are used again and come back as the receiver left them, so that the program
//! writes anew all that may have been changed, and the fields that vary from frame to frame.

use std::os::fd::AsFd;

use sys::netdev::CounterTable;

use super::asm::{Alu, Assembler, Cond, Helper, Instruction, Label, Reg, Reg::*, Size::*};
use super::bpf::{LiveRun, Map, MapKind};
use super::hook::Hook;
use super::program::{CONTEXT_DATA, CONTEXT_DATA_END, XDP_DROP, need};
use super::{XdpError, make_map};

/// Longest frame: a page, less the kernel's own headers, the headroom, and what a socket buffer needs behind it.
const MAX_FRAME: usize = 3072;
/// Most frames that the kernel makes at once (`TEST_XDP_MAX_BATCH`).
const MAX_BATCH: u32 = 256;
/// Bytes of an IPv4 header without options (RFC 791 §3.1), and where in it the checksum is.
const IPV4_HEADER: usize = 20;
const IPV4_CHECKSUM: usize = 10;

// Places in the value of the state's map.
const STATE_BYTES: usize = 24;
const SENT: i16 = 0;
const INDEX: i16 = 8;
const DUE: i16 = 16;
/// Bytes of a time.
const STAMP: usize = 8;

/// Bytes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    One,
    /// 16 bits.
    Two,
    /// 24 bits.
    Three,
    /// 32 bits.
    Four,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
        }
    }
}

/// A field that differs between variants, big-endian: `base + step * variant`, modulo its width.
#[derive(Clone, Copy, Debug)]
pub struct VariedField {
    /// Its first byte, counted from the start of the frame.
    pub offset: usize,
    /// Its size.
    pub width: Width,
    /// Its value in variant 0.
    pub base: u32,
    /// What is added from one variant to the next.
    pub step: u32,
}

/// Which variant comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// 0, 1, …, the last, and 0 again.
    #[default]
    Counting,
    /// One drawn from all with the same chance.
    Random,
}

/// What frames a source makes. All fields of a frame vary together, with the frame's variant.
#[derive(Clone, Debug)]
pub struct LiveFrames {
    /// The frame, from the Ethernet header on, without frame check sequence: 14 to 3 072 bytes. The netdev drops, and
    /// counts nowhere, what is longer than its MTU allows.
    pub template: Vec<u8>,
    /// Bytes from the start of the frame that receivers may have changed, written anew in each frame: at least the
    /// headers that a forwarder rewrites.
    pub rewritten: usize,
    /// How many variants there are: at least 1.
    pub variants: u32,
    /// Which variant comes next.
    pub order: Order,
    /// What differs between them.
    pub fields: Vec<VariedField>,
    /// Offsets of IPv4 headers, without options, whose checksum is to be computed anew.
    pub ipv4_headers: Vec<usize>,
    /// Where the time of sending is written: CLOCK_MONOTONIC in nanoseconds, 8 bytes in the host's byte order, as
    /// [`Sink`](super::Sink) reads it.
    pub stamp: Option<usize>,
    /// Nanoseconds from one frame to the next, at most 2³¹ − 1; 0 for as fast as can be. The kernel then goes on making
    /// frames, and those that are not due are not sent.
    pub interval: u32,
    /// Frames that the kernel makes at once, 1 to 256; they leave together.
    pub batch: u32,
}

impl LiveFrames {
    /// Frames that are all the same, the first 192 bytes written anew: more than any encapsulation's headers.
    pub fn same(template: Vec<u8>) -> Self {
        let rewritten = template.len().min(192);
        Self {
            template,
            rewritten,
            variants: 1,
            order: Order::Counting,
            fields: vec![],
            ipv4_headers: vec![],
            stamp: None,
            interval: 0,
            batch: 64,
        }
    }

    fn check(&self) -> Result<(), XdpError> {
        let length = self.template.len();
        let fits = |offset: usize, bytes| offset.checked_add(bytes).is_some_and(|end| end <= length);
        let reason = if !(14..=MAX_FRAME).contains(&length) {
            "they must have 14 to 3072 bytes"
        } else if self.rewritten > length {
            "more is to be rewritten than there is"
        } else if self.variants == 0 {
            "there is no variant"
        } else if !(1..=MAX_BATCH).contains(&self.batch) {
            "a batch is 1 to 256 frames"
        } else if !self.fields.iter().all(|field| fits(field.offset, field.width.bytes())) {
            "a field lies outside"
        } else if !self.ipv4_headers.iter().all(|&offset| fits(offset, IPV4_HEADER)) {
            "an IPv4 header lies outside"
        } else if !self.stamp.is_none_or(|offset| fits(offset, STAMP)) {
            "the time lies outside"
        } else if self.interval > i32::MAX.cast_unsigned() {
            "they are further apart than 2 seconds"
        } else {
            return Ok(());
        };
        Err(XdpError::Frames { length, reason })
    }
}

/// Sends frames out of a netdev, from the thread and core that call [`run`](Self::run).
///
/// The netdev's driver must take frames from XDP (`ndo_xdp_xmit`). A veth does while its far end has an XDP program or
/// GRO on; else all frames are lost unseen. A veth's far end receives on the queue of the number of the sending core,
/// modulo its queues.
#[derive(Debug)]
pub struct LiveSource {
    interface: String,
    frames: LiveFrames,
    hook: Hook,
    state: Map,
}

impl LiveSource {
    /// Loads a program that sends `frames` out of the netdev `ifindex`, named `interface`.
    ///
    /// # Errors
    /// Frames that can't be; too few privileges.
    pub fn new(frames: LiveFrames, ifindex: u32, interface: &str) -> Result<Self, XdpError> {
        frames.check()?;
        let state = make_map(MapKind::Array, "source", 4, STATE_BYTES, 1)?;
        let hook = Hook::load("source", &assemble(&frames, ifindex, &state))?;
        Ok(Self { interface: interface.to_owned(), frames, hook, state })
    }

    /// Makes `count` frames and returns when they were handed to the netdev, which may have dropped some
    /// ([`dropped`](Self::dropped)). With an interval, some of them are sent ([`sent`](Self::sent) says how many). Each call costs some tens of microseconds beside the frames. The calling thread must
    /// be in the netdev's network namespace.
    ///
    /// # Errors
    /// A signal came; too few privileges; a kernel before 5.18. [`sent`](Self::sent) then tells how far it got.
    pub fn run(&mut self, count: u32) -> Result<(), XdpError> {
        if count == 0 {
            return Ok(());
        }
        let live = LiveRun { frames: count, batch: self.frames.batch };
        self.hook
            .run_live(&self.frames.template, live)
            .map_err(|source| XdpError::Live { interface: self.interface.clone(), source })
    }

    /// Frames handed to the netdev since the source was made.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn sent(&self) -> Result<u64, XdpError> {
        let value = self
            .state
            .lookup(&0_u32.to_ne_bytes())
            .map_err(|source| XdpError::Map { map: "source", source })?;
        Ok(value.first_chunk().map_or(0, |&sent| u64::from_ne_bytes(sent)))
    }

    /// Frames that the netdev has dropped in its life, whoever sent them: of a veth, those that its far end had no room
    /// for. The calling thread must be in the netdev's network namespace.
    ///
    /// # Errors
    /// The netdev is gone.
    pub fn dropped(&self) -> Result<u64, XdpError> {
        let counters = CounterTable::open().and_then(|table| table.read(&self.interface));
        counters
            .map(|counters| counters.transmit_drops)
            .map_err(|source| XdpError::Live { interface: self.interface.clone(), source })
    }
}

/// Writes the program. `R6` is the state, `R7` the start of the frame, `R8` its end, `R9` the variant.
fn assemble(frames: &LiveFrames, ifindex: u32, state: &Map) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let [short] = asm.labels();
    asm.load(Word, R7, R1, CONTEXT_DATA);
    asm.load(Word, R8, R1, CONTEXT_DATA_END);
    need(&mut asm, R7, frames.template.len() as u16, short);
    asm.load_map_value(R6, state.as_fd());
    write_pace(&mut asm, frames.interval, short);
    write_variant(&mut asm, frames);
    write_template(&mut asm, &frames.template[..frames.rewritten]);
    frames.fields.iter().for_each(|field| write_field(&mut asm, field));
    frames.ipv4_headers.iter().for_each(|&offset| write_ipv4_checksum(&mut asm, offset as i16));
    if let Some(offset) = frames.stamp {
        asm.call(Helper::Time);
        asm.store(Double, R7, offset as i16, R0);
    }

    // One run at a time (`run` borrows the source mutably): plain additions will do.
    asm.load(Double, R1, R6, SENT);
    asm.alu(Alu::Add, R1, 1);
    asm.store(Double, R6, SENT, R1);
    asm.mov(R1, ifindex.cast_signed());
    asm.mov(R2, 0);
    asm.call(Helper::Redirect);
    asm.exit();
    asm.bind(short);
    asm.mov(R0, XDP_DROP);
    asm.exit();
    asm.finish()
}

/// Goes to `early` unless a frame is due. What could not be sent in time is not made up for.
fn write_pace(asm: &mut Assembler, interval: u32, early: Label) {
    if interval == 0 {
        return;
    }
    let [on_time] = asm.labels();
    asm.call(Helper::Time);
    asm.load(Double, R1, R6, DUE);
    asm.jump_if(R1, Cond::Greater, R0, early);
    asm.alu(Alu::Add, R1, interval.cast_signed());
    asm.jump_if(R1, Cond::Greater, R0, on_time);
    asm.mov(R1, R0);
    asm.alu(Alu::Add, R1, interval.cast_signed());
    asm.bind(on_time);
    asm.store(Double, R6, DUE, R1);
}

/// `R9` becomes the frame's variant.
fn write_variant(asm: &mut Assembler, frames: &LiveFrames) {
    let variants = frames.variants.cast_signed();
    match frames.order {
        _ if frames.variants == 1 => asm.mov(R9, 0),
        Order::Counting => {
            let [within] = asm.labels();
            asm.load(Word, R9, R6, INDEX);
            asm.mov(R1, R9);
            asm.alu(Alu::Add, R1, 1);
            asm.mov(R2, variants);
            clear_upper(asm, R2);
            asm.jump_if(R2, Cond::Greater, R1, within);
            asm.mov(R1, 0);
            asm.bind(within);
            asm.store(Word, R6, INDEX, R1);
        }
        Order::Random => {
            asm.call(Helper::Random);
            asm.mov(R9, R0);
            asm.mov(R2, variants);
            clear_upper(asm, R2);
            // The upper half of the product with a fraction of 32 bits.
            asm.alu(Alu::Multiply, R9, R2);
            asm.alu(Alu::ShiftRight, R9, 32);
        }
    }
}

/// Undoes the extension of a constant's sign.
fn clear_upper(asm: &mut Assembler, reg: Reg) {
    asm.alu(Alu::ShiftLeft, reg, 32);
    asm.alu(Alu::ShiftRight, reg, 32);
}

fn write_template(asm: &mut Assembler, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<4>();
    for (place, &word) in words.iter().enumerate() {
        asm.store(Word, R7, (4 * place) as i16, i32::from_ne_bytes(word));
    }
    for (place, &byte) in rest.iter().enumerate() {
        asm.store(Byte, R7, (4 * words.len() + place) as i16, i32::from(byte));
    }
}

fn write_field(asm: &mut Assembler, field: &VariedField) {
    let offset = field.offset as i16;
    asm.mov(R1, R9);
    asm.alu(Alu::Multiply, R1, field.step.cast_signed());
    asm.alu(Alu::Add, R1, field.base.cast_signed());
    match field.width {
        Width::One => asm.store(Byte, R7, offset, R1),
        Width::Two => {
            asm.swap_to_network(R1, 16);
            asm.store(Half, R7, offset, R1);
        }
        Width::Three => {
            asm.store(Byte, R7, offset + 2, R1);
            asm.alu(Alu::ShiftRight, R1, 8);
            asm.swap_to_network(R1, 16);
            asm.store(Half, R7, offset, R1);
        }
        Width::Four => {
            asm.swap_to_network(R1, 32);
            asm.store(Word, R7, offset, R1);
        }
    }
}

/// The checksum of the header at `offset` (RFC 1071): byte order does not matter to the sum.
fn write_ipv4_checksum(asm: &mut Assembler, offset: i16) {
    let checksum = offset + IPV4_CHECKSUM as i16;
    asm.store(Half, R7, checksum, 0);
    asm.mov(R1, 0);
    for word in 0..(IPV4_HEADER / 4) as i16 {
        asm.load(Word, R2, R7, offset + 4 * word);
        asm.alu(Alu::Add, R1, R2);
    }
    // The sum has 35 bits: 20 after the first turn, 17 after the second, 16 after the third.
    for _ in 0..3 {
        asm.mov(R2, R1);
        asm.alu(Alu::ShiftRight, R2, 16);
        asm.alu(Alu::And, R1, 0xffff);
        asm.alu(Alu::Add, R1, R2);
    }
    asm.alu(Alu::Xor, R1, 0xffff);
    asm.store(Half, R7, checksum, R1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = LiveFrames::same(vec![0; 60]);
        assert!(good.check().is_ok());
        let field = |offset, width| VariedField { offset, width, base: 0, step: 1 };
        for bad in [
            LiveFrames::same(vec![0; 13]),
            LiveFrames::same(vec![0; MAX_FRAME + 1]),
            LiveFrames { rewritten: 61, ..good.clone() },
            LiveFrames { variants: 0, ..good.clone() },
            LiveFrames { batch: 0, ..good.clone() },
            LiveFrames { batch: 257, ..good.clone() },
            LiveFrames { fields: vec![field(58, Width::Three)], ..good.clone() },
            LiveFrames { fields: vec![field(usize::MAX, Width::Two)], ..good.clone() },
            LiveFrames { ipv4_headers: vec![41], ..good.clone() },
            LiveFrames { stamp: Some(53), ..good.clone() },
            LiveFrames { interval: 1 << 31, ..good.clone() },
        ] {
            assert!(matches!(bad.check(), Err(XdpError::Frames { .. })), "{bad:?}");
        }
    }
}
