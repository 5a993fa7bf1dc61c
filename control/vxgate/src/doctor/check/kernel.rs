//! What the kernel offers.

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Kernel;

/// Managed neighbours (`NTF_EXT_MANAGED`); all else that is needed is older: XDP links are of 5.9, shared frame memory
/// of 5.10.
const NEEDED: (u32, u32) = (5, 16);

/// Since then drivers' XDP features can be asked for.
const TELLS_FEATURES: (u32, u32) = (6, 3);

pub(super) fn check(kernel: &Kernel, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Kernel, all);
    let release = &kernel.release;
    match version(release) {
        Some(version) if version < NEEDED => findings.bad(
            Verdict::Failure,
            "release",
            format!("Linux {release} keeps no neighbour fresh for others"),
            "boot Linux 5.16 or newer",
        ),
        Some(version) if version < TELLS_FEATURES => findings.bad(
            Verdict::Note,
            "release",
            format!("Linux {release} does not tell what drivers can do with XDP"),
            "look at what `vxgate show ports` says once it runs, or boot Linux 6.3 or newer",
        ),
        Some(_) => findings.ok("release", format!("Linux {release}")),
        None => findings.bad(
            Verdict::Note,
            "release",
            format!("the release {release:?} has no version"),
            "Linux 5.16 or newer is needed",
        ),
    }
    match &kernel.af_xdp_refusal {
        None => findings.ok("AF_XDP", "sockets can be had"),
        Some(refusal) => findings.bad(
            Verdict::Failure,
            "AF_XDP",
            format!("no socket: {refusal}"),
            "run as root or with CAP_NET_RAW, on a kernel with CONFIG_XDP_SOCKETS",
        ),
    }
    match &kernel.program_refusal {
        None => findings.ok("XDP program", "the kernel takes it"),
        Some(refusal) => findings.bad(
            Verdict::Failure,
            "XDP program",
            // Neither the verifier's log nor a remedy of its own.
            refusal.lines().next().unwrap_or_default().split(": run as root").next().unwrap_or_default(),
            "run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, on Linux 5.16 or newer",
        ),
    }
    match kernel.bpf_jit {
        Some(0) => findings.bad(
            Verdict::Warning,
            "BPF JIT",
            "off: the XDP program is interpreted",
            "`sysctl -w net.core.bpf_jit_enable=1`",
        ),
        Some(_) => findings.ok("BPF JIT", "on"),
        None => findings.bad(
            Verdict::Note,
            "BPF JIT",
            "cannot be seen from this network namespace",
            "`sysctl net.core.bpf_jit_enable` in the host's should say 1",
        ),
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{machine, verdicts};
    use super::*;

    fn judge(spoil: impl FnOnce(&mut Kernel)) -> Vec<Finding> {
        let mut kernel = machine().kernel;
        spoil(&mut kernel);
        let mut all = Vec::new();
        check(&kernel, &mut all);
        all
    }

    #[test]
    fn a_good_kernel() {
        assert!(judge(|_| {}).iter().all(|finding| finding.verdict == Verdict::Ok));
    }

    #[test]
    fn releases() {
        let of = |release: &str| verdicts(&judge(|kernel| kernel.release = release.into()), "release");
        assert_eq!(of("5.15.0-91-generic"), [Verdict::Failure]);
        assert_eq!(of("5.16"), [Verdict::Note]);
        assert_eq!(of("6.2.16"), [Verdict::Note]);
        assert_eq!(of("6.3-rc1"), [Verdict::Ok]);
        assert_eq!(of("10.0.1"), [Verdict::Ok]);
        assert_eq!(of("unknown"), [Verdict::Note]);
    }

    #[test]
    fn what_is_refused_fails() {
        let refused = |text: &str| Some(text.to_owned());
        let all = judge(|kernel| {
            kernel.af_xdp_refusal = refused("not supported");
            kernel.program_refusal = refused("refused: the verifier said:\n0: R1=ctx()");
            kernel.bpf_jit = Some(0);
        });
        assert_eq!(verdicts(&all, "AF_XDP"), [Verdict::Failure]);
        assert_eq!(verdicts(&all, "XDP program"), [Verdict::Failure]);
        assert!(all.iter().all(|finding| !finding.finding.contains('\n')), "{all:?}");
        assert_eq!(verdicts(&all, "BPF JIT"), [Verdict::Warning]);
        assert_eq!(verdicts(&judge(|kernel| kernel.bpf_jit = None), "BPF JIT"), [Verdict::Note]);
    }
}
