//! A small assembler for eBPF.
//!
//! Just the instructions that the programs of this module need, with labels. Encodings are those of RFC 9669; registers, calls
//! and the stack follow its §2 and the kernel's `Documentation/bpf/`: `R1` to `R5` carry arguments and are lost in a
//! call, `R6` to `R9` survive it, `R0` is the result, and `R10` points to the end of 512 bytes of stack.
//!
//! Nothing is checked here beyond labels: the kernel's verifier judges every program before it runs.

use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(target_endian = "big")]
compile_error!("instructions are encoded for little-endian hosts only");

/// One encoded instruction slot, laid out as the kernel's `struct bpf_insn` on a little-endian host: opcode,
/// destination and source register (4 bits each), offset (16 bits), immediate (32 bits).
pub(super) type Instruction = u64;

/// A register.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Width of a load or store.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Size {
    /// 32 bits.
    Word = 0x00,
    /// 16 bits.
    Half = 0x08,
    /// 8 bits.
    Byte = 0x10,
    /// 64 bits.
    Double = 0x18,
}

/// A 64-bit operation `dst = dst op src`.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Alu {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xa0,
    Move = 0xb0,
}

/// A 64-bit unsigned comparison `left cond right`.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Cond {
    Equal = 0x10,
    Greater = 0x20,
    GreaterEqual = 0x30,
    /// Any bit in common.
    AnyBit = 0x40,
    NotEqual = 0x50,
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum Helper {
    /// `bpf_map_lookup_elem(map, key)`.
    MapLookup = 1,
    /// `bpf_ktime_get_ns()`: CLOCK_MONOTONIC.
    Time = 5,
    /// `bpf_get_prandom_u32()`.
    Random = 7,
    /// `bpf_redirect(ifindex, flags)`.
    Redirect = 23,
    /// `bpf_redirect_map(map, index, flags)`.
    RedirectMap = 51,
}

/// The second operand: a register, or a constant that is sign-extended to 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Reg(Reg),
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Self {
        Self::Imm(value)
    }
}

/// A place in the program, to jump to before or after it is known where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

// Instruction classes, modes and sources (RFC 9669 §3, §4, §5).
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU32: u8 = 0x04;
const JMP: u8 = 0x05;
const ALU64: u8 = 0x07;
const MODE_IMM: u8 = 0x00;
const MODE_MEM: u8 = 0x60;
const SOURCE_REG: u8 = 0x08;
const BYTE_SWAP: u8 = 0xd0;
/// In place of a source: from the host's byte order to big-endian.
const TO_BIG_ENDIAN: u8 = 0x08;
const JUMP_ALWAYS: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;

// What the immediate of a 64-bit load means, in its source field (RFC 9669 §5.4).
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

