//! Huge pages and NUMA nodes.

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::{HugePages, Memory};
use super::cores;

/// KiB of the huge pages that the flow table is made of.
const USED: u64 = 2048;

pub(super) fn check(memory: &Memory, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Memory, all);
    let reserved = memory.huge_pages.iter().any(|pages| pages.kilobytes == USED && pages.free > 0);
    for HugePages { kilobytes, total, free } in &memory.huge_pages {
        let taken = match *kilobytes {
            USED if reserved => "; the flow table takes them if it fits whole",
            USED => "; the flow table takes transparent ones",
            _ => "; not used",
        };
        let size = match kilobytes >> 10 {
            0 => format!("{kilobytes} KiB pages"),
            megabytes if megabytes % 1024 == 0 => format!("{} GiB pages", megabytes >> 10),
            megabytes => format!("{megabytes} MiB pages"),
        };
        findings.ok(&size, format!("{free} of {total} free{taken}"));
    }
    match memory.transparent.as_deref() {
        Some(mode @ ("always" | "madvise")) => findings.ok("transparent pages", mode),
        mode if reserved => findings.ok("transparent pages", mode.unwrap_or("not there")),
        mode => findings.bad(
            Verdict::Warning,
            "transparent pages",
            format!(
                "{}: a large flow table is of small pages, and each look-up costs more",
                mode.unwrap_or("not there")
            ),
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`, or set pages aside: `sysctl -w \
             vm.nr_hugepages=N` (2 MiB each)",
        ),
    }
    let nodes: Vec<String> =
        memory.nodes.iter().map(|node| format!("{} (cores {})", node.number, cores(&node.cores))).collect();
    if !nodes.is_empty() {
        findings.ok("NUMA nodes", nodes.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{machine, verdicts};
    use super::*;

    fn judge(transparent: Option<&str>, free: u64) -> Vec<Finding> {
        let mut memory = machine().memory;
        memory.transparent = transparent.map(Into::into);
        memory.huge_pages[0].free = free;
        let mut all = Vec::new();
        check(&memory, &mut all);
        all
    }

    #[test]
    fn huge_pages_come_one_way_or_the_other() {
        let of = |mode, free| verdicts(&judge(mode, free), "transparent pages");
        assert_eq!(of(Some("madvise"), 0), [Verdict::Ok]);
        assert_eq!(of(Some("never"), 512), [Verdict::Ok]);
        assert_eq!(of(Some("never"), 0), [Verdict::Warning]);
        assert_eq!(of(None, 0), [Verdict::Warning]);
    }

    #[test]
    fn sizes_and_nodes_are_listed() {
        let all = judge(Some("always"), 3);
        let text = |subject| all.iter().find(|finding| finding.subject == subject).unwrap().finding.as_str();
        assert!(text("2 MiB pages").starts_with("3 of 512 free"), "{all:?}");
        assert!(text("1 GiB pages").ends_with("not used"), "{all:?}");
        assert_eq!(text("NUMA nodes"), "0 (cores 0-3), 1 (cores 4-7)");
    }
}
