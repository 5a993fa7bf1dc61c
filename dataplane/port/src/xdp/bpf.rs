//! The bpf(2) system call: maps, programs, links.
//!
//! The only unsafe code of the XDP module. Each command has an attribute structure of its own instead of the
//! kernel's union: the kernel takes any length and reads what is missing as zero.

use std::ffi::{CStr, c_int, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::asm::Instruction;

// Commands, types and flags of `<linux/bpf.h>` and `<linux/if_link.h>`.
const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_LOOKUP_ELEM: c_int = 1;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_TEST_RUN: c_int = 10;
const BPF_LINK_CREATE: c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The kernel gives up loading when a signal is pending and asks to try again.
const LOAD_ATTEMPTS: usize = 5;

/// Room for the verifier's log. Kernels before 6.4 keep its beginning and not its end when it does not fit, so there
/// is plenty.
const LOG_BYTES: usize = 1 << 20;

/// An attribute structure of bpf(2).
///
/// # Safety
/// The type is `repr(C)`, without padding, and a prefix of the kernel's structure for the command it is used with.
unsafe trait Attributes {}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}
// SAFETY: 7 words and 16 bytes: no padding; the opening of the structure for BPF_MAP_CREATE.
unsafe impl Attributes for MapCreate {}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}
// SAFETY: the gap before `key` is the field `zero`: no padding; the structure for BPF_MAP_*_ELEM.
unsafe impl Attributes for MapElement {}

#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}
// SAFETY: every u64 follows an even count of words, 72 bytes in all: no padding; the opening of the structure for
// BPF_PROG_LOAD.
unsafe impl Attributes for ProgramLoad {}

#[repr(C)]
struct ProgramTestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    zero: u32,
}
// SAFETY: every u64 follows an even count of words, and a word of zero ends it: no padding; the opening of the structure for BPF_PROG_TEST_RUN.
unsafe impl Attributes for ProgramTestRun {}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}
// SAFETY: 4 words: no padding; the opening of the structure for BPF_LINK_CREATE.
unsafe impl Attributes for LinkCreate {}

/// Runs a command of bpf(2) and returns what it returns, never negative.
///
/// # Safety
/// `attributes` is the structure for `command`. Every address in it is either null or points to memory that the
/// command may read, or write, for the length that the command takes it to have.
unsafe fn bpf<A: Attributes>(command: c_int, attributes: &mut A) -> io::Result<c_long> {
    // SAFETY: the kernel reads and writes at most `size_of::<A>()` bytes of `attributes`, which is exclusively
    // borrowed and holds no padding (`Attributes`); the memory behind its addresses is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Like [`bpf`], for commands that return a new descriptor. The kernel sets close-on-exec.
///
/// # Safety
/// As for [`bpf`]; and `command` returns a descriptor.
unsafe fn bpf_fd<A: Attributes>(command: c_int, attributes: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attributes) }?;
    let fd = c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The address of `bytes`, as bpf(2) wants it.
fn address<T>(bytes: &[T]) -> u64 {
    bytes.as_ptr() as u64
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// `name` as the kernel shows it: at most 15 bytes.
fn object_name(name: &str) -> [u8; 16] {
    let mut field = [0; 16];
    for (to, from) in field[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    field
}

/// What a map is.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum MapKind {
    Hash = 1,
    Array = 2,
    PerCpuArray = 6,
    LpmTrie = 11,
    XskMap = 17,
}

/// A map in the kernel.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    key_size: usize,
    /// Bytes that a look-up or an update moves: all CPUs' values for a per-CPU map.
    value_size: usize,
}

