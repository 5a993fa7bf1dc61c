//! Privileges and limits of this process: a gateway started in the same way has the same.

use port::ChunkSize;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Process;

/// Bits of linux/capability.h.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// What each capability is for, and which other one will do.
const NEEDED: [(u32, &str, Option<u32>, &str); 4] = [
    (NET_ADMIN, "CAP_NET_ADMIN", None, "to attach the XDP program and to install routes and neighbours"),
    (NET_RAW, "CAP_NET_RAW", None, "to open AF_XDP sockets"),
    (BPF, "CAP_BPF", Some(SYS_ADMIN), "to load the XDP program"),
    (PERFMON, "CAP_PERFMON", Some(SYS_ADMIN), "so that the verifier accepts it"),
];

/// Open files that are enough beside those of workers: maps, netlink, 16 clients of the control socket.
const FILES: u64 = 100;
/// Those of a worker: for each port a socket and another handle on it, and what wakes it.
const fn files_of(Gateway { workers, ports, .. }: Gateway) -> u64 {
    FILES + workers * (2 * ports + 1)
}

/// What counts of the gateway that is to run.
#[derive(Clone, Copy)]
pub(super) struct Gateway {
    pub(super) workers: u64,
    pub(super) ports: u64,
    pub(super) chunk_size: ChunkSize,
}

pub(super) fn check(process: &Process, gateway: Gateway, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Process, all);
    let has = |bit: u32| process.capabilities >> bit & 1 != 0;
    let missing = NEEDED.iter().filter(|(bit, _, stand_in, _)| !has(*bit) && !stand_in.is_some_and(has));
    let mut complete = true;
    for (_, name, _, purpose) in missing {
        complete = false;
        findings.bad(
            Verdict::Failure,
            "capabilities",
            format!("lacks {name}, {purpose}"),
            format!("run as root, or grant it (systemd: AmbientCapabilities={name})"),
        );
    }
    if complete {
        findings.ok("capabilities", "all that are needed");
    }

    let Gateway { workers, ports, chunk_size } = gateway;
    let frames = workers * u64::from(port::frames_for(ports as u32)) * chunk_size.bytes() as u64;
    let limit = process.locked_memory.filter(|_| !has(IPC_LOCK));
    match limit {
        Some(limit) if limit < frames => findings.bad(
            Verdict::Failure,
            "locked memory",
            format!(
                "{} KiB may be locked, and the frame memory of {workers} workers on {ports} ports takes {}",
                limit >> 10,
                frames >> 10
            ),
            "grant CAP_IPC_LOCK, or raise the limit (systemd: LimitMEMLOCK=, shell: `ulimit -l`)",
        ),
        Some(limit) => findings.ok("locked memory", format!("{} KiB of {} taken", frames >> 10, limit >> 10)),
        None => findings.ok("locked memory", format!("no limit ({} KiB taken)", frames >> 10)),
    }

    let files = files_of(gateway);
    match process.open_files {
        Some(limit) if limit < files => findings.bad(
            Verdict::Warning,
            "open files",
            format!("{limit} at most"),
            format!("allow {files} or more (systemd: LimitNOFILE=, shell: `ulimit -n`)"),
        ),
        Some(limit) => findings.ok("open files", format!("{limit} at most")),
        None => findings.ok("open files", "no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{machine, verdicts};
    use super::*;

    fn judge(spoil: impl FnOnce(&mut Process)) -> Vec<Finding> {
        let mut process = machine().process;
        spoil(&mut process);
        let mut all = Vec::new();
        check(&process, Gateway { workers: 2, ports: 2, chunk_size: ChunkSize::Large }, &mut all);
        all
    }

    #[test]
    fn root_has_all() {
        assert!(judge(|_| {}).iter().all(|finding| finding.verdict == Verdict::Ok));
    }

    #[test]
    fn each_capability_counts() {
        let all = judge(|process| process.capabilities = 0);
        assert_eq!(verdicts(&all, "capabilities"), [Verdict::Failure; 4]);
        let all = judge(|process| process.capabilities &= !(1 << NET_RAW));
        assert!(all[0].finding.contains("CAP_NET_RAW"), "{all:?}");
        let all = judge(|process| process.capabilities &= !(1 << BPF | 1 << PERFMON));
        assert_eq!(verdicts(&all, "capabilities"), [Verdict::Ok], "CAP_SYS_ADMIN stands in");
    }

    #[test]
    fn the_limit_of_locked_memory_counts_without_the_capability() {
        let tight = |process: &mut Process| process.locked_memory = Some(64 << 10);
        assert_eq!(verdicts(&judge(tight), "locked memory"), [Verdict::Ok]);
        let bound = |process: &mut Process| process.capabilities &= !(1 << IPC_LOCK);
        assert_eq!(verdicts(&judge(bound), "locked memory"), [Verdict::Ok], "no limit");
        let both = |process: &mut Process| {
            tight(process);
            bound(process);
        };
        let all = judge(both);
        assert_eq!(verdicts(&all, "locked memory"), [Verdict::Failure]);
        let taken = 2 * u64::from(port::frames_for(2)) * 4;
        assert!(all.iter().any(|finding| finding.finding.ends_with(&format!("takes {taken}"))), "{all:?}");
    }

    #[test]
    fn open_files() {
        assert_eq!(verdicts(&judge(|it| it.open_files = Some(64)), "open files"), [Verdict::Warning]);
        assert_eq!(verdicts(&judge(|it| it.open_files = None), "open files"), [Verdict::Ok]);
    }
}