fn encode(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Instruction {
    u64::from(opcode)
        | u64::from(dst) << 8
        | u64::from(src) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(imm.cast_unsigned()) << 32
}

/// A program under construction.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// Position of each label, once bound.
    labels: Vec<Option<usize>>,
    /// Jumps whose offset is filled in at the end.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn push(&mut self, opcode: u8, dst: Reg, src: Operand, offset: i16) {
        self.instructions.push(match src {
            Operand::Reg(src) => encode(opcode | SOURCE_REG, dst as u8, src as u8, offset, 0),
            Operand::Imm(imm) => encode(opcode, dst as u8, 0, offset, imm),
        });
    }

    /// New labels, not yet bound.
    pub(super) fn labels<const N: usize>(&mut self) -> [Label; N] {
        let first = self.labels.len();
        self.labels.resize(first + N, None);
        std::array::from_fn(|n| Label(first + n))
    }

    /// Lets `label` stand for the next instruction.
    pub(super) fn bind(&mut self, label: Label) {
        let place = self.labels[label.0].replace(self.instructions.len());
        assert!(place.is_none(), "label bound twice");
    }

    /// `dst = dst op src`.
    pub(super) fn alu(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.push(ALU64 | op as u8, dst, src.into(), 0);
    }

    /// `dst = src`.
    pub(super) fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.alu(Alu::Move, dst, src);
    }

    /// The low `bits` (16 or 32) of `dst` into network byte order; the others become zero.
    pub(super) fn swap_to_network(&mut self, dst: Reg, bits: i32) {
        self.instructions.push(encode(ALU32 | BYTE_SWAP | TO_BIG_ENDIAN, dst as u8, 0, 0, bits));
    }

    /// `dst = *(base + offset)`, zero-extended, in the host's byte order.
    pub(super) fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) {
        self.instructions.push(encode(LDX | MODE_MEM | size as u8, dst as u8, base as u8, offset, 0));
    }

    /// `*(base + offset) = src`, in the host's byte order.
    pub(super) fn store(&mut self, size: Size, base: Reg, offset: i16, src: impl Into<Operand>) {
        // Stores have a class for each kind of source and not a source bit.
        self.instructions.push(match src.into() {
            Operand::Reg(src) => encode(STX | MODE_MEM | size as u8, base as u8, src as u8, offset, 0),
            Operand::Imm(imm) => encode(ST | MODE_MEM | size as u8, base as u8, 0, offset, imm),
        });
    }

    fn load_wide(&mut self, dst: Reg, pseudo: u8, low: i32) {
        self.instructions.push(encode(LD | MODE_IMM | Size::Double as u8, dst as u8, pseudo, 0, low));
        self.instructions.push(encode(0, 0, 0, 0, 0));
    }

    /// `dst` = the map behind `fd`. The kernel takes a reference when the program is loaded.
    pub(super) fn load_map(&mut self, dst: Reg, fd: BorrowedFd<'_>) {
        self.load_wide(dst, PSEUDO_MAP_FD, fd.as_raw_fd());
    }

    /// `dst` = address of the first value of the array map behind `fd`.
    pub(super) fn load_map_value(&mut self, dst: Reg, fd: BorrowedFd<'_>) {
        self.load_wide(dst, PSEUDO_MAP_VALUE, fd.as_raw_fd());
    }

    /// Goes to `target`.
    pub(super) fn jump(&mut self, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.instructions.push(encode(JMP | JUMP_ALWAYS, 0, 0, 0, 0));
    }

    /// Goes to `target` if `left cond right`.
    pub(super) fn jump_if(&mut self, left: Reg, cond: Cond, right: impl Into<Operand>, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(JMP | cond as u8, left, right.into(), 0);
    }

    /// `R0 = helper(R1, …)`.
    pub(super) fn call(&mut self, helper: Helper) {
        self.instructions.push(encode(JMP | CALL, 0, 0, 0, helper as i32));
    }

    /// Returns `R0`.
    pub(super) fn exit(&mut self) {
        self.instructions.push(encode(JMP | EXIT, 0, 0, 0, 0));
    }

    /// The program, with all jumps resolved.
    ///
    /// # Panics
    /// If a label that is jumped to was never bound or is further than 32 767 instructions away: mistakes of the
    /// program's text, which does not depend on input.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (place, target) in self.jumps {
            let target = self.labels[target.0].expect("every label jumped to is bound");
            // Offsets count from the instruction after the jump.
            let offset = target as isize - (place as isize + 1);
            let offset = i16::try_from(offset).expect("jumps are short");
            self.instructions[place] |= u64::from(offset.cast_unsigned()) << 16;
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// The bytes of the only instruction that `write` writes.
    fn bytes(write: impl FnOnce(&mut Assembler)) -> [u8; 8] {
        let mut asm = Assembler::default();
        write(&mut asm);
        let [instruction] = asm.finish()[..] else { panic!("one instruction expected") };
        instruction.to_le_bytes()
    }

    // Expected bytes are those of `llvm-mc -triple bpfel -show-encoding` for the text beside them; stores of
    // constants and bit tests, for which LLVM 14 has no syntax, are by RFC 9669.

    #[test]
    fn arithmetic() {
        use Reg::*;
        assert_eq!(bytes(|a| a.mov(R6, R1)), [0xbf, 0x16, 0, 0, 0, 0, 0, 0], "r6 = r1");
        assert_eq!(bytes(|a| a.mov(R0, 2)), [0xb7, 0x00, 0, 0, 2, 0, 0, 0], "r0 = 2");
        assert_eq!(bytes(|a| a.mov(R3, -1)), [0xb7, 0x03, 0, 0, 0xff, 0xff, 0xff, 0xff], "r3 = -1");
        assert_eq!(bytes(|a| a.alu(Alu::Add, R7, 14)), [0x07, 0x07, 0, 0, 14, 0, 0, 0], "r7 += 14");
        assert_eq!(bytes(|a| a.alu(Alu::Add, R2, R10)), [0x0f, 0xa2, 0, 0, 0, 0, 0, 0], "r2 += r10");
        assert_eq!(bytes(|a| a.alu(Alu::Or, R9, 4)), [0x47, 0x09, 0, 0, 4, 0, 0, 0], "r9 |= 4");
        assert_eq!(bytes(|a| a.alu(Alu::And, R1, 15)), [0x57, 0x01, 0, 0, 15, 0, 0, 0], "r1 &= 15");
        assert_eq!(bytes(|a| a.alu(Alu::ShiftLeft, R1, 2)), [0x67, 0x01, 0, 0, 2, 0, 0, 0], "r1 <<= 2");
        assert_eq!(bytes(|a| a.alu(Alu::ShiftRight, R1, 4)), [0x77, 0x01, 0, 0, 4, 0, 0, 0], "r1 >>= 4");
        assert_eq!(bytes(|a| a.alu(Alu::Multiply, R1, 7)), [0x27, 0x01, 0, 0, 7, 0, 0, 0], "r1 *= 7");
        assert_eq!(bytes(|a| a.alu(Alu::Subtract, R8, R7)), [0x1f, 0x78, 0, 0, 0, 0, 0, 0], "r8 -= r7");
        assert_eq!(bytes(|a| a.alu(Alu::Xor, R1, 15)), [0xa7, 0x01, 0, 0, 15, 0, 0, 0], "r1 ^= 15");
        assert_eq!(bytes(|a| a.swap_to_network(R1, 16)), [0xdc, 0x01, 0, 0, 16, 0, 0, 0], "r1 = be16 r1");
        assert_eq!(bytes(|a| a.swap_to_network(R1, 32)), [0xdc, 0x01, 0, 0, 32, 0, 0, 0], "r1 = be32 r1");
    }

    #[test]
    fn memory() {
        use Reg::*;
        use Size::*;
        assert_eq!(
            bytes(|a| a.load(Byte, R1, R7, 9)),
            [0x71, 0x71, 9, 0, 0, 0, 0, 0],
            "r1 = *(u8 *)(r7 + 9)"
        );
        assert_eq!(
            bytes(|a| a.load(Half, R2, R7, 6)),
            [0x69, 0x72, 6, 0, 0, 0, 0, 0],
            "r2 = *(u16 *)(r7 + 6)"
        );
        assert_eq!(
            bytes(|a| a.load(Word, R8, R6, 4)),
            [0x61, 0x68, 4, 0, 0, 0, 0, 0],
            "r8 = *(u32 *)(r6 + 4)"
        );
        assert_eq!(
            bytes(|a| a.load(Double, R3, R7, 24)),
            [0x79, 0x73, 24, 0, 0, 0, 0, 0],
            "r3 = *(u64 *)(r7 + 24)"
        );
        assert_eq!(
            bytes(|a| a.store(Word, R10, -4, R1)),
            [0x63, 0x1a, 0xfc, 0xff, 0, 0, 0, 0],
            "*(u32 *)(r10 - 4) = r1"
        );
        assert_eq!(
            bytes(|a| a.store(Double, R10, -16, R3)),
            [0x7b, 0x3a, 0xf0, 0xff, 0, 0, 0, 0],
            "*(u64 *)(r10 - 16) = r3"
        );
        assert_eq!(
            bytes(|a| a.store(Word, R10, -20, 128)),
            [0x62, 0x0a, 0xec, 0xff, 0x80, 0, 0, 0],
            "*(u32 *)(r10 - 20) = 128"
        );
    }

    #[test]
    fn calls_and_exit() {
        assert_eq!(bytes(|a| a.call(Helper::MapLookup)), [0x85, 0, 0, 0, 1, 0, 0, 0], "call 1");
        assert_eq!(bytes(|a| a.call(Helper::Time)), [0x85, 0, 0, 0, 5, 0, 0, 0], "call 5");
        assert_eq!(bytes(|a| a.call(Helper::Random)), [0x85, 0, 0, 0, 7, 0, 0, 0], "call 7");
        assert_eq!(bytes(|a| a.call(Helper::Redirect)), [0x85, 0, 0, 0, 23, 0, 0, 0], "call 23");
        assert_eq!(bytes(|a| a.call(Helper::RedirectMap)), [0x85, 0, 0, 0, 51, 0, 0, 0], "call 51");
        assert_eq!(bytes(Assembler::exit), [0x95, 0, 0, 0, 0, 0, 0, 0], "exit");
    }

    #[test]
    fn jumps_count_from_the_next_instruction_both_ways() {
        use Reg::*;
        let mut asm = Assembler::default();
        let [back, ahead] = asm.labels();
        asm.bind(back);
        asm.jump_if(R1, Cond::Equal, 8, ahead);
        asm.jump_if(R1, Cond::Greater, R8, ahead);
        asm.jump_if(R1, Cond::GreaterEqual, R8, ahead);
        asm.jump_if(R9, Cond::AnyBit, 2, ahead);
        asm.jump_if(R1, Cond::NotEqual, R4, back);
        asm.jump(back);
        asm.bind(ahead);
        asm.exit();
        let code: Vec<[u8; 8]> = asm.finish().into_iter().map(u64::to_le_bytes).collect();
        assert_eq!(
            code,
            [
                [0x15, 0x01, 5, 0, 8, 0, 0, 0],
                [0x2d, 0x81, 4, 0, 0, 0, 0, 0],
                [0x3d, 0x81, 3, 0, 0, 0, 0, 0],
                [0x45, 0x09, 2, 0, 2, 0, 0, 0],
                [0x5d, 0x41, 0xfb, 0xff, 0, 0, 0, 0],
                [0x05, 0x00, 0xfa, 0xff, 0, 0, 0, 0],
                [0x95, 0x00, 0, 0, 0, 0, 0, 0],
            ]
        );
    }

    #[test]
    fn maps_take_two_slots() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let fd = file.as_fd().as_raw_fd().to_le_bytes();
        let mut asm = Assembler::default();
        asm.load_map(Reg::R1, file.as_fd());
        asm.load_map_value(Reg::R4, file.as_fd());
        let code: Vec<[u8; 8]> = asm.finish().into_iter().map(u64::to_le_bytes).collect();
        let slot = |regs: u8| [0x18, regs, 0, 0, fd[0], fd[1], fd[2], fd[3]];
        assert_eq!(code, [slot(0x11), [0; 8], slot(0x24), [0; 8]]);
    }

    #[test]
    #[should_panic(expected = "every label jumped to is bound")]
    fn a_forgotten_label_is_noticed() {
        let mut asm = Assembler::default();
        let [nowhere] = asm.labels();
        asm.jump(nowhere);
        asm.finish();
    }
}