impl Map {
    /// Makes a map with keys and values of so many bytes.
    pub(super) fn create(
        kind: MapKind,
        name: &str,
        key_size: usize,
        value_size: usize,
        max_entries: u32,
    ) -> io::Result<Self> {
        let word = |size| u32::try_from(size).map_err(io::Error::other);
        let mut attributes = MapCreate {
            map_type: kind as u32,
            key_size: word(key_size)?,
            value_size: word(value_size)?,
            max_entries,
            // The only kind of trie there is.
            map_flags: if matches!(kind, MapKind::LpmTrie) { BPF_F_NO_PREALLOC } else { 0 },
            inner_map_fd: 0,
            numa_node: 0,
            map_name: object_name(name),
        };
        // SAFETY: the structure for BPF_MAP_CREATE, which returns a descriptor; no addresses in it.
        let fd = unsafe { bpf_fd(BPF_MAP_CREATE, &mut attributes) }?;
        let value_size = match kind {
            MapKind::PerCpuArray => value_size.next_multiple_of(8) * possible_cpus()?,
            _ => value_size,
        };
        Ok(Self { fd, key_size, value_size })
    }

    /// Writes an entry, new or not.
    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!(
            (key.len(), value.len()),
            (self.key_size, self.value_size),
            "key and value of the map's size"
        );
        let mut attributes = MapElement {
            map_fd: descriptor(self.as_fd()),
            zero: 0,
            key: address(key),
            value: address(value),
            flags: 0,
        };
        // SAFETY: the kernel reads `key_size` bytes of key and `value_size` of value, the lengths just checked.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
    }

    /// Reads an entry; of a per-CPU map one value after the other, each padded to 8 bytes.
    pub(super) fn lookup(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        assert_eq!(key.len(), self.key_size, "key of the map's size");
        let mut value = vec![0; self.value_size];
        let mut attributes = MapElement {
            map_fd: descriptor(self.as_fd()),
            zero: 0,
            key: address(key),
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads `key_size` bytes of key, the length just checked, and writes `value_size` bytes
        // to `value`, its length; for a per-CPU map `create` counted at least the CPUs that the kernel counts.
        unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes) }?;
        Ok(value)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An upper bound of the count of CPUs that the kernel reserves a per-CPU value for.
fn possible_cpus() -> io::Result<usize> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    cpus_in_list(&list).ok_or_else(|| io::Error::other(format!("unintelligible list of CPUs: {list:?}")))
}

/// One more than the last CPU of a list such as `0-3` or `0,2-7`: lists are ascending.
fn cpus_in_list(list: &str) -> Option<usize> {
    let last: usize = list.trim().rsplit([',', '-']).next()?.parse().ok()?;
    last.checked_add(1)
}

/// Why a program was refused.
#[derive(Debug)]
pub(super) struct LoadError {
    pub(super) source: io::Error,
    /// What the verifier said; empty if it never came to it.
    pub(super) log: String,
}

/// What a program decided about a frame. `<linux/bpf.h>`, `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_ABORTED`: the program failed; the kernel drops the frame.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`: to the kernel's stack.
    Pass,
    /// `XDP_TX`: back out of the netdev.
    Transmit,
    /// `XDP_REDIRECT`: here always to a socket.
    Redirect,
    /// A number that the kernel does not know; it drops the frame.
    Unknown(u32),
}

impl From<u32> for Action {
    fn from(value: u32) -> Self {
        match value {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            other => Self::Unknown(other),
        }
    }
}

/// How many frames are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveRun {
    /// In all; not 0.
    pub(super) frames: u32,
    /// At once, at most 256.
    pub(super) batch: u32,
}

