//! Cores, and what may take them from the workers.

use port::Polling;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Cpu;
use super::cores;
use crate::config::Settings;

/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

pub(super) fn check(cpu: &Cpu, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Cpu, all);
    let (online, allowed) = (cpu.online.len(), cores(&cpu.allowed));
    let busy = settings.is_some_and(|settings| settings.polling == Polling::Busy);
    let workers = settings.map_or(0, |settings| settings.workers.len());
    if busy && cpu.allowed.len() <= workers {
        findings.bad(
            Verdict::Warning,
            "cores",
            format!(
                "{online} online; {allowed} open to this process, none beside those of the workers, which leave nothing"
            ),
            "give the process more cores, or set polling = \"adaptive\" in [gateway]",
        );
    } else {
        findings.ok("cores", format!("{online} online; {allowed} open to this process"));
    }
    if let Some(settings) = settings {
        check_workers(cpu, settings, &mut findings);
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
            "on: a busy sibling slows a worker's core",
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
            "runs: it moves the NIC's interrupts, onto the workers' cores too",
            "ban those cores from it (IRQBALANCE_BANNED_CPULIST), or stop it and set /proc/irq/*/smp_affinity_list",
        ),
        false => findings.ok("irqbalance", "does not run"),
    }
}

/// The cores that the workers are pinned to. That they may run there is preflight's to say.
fn check_workers(cpu: &Cpu, settings: &Settings, findings: &mut Findings<'_>) {
    let workers = &settings.workers;
    if workers.contains(&None) {
        let isolated: Vec<_> = cpu.isolated.intersection(&cpu.allowed).take(workers.len()).collect();
        let advice = match isolated.len() == workers.len() {
            true => format!("set cores = {isolated:?} in [gateway]: isolated ones"),
            false => "set cores in [gateway]".into(),
        };
        findings.bad(Verdict::Note, "workers", "pinned to no core: the scheduler moves them", advice);
        return;
    }
    for core in workers.iter().flatten() {
        match (cpu.isolated.contains(core), cpu.nohz_full.contains(core)) {
            (true, true) => findings.ok("workers", format!("core {core}, isolated and without a tick")),
            (isolated, _) => findings.bad(
                Verdict::Note,
                "workers",
                match isolated {
                    true => format!("core {core}, isolated; its tick goes on"),
                    false => format!("core {core} is shared with other tasks"),
                },
                format!("boot with isolcpus={core} nohz_full={core}"),
            ),
        }
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
        for subject in ["workers", "governor", "SMT", "irqbalance"] {
            assert_eq!(verdicts(&all, subject), [Verdict::Note], "{subject}");
        }
        assert_eq!(verdicts(&all, "clock"), [Verdict::Warning]);
    }

    #[test]
    fn the_isolated_core_is_proposed() {
        let all = judge(&CONFIG.replace("cores = [2]", ""), |_| {});
        let worker = all.iter().find(|finding| finding.subject == "workers").unwrap();
        assert!(worker.remedy.as_ref().unwrap().starts_with("set cores = [2]"), "{worker:?}");
    }

    #[test]
    fn workers_that_never_sleep_need_one_more_core() {
        let one = |cpu: &mut Cpu| cpu.allowed = BTreeSet::from([2]);
        assert_eq!(verdicts(&judge(CONFIG, one), "cores"), [Verdict::Warning]);
        let adaptive = CONFIG.replace("cores = [2]", "cores = [2]\npolling = \"adaptive\"");
        assert_eq!(verdicts(&judge(&adaptive, one), "cores"), [Verdict::Ok]);
        let two = |cpu: &mut Cpu| cpu.allowed = BTreeSet::from([2, 3]);
        assert_eq!(verdicts(&judge(CONFIG, two), "cores"), [Verdict::Ok]);
        let both = CONFIG.replace("cores = [2]", "cores = [2, 3]");
        let all = judge(&both, two);
        assert_eq!(verdicts(&all, "cores"), [Verdict::Warning]);
        assert_eq!(verdicts(&all, "workers"), [Verdict::Ok, Verdict::Note], "core 3 is not isolated");
    }
}
