//! Kernel, process, memory and cores, from /proc and /sys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use port::xdp::{Classifier, ClassifierConfig, PortRole};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, getrlimit};
use wire::MacAddr;

use super::super::machine::{Cpu, HugePages, Kernel, Memory, Node, Process};

const CPU: &str = "/sys/devices/system/cpu";
const NODE: &str = "/sys/devices/system/node";
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// A file's text without the line's end; `None` if it cannot be read or is empty.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A file that holds a number.
pub(super) fn number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    read(path)?.parse().ok()
}

pub(super) fn kernel() -> Kernel {
    Kernel {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        af_xdp_refusal: rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
            .err()
            .map(|error| error.to_string()),
        program_refusal: program_refusal(),
        bpf_jit: number("/proc/sys/net/core/bpf_jit_enable"),
    }
}

/// Loads the XDP program, attached to nothing, and lets go of it.
fn program_refusal() -> Option<String> {
    let config = ClassifierConfig {
        role: PortRole::Underlay,
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        vteps: Vec::new(),
        answered: Vec::new(),
        blocks: Vec::new(),
        queues: 1,
        frame_limit: port::MAX_FRAME as u16,
    };
    Classifier::load(&config).err().map(|error| error.to_string())
}

fn status() -> impl Fn(&str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    move |name| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }
}

pub(super) fn process() -> Process {
    let capabilities = status()("CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    Process {
        capabilities: capabilities.unwrap_or_default(),
        locked_memory: getrlimit(Resource::Memlock).current,
        open_files: getrlimit(Resource::Nofile).current,
    }
}

pub(super) fn memory() -> Memory {
    let mut huge_pages: Vec<HugePages> = fs::read_dir(HUGE_PAGES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let kilobytes =
                entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse();
            Some(HugePages {
                kilobytes: kilobytes.ok()?,
                total: number(entry.path().join("nr_hugepages"))?,
                free: number(entry.path().join("free_hugepages"))?,
            })
        })
        .collect();
    huge_pages.sort_unstable_by_key(|pages| pages.kilobytes);
    let nodes = cores(read(Path::new(NODE).join("online")))
        .into_iter()
        .map(|node| Node { number: node as u32, cores: cores(read(format!("{NODE}/node{node}/cpulist"))) });
    Memory {
        huge_pages,
        transparent: read("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
        nodes: nodes.collect(),
    }
}

pub(super) fn cpu() -> Cpu {
    let online = cores(read(format!("{CPU}/online")));
    let governor = |core: &usize| read(format!("{CPU}/cpu{core}/cpufreq/scaling_governor"));
    Cpu {
        governors: online.iter().filter_map(governor).collect(),
        online,
        allowed: cores(status()("Cpus_allowed_list")),
        isolated: cores(read(format!("{CPU}/isolated"))),
        nohz_full: cores(read(format!("{CPU}/nohz_full"))),
        smt: read(format!("{CPU}/smt/active")).map(|text| text == "1"),
        clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        realtime_runtime: number("/proc/sys/kernel/sched_rt_runtime_us"),
        irqbalance: runs("irqbalance"),
    }
}

/// Whether a process of this name runs.
fn runs(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .any(|entry| read(entry.path().join("comm")).as_deref() == Some(name))
}

/// Numbers as the kernel lists them: `0-3,7`. What is no list has none.
fn cores(list: Option<String>) -> BTreeSet<usize> {
    let list = list.unwrap_or_default();
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(cores(Some("0-2,7".into())), BTreeSet::from([0, 1, 2, 7]));
        assert_eq!(cores(Some("(null)".into())), BTreeSet::new());
        assert_eq!(cores(None), BTreeSet::new());
    }

    #[test]
    fn the_chosen_word() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn what_every_machine_has() {
        let cpu = cpu();
        assert!(!cpu.online.is_empty() && cpu.allowed.is_subset(&cpu.online), "{cpu:?}");
        assert!(!kernel().release.is_empty());
        assert!(runs(&read("/proc/self/comm").unwrap()) && !runs("no-such-process"));
    }
}
