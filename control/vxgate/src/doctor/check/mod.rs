//! Judges what was gathered. Each check is a function of plain values, without I/O.

mod bgp;
mod cpu;
mod kernel;
mod memory;
mod mtu;
mod network;
mod obstacles;
mod offloads;
mod port;
mod process;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;

use ::port::ChunkSize;
use engine::Role;

use super::finding::{Finding, Findings, Topic, Verdict};
use super::machine::{Machine, Netdev};
use crate::config::{ConfigError, Settings};
use crate::preflight::Obstacle;
use process::Gateway;

/// Ports of a gateway that is not configured yet: one of each role.
const USUAL_PORTS: u64 = 2;

/// All findings, by topic. With a valid `file` its ports are judged by what it needs, and `obstacles` are what keeps the
/// gateway from running on them; without, all netdevs are looked at.
pub(super) fn check(
    machine: &Machine,
    file: Option<&Result<Settings, ConfigError>>,
    obstacles: &[Obstacle],
) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(file) = file {
        check_file(file, &mut all);
    }
    let settings = file.and_then(|file| file.as_ref().ok());
    kernel::check(&machine.kernel, &mut all);
    process::check(&machine.process, gateway(settings, &machine.netdevs), &mut all);
    memory::check(&machine.memory, &mut all);
    cpu::check(&machine.cpu, settings, &mut all);
    obstacles::check(obstacles, &mut all);
    for netdev in &machine.netdevs {
        let ports = settings.map(|settings| &settings.ports[..]).unwrap_or_default();
        let port = ports.iter().find(|port| port.interface == netdev.link.name);
        if port.is_some() || settings.is_none() {
            port::check(netdev, port, settings, machine, &mut all);
        }
    }
    network::check_kernel(&machine.network, &mut all);
    if let Some(settings) = settings {
        let ports = Ports::find(settings, &machine.netdevs);
        mtu::check(settings, &ports, &mut all);
        network::check(settings, &ports, &machine.netdevs, &machine.network, &mut all);
        bgp::check(settings, &machine.network, &mut all);
    }
    // Stable: within a topic as they came, and what is said of one port together.
    let port = |finding: &Finding| (finding.topic == Topic::Port).then(|| finding.subject.clone());
    all.sort_by_key(|finding| (finding.topic, port(finding)));
    all
}

/// The gateway that is to run, or the smallest.
fn gateway(settings: Option<&Settings>, netdevs: &[Netdev]) -> Gateway {
    let Some(settings) = settings else {
        return Gateway { workers: 1, ports: USUAL_PORTS, chunk_size: ChunkSize::Small };
    };
    let is_port = |netdev: &&Netdev| settings.ports.iter().any(|port| port.interface == netdev.link.name);
    let mtus = netdevs.iter().filter(is_port).filter_map(|netdev| u16::try_from(netdev.link.mtu).ok());
    let chunk_size = mtus.max().and_then(ChunkSize::for_mtu).unwrap_or(ChunkSize::Large);
    Gateway { workers: settings.workers.len() as u64, ports: settings.ports.len() as u64, chunk_size }
}

fn check_file(file: &Result<Settings, ConfigError>, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Configuration, all);
    match file {
        Ok(settings) => {
            let (ports, overlays) = (settings.ports.len(), settings.overlays.len());
            findings.ok("file", format!("{}: {ports} ports, {overlays} overlays", settings.path.display()));
        }
        Err(error) => {
            let (finding, remedy) = obstacles::parts(error);
            findings.bad(Verdict::Failure, "file", finding, remedy);
        }
    }
}

/// The netdevs of the two roles, as far as they are there; one netdev may have both.
struct Ports<'a> {
    underlays: Vec<&'a Netdev>,
    uplinks: Vec<&'a Netdev>,
}

impl<'a> Ports<'a> {
    fn find(settings: &Settings, netdevs: &'a [Netdev]) -> Self {
        let with = |has_role: fn(Role) -> bool| {
            let ports = settings.ports.iter().filter(|port| has_role(port.role));
            ports
                .filter_map(|port| netdevs.iter().find(|netdev| netdev.link.name == port.interface))
                .collect()
        };
        Self { underlays: with(Role::is_underlay), uplinks: with(Role::is_uplink) }
    }
}

/// Cores as the kernel lists them: `0-3,7`.
fn cores(cores: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match ranges.is_empty() {
        true => "none".into(),
        false => ranges.iter().map(text).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{CONFIG, machine, settings, verdicts};
    use super::*;

    #[test]
    fn a_good_machine_has_nothing_to_note() {
        for file in [Some(Ok(settings(CONFIG))), None] {
            let all = check(&machine(), file.as_ref(), &[]);
            assert!(all.iter().all(|finding| finding.verdict == Verdict::Ok), "{all:?}");
            assert!(all.is_sorted_by_key(|finding| finding.topic));
        }
    }

    #[test]
    fn other_netdevs_are_left_out_when_there_is_a_configuration() {
        let mut machine = machine();
        machine.netdevs[1].link.name = "eth7".into();
        let of_eth7 = |all: &[Finding]| all.iter().any(|finding| finding.subject == "eth7");
        assert!(of_eth7(&check(&machine, None, &[])));
        assert!(!of_eth7(&check(&machine, Some(&Ok(settings(CONFIG))), &[])));
    }

    #[test]
    fn what_is_said_of_one_port_is_together() {
        let down = [Obstacle::Down { interface: "uplink0".into() }];
        let all = check(&machine(), Some(&Ok(settings(CONFIG))), &down);
        let ports: Vec<&str> =
            all.iter().filter(|it| it.topic == Topic::Port).map(|it| it.subject.as_str()).collect();
        assert!(ports.is_sorted(), "{ports:?}");
        let first = all.iter().find(|finding| finding.subject == "uplink0").unwrap();
        assert_eq!(first.verdict, Verdict::Failure, "what is worst of a port comes first");
    }

    #[test]
    fn a_machine_can_be_looked_at_though_the_file_is_wrong() {
        let file = Settings::load(std::path::Path::new("/nonexistent/vxgate.toml"));
        let all = check(&machine(), Some(&file), &[]);
        assert_eq!((all[0].topic, all[0].verdict), (Topic::Configuration, Verdict::Failure));
        assert!(all.iter().any(|finding| finding.subject == "uplink0"), "{all:?}");
    }

    #[test]
    fn one_netdev_may_have_both_roles() {
        let mut settings = settings(CONFIG);
        settings.ports.remove(0);
        settings.ports[0].role = Role::Both;
        let mut machine = machine();
        // Without the underlay's own links its default routes lead to the endpoints too.
        machine.network.tables.routes.drain(..2);
        let all = check(&machine, Some(&Ok(settings)), &[]);
        assert_eq!(verdicts(&all, "endpoints"), [Verdict::Ok]);
        assert_eq!(verdicts(&all, "IPv6 outward"), [Verdict::Ok]);
        let mtus: Vec<&str> =
            all.iter().filter(|it| it.topic == Topic::Mtu).map(|it| it.subject.as_str()).collect();
        assert_eq!(mtus, ["uplink0"; 3]);
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(cores(&BTreeSet::from([0, 1, 2, 7])), "0-2,7");
        assert_eq!(cores(&BTreeSet::new()), "none");
    }
}
