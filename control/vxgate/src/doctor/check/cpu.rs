//! Cores, and what may take them from the worker.

use port::Idle;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Cpu;
use super::cores;
use crate::config::Settings;

/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

pub(super) fn check(cpu: &Cpu, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Cpu, all);
    let (online, allowed) = (cpu.online.len(), cores(&cpu.allowed));
    let spins = settings.is_some_and(|settings| matches!(settings.idle, Idle::Spin));
    if spins && cpu.allowed.len() == 1 {
        findings.bad(
            Verdict::Warning,
            "cores",
            format!("{online} online, and one, {allowed}, open to this process: a spinning worker starves the rest"),
            "give the process more cores, or set idle = \"block\" in [gateway]",
        );
    } else {
        findings.ok("cores", format!("{online} online; {allowed} open to this process"));
    }
    if let Some(settings) = settings {
        worker(cpu, settings, &mut findings);
    } else {
        findings.ok("isolated cores", cores(&cpu.isolated));
    }
    if cpu.governors.iter().all(|governor| governor == "performance") {
        let governor = if cpu.governors.is_empty() {
            "none: the kernel does not set frequencies"
        } else {
            "performance"
        };
        findings.ok("governor", governor);
    } else {
        let governors: Vec<&str> = cpu.governors.iter().map(String::as_str).collect();
        findings.bad(
            Verdict::Note,
            "governor",
            format!("{}: cores may be slow when a burst comes", governors.join(", ")),
            "`cpupower frequency-set -g performance`",
        );
    }
    match cpu.smt {
        Some(true) => findings.bad(
            Verdict::Note,
            "SMT",
            "on: a busy sibling slows the worker's core",
            "keep the sibling idle (/sys/devices/system/cpu/cpu*/topology/thread_siblings_list), or boot with nosmt",
        ),
        Some(false) => findings.ok("SMT", "off"),
        None => {}
    }
    match cpu.clock.as_deref() {
        Some(clock) if FAST_CLOCKS.contains(&clock) => findings.ok("clock", clock),
        Some(clock) => findings.bad(
            Verdict::Warning,
            "clock",
            format!("{clock}: each reading is a system call or slower"),
            "`dmesg | grep -i tsc` says why it is not tsc; boot with tsc=reliable if it is",
        ),
        None => {}
    }
    if let Some(microseconds) = cpu.realtime_runtime {
        let share = if microseconds < 0 { "all".into() } else { format!("{} ms", microseconds / 1000) };
        findings
            .ok("real time", format!("{share} of each second; the gateway asks for no real-time priority"));
    }
    match cpu.irqbalance {
        true => findings.bad(
            Verdict::Note,
            "irqbalance",
            "runs: it moves the NIC's interrupts, onto the worker's core too",
            "ban that core from it (IRQBALANCE_BANNED_CPULIST), or stop it and set /proc/irq/*/smp_affinity_list",
        ),
        false => findings.ok("irqbalance", "does not run"),
    }
}

/// The core that the worker is pinned to. That it may run there is preflight's to say.
fn worker(cpu: &Cpu, settings: &Settings, findings: &mut Findings<'_>) {
    let Some(core) = settings.core else {
        let advice = match cpu.isolated.intersection(&cpu.allowed).next() {
            Some(isolated) => format!("set core = {isolated} in [gateway]: it is isolated"),
            None => "set core in [gateway]".into(),
        };
        findings.bad(Verdict::Note, "worker", "pinned to no core: the scheduler moves it", advice);
        return;
    };
    match (cpu.isolated.contains(&core), cpu.nohz_full.contains(&core)) {
        (true, true) => findings.ok("worker", format!("core {core}, isolated and without a tick")),
        (isolated, _) => findings.bad(
            Verdict::Note,
            "worker",
            match isolated {
                true => format!("core {core}, isolated; its tick goes on"),
                false => format!("core {core} is shared with other tasks"),
            },
            format!("boot with isolcpus={core} nohz_full={core}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::{CONFIG, machine, settings, verdicts};
    use super::*;

    fn judge(config: &str, spoil: impl FnOnce(&mut Cpu)) -> Vec<Finding> {
        let mut cpu = machine().cpu;
        spoil(&mut cpu);
        let mut all = Vec::new();
        check(&cpu, Some(&settings(config)), &mut all);
        all
    }

    #[test]
    fn a_tuned_machine() {
        let all = judge(CONFIG, |_| {});
        assert!(all.iter().all(|finding| finding.verdict == Verdict::Ok), "{all:?}");
    }

    #[test]
    fn an_untuned_machine_is_noted() {
        let all = judge(CONFIG, |cpu| {
            cpu.isolated.clear();
            cpu.governors = ["performance", "powersave"].map(Into::into).into();
            cpu.smt = Some(true);
            cpu.clock = Some("hpet".into());
            cpu.irqbalance = true;
        });
        for subject in ["worker", "governor", "SMT", "irqbalance"] {
            assert_eq!(verdicts(&all, subject), [Verdict::Note], "{subject}");
        }
        assert_eq!(verdicts(&all, "clock"), [Verdict::Warning]);
    }

    #[test]
    fn the_isolated_core_is_proposed() {
        let all = judge(&CONFIG.replace("core = 2", ""), |_| {});
        let worker = all.iter().find(|finding| finding.subject == "worker").unwrap();
        assert!(worker.remedy.as_ref().unwrap().starts_with("set core = 2"), "{worker:?}");
    }

    #[test]
    fn a_worker_that_spins_needs_a_second_core() {
        let one = |cpu: &mut Cpu| cpu.allowed = BTreeSet::from([2]);
        assert_eq!(verdicts(&judge(CONFIG, one), "cores"), [Verdict::Warning]);
        let blocks = CONFIG.replace("core = 2", "core = 2\nidle = \"block\"");
        assert_eq!(verdicts(&judge(&blocks, one), "cores"), [Verdict::Ok]);
    }
}