/// An XDP program that the verifier accepted.
#[derive(Debug)]
pub(super) struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Loads `instructions`; attaches nothing.
    pub(super) fn load(name: &str, license: &CStr, instructions: &[Instruction]) -> Result<Self, LoadError> {
        let quiet = Self::try_load(name, license, instructions, &mut []);
        let source = match quiet {
            Ok(program) => return Ok(program),
            Err(source) => source,
        };
        // The log slows loading down, so it is asked for only when there is something to explain.
        let mut log = vec![0; LOG_BYTES];
        let _ = Self::try_load(name, license, instructions, &mut log);
        let log = CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().trim_end().to_owned());
        Err(LoadError { source, log: log.unwrap_or_default() })
    }

    fn try_load(
        name: &str,
        license: &CStr,
        instructions: &[Instruction],
        log: &mut [u8],
    ) -> io::Result<Self> {
        let word = |size| u32::try_from(size).map_err(io::Error::other);
        let mut attributes = ProgramLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: word(instructions.len())?,
            insns: address(instructions),
            license: address(license.to_bytes_with_nul()),
            log_level: u32::from(!log.is_empty()),
            log_size: word(log.len())?,
            // Without a level the kernel wants no buffer either.
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name: object_name(name),
            prog_ifindex: 0,
            expected_attach_type: BPF_XDP,
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            // SAFETY: the structure for BPF_PROG_LOAD, which returns a descriptor; the kernel reads `insn_cnt`
            // instructions of 8 bytes and the licence up to its nul, and writes at most `log_size` bytes of log.
            match unsafe { bpf_fd(BPF_PROG_LOAD, &mut attributes) } {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempts < LOAD_ATTEMPTS => {}
                result => return result.map(|fd| Self { fd }),
            }
        }
    }

    /// Runs the program on a copy of `frame`, as if it had come in on queue 0 of the loopback device.
    pub(super) fn test_run(&self, frame: &[u8]) -> io::Result<Action> {
        self.run(frame, None)
    }

    /// Runs the program on copies of `frame` that are real: what it decides about them happens, out of the netdevs of
    /// the calling thread's network namespace. Linux 5.18 or newer. The copies are used again and again, and come to the
    /// program as they were left.
    pub(super) fn run_live(&self, frame: &[u8], live: LiveRun) -> io::Result<()> {
        self.run(frame, Some(live)).map(drop)
    }

    fn run(&self, frame: &[u8], live: Option<LiveRun>) -> io::Result<Action> {
        let mut attributes = ProgramTestRun {
            prog_fd: descriptor(self.fd.as_fd()),
            retval: 0,
            data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
            data_size_out: 0,
            data_in: address(frame),
            data_out: 0,
            repeat: live.map_or(1, |live| live.frames),
            duration: 0,
            ctx_size_in: 0,
            ctx_size_out: 0,
            ctx_in: 0,
            ctx_out: 0,
            flags: live.map_or(0, |_| BPF_F_TEST_XDP_LIVE_FRAMES),
            cpu: 0,
            batch_size: live.map_or(0, |live| live.batch),
            zero: 0,
        };
        // SAFETY: the structure for BPF_PROG_TEST_RUN; the kernel reads `data_size_in` bytes of `frame`, and gets no
        // buffer to write the frame or the context to.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }?;
        Ok(attributes.retval.into())
    }

    /// Attaches the program to a netdev of the calling thread's network namespace.
    pub(super) fn link(&self, ifindex: u32, mode: crate::XdpMode) -> io::Result<Link> {
        let mut attributes = LinkCreate {
            prog_fd: descriptor(self.fd.as_fd()),
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: match mode {
                crate::XdpMode::Native => XDP_FLAGS_DRV_MODE,
                crate::XdpMode::Generic => XDP_FLAGS_SKB_MODE,
            },
        };
        // SAFETY: the structure for BPF_LINK_CREATE, which returns a descriptor; no addresses in it.
        unsafe { bpf_fd(BPF_LINK_CREATE, &mut attributes) }.map(|fd| Link { _fd: fd })
    }
}

/// A program's attachment to a netdev. It ends when its descriptor is closed: by drop or by the process's death.
#[derive(Debug)]
pub(super) struct Link {
    _fd: OwnedFd,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus_in_list("0\n"), Some(1));
        assert_eq!(cpus_in_list("0-127\n"), Some(128));
        assert_eq!(cpus_in_list("0,2-5,8\n"), Some(9));
        assert_eq!(cpus_in_list("\n"), None);
        assert_eq!(cpus_in_list("0-18446744073709551615"), None);
    }

    #[test]
    fn names_are_cut_to_what_the_kernel_takes() {
        assert_eq!(&object_name("vteps4"), b"vteps4\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&object_name("a_name_of_more_than_15"), b"a_name_of_more_\0");
    }
}
