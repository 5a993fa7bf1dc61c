//! What would keep `vxgate run` from running, in preflight's own words.

use std::collections::BTreeMap;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use crate::preflight::Obstacle;

/// Each becomes a failure.
pub(super) fn check(obstacles: &[Obstacle], all: &mut Vec<Finding>) {
    // One table of overlays in a file of thousands stands for those of the same fault.
    let mut too_small: BTreeMap<u32, usize> = BTreeMap::new();
    for obstacle in obstacles {
        if let Obstacle::MtuTooSmall { wanted, .. } = obstacle {
            let count = too_small.entry(*wanted).or_default();
            *count += 1;
            if *count > 1 {
                continue;
            }
        }
        let Some((topic, subject)) = place(obstacle) else { continue };
        let text = obstacle.to_string();
        let (finding, remedy) =
            text.split_once(": ").unwrap_or((&text, "correct it, as `vxgate check` says"));
        Findings::new(topic, all).bad(Verdict::Failure, &subject, finding, remedy);
    }
}

/// Topic and subject; `None` for what another check says more of.
fn place(obstacle: &Obstacle) -> Option<(Topic, String)> {
    Some(match obstacle {
        Obstacle::Capabilities { .. } => return None,
        Obstacle::Core { .. } => (Topic::Cpu, "worker".into()),
        Obstacle::NoInterface { interface, .. }
        | Obstacle::Down { interface }
        | Obstacle::NotEthernet { interface }
        | Obstacle::MtuTooLarge { interface, .. }
        | Obstacle::Queues { interface, .. }
        | Obstacle::QueuesUnknown { interface }
        | Obstacle::XdpInUse { interface, .. }
        | Obstacle::NoSuchAddress { interface, .. }
        | Obstacle::NoVtep { interface }
        | Obstacle::ManyVteps { interface, .. } => (Topic::Port, interface.clone()),
        Obstacle::MtuTooSmall { interface, .. } => (Topic::Mtu, interface.clone()),
        Obstacle::HostAddressInBlock { block, .. }
        | Obstacle::KernelWouldForward { block, .. }
        | Obstacle::BlockTaken { block, .. } => (Topic::Network, format!("block {block}")),
        _ => (Topic::Configuration, "file".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_remedy_come_apart() {
        let address = "2001:db8::".parse().unwrap();
        let obstacles = [
            Obstacle::Down { interface: "eth0".into() },
            Obstacle::NoSuchAddress { interface: "eth0".into(), address },
            Obstacle::Core { core: 9, allowed: "0-3".into() },
        ];
        let mut all = Vec::new();
        check(&obstacles, &mut all);
        let [down, address, core] = &all[..] else { panic!("{all:?}") };
        assert_eq!(
            (down.topic, down.subject.as_str(), down.verdict),
            (Topic::Port, "eth0", Verdict::Failure)
        );
        assert_eq!(down.finding, "interface eth0 is down");
        assert_eq!(down.remedy.as_deref(), Some("`ip link set dev eth0 up`"));
        assert_eq!(address.finding, "interface eth0 has no address 2001:db8::");
        assert_eq!(core.topic, Topic::Cpu);
    }

    #[test]
    fn faults_of_thousands_of_tables_are_said_once() {
        let obstacle = |wanted| Obstacle::MtuTooSmall {
            interface: "eth0".into(),
            mtu: 1500,
            wanted,
            place: "line 7".into(),
        };
        let obstacles: Vec<Obstacle> = (0..5000).map(|number| obstacle(1550 + number % 2 * 20)).collect();
        let mut all = Vec::new();
        check(&obstacles, &mut all);
        assert_eq!(all.len(), 2, "{all:?}");
    }
}
