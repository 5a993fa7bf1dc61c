//! What would keep `vxgate run` from running, in preflight's own words.

use std::collections::BTreeMap;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use crate::config::ConfigError;
use crate::preflight::Obstacle;

/// Each becomes a failure.
pub(super) fn check(obstacles: &[Obstacle], all: &mut Vec<Finding>) {
    // In a file of thousands of overlays one table stands for those of the same fault.
    let mut too_small: BTreeMap<u32, usize> = BTreeMap::new();
    for obstacle in obstacles {
        if let Obstacle::MtuTooSmall { wanted, .. } = obstacle {
            *too_small.entry(*wanted).or_default() += 1;
        }
    }
    for obstacle in obstacles {
        let others = match obstacle {
            Obstacle::MtuTooSmall { wanted, .. } => match too_small.remove(wanted) {
                None => continue,
                Some(count) => count - 1,
            },
            _ => 0,
        };
        let Some((topic, subject)) = place(obstacle) else { continue };
        let (mut finding, remedy) = match obstacle {
            Obstacle::Config(error) => parts(error),
            _ => split(&obstacle.to_string(), |text| text.split_once(": ")),
        };
        if others > 0 {
            finding += &format!(" (and so {others} tables more)");
        }
        Findings::new(topic, all).bad(Verdict::Failure, &subject, finding, remedy);
    }
}

/// What is wrong with the file, and the remedy.
pub(super) fn parts(error: &ConfigError) -> (String, String) {
    match error {
        ConfigError::Invalid { path, place, problem } => {
            let (finding, remedy) =
                split(&problem.to_string(), |text| text.rsplit_once("; ").or_else(|| text.split_once(": ")));
            (format!("{}:{}:{}: {finding}", path.display(), place.line, place.column), remedy)
        }
        ConfigError::Read { .. } | ConfigError::Syntax { .. } => (error.to_string(), CORRECT.into()),
    }
}

/// The remedy where a message has none of its own.
const CORRECT: &str = "correct it, until `vxgate check` is content";

/// Messages end with the remedy.
fn split(text: &str, part: impl Fn(&str) -> Option<(&str, &str)>) -> (String, String) {
    let (finding, remedy) = part(text).unwrap_or((text, CORRECT));
    (finding.into(), remedy.into())
}

/// Topic and subject; `None` for what another check says more of.
fn place(obstacle: &Obstacle) -> Option<(Topic, String)> {
    Some(match obstacle {
        Obstacle::Capabilities { .. } => return None,
        Obstacle::Core { .. } => (Topic::Cpu, "workers".into()),
        Obstacle::NoInterface { interface, .. }
        | Obstacle::Down { interface }
        | Obstacle::NotEthernet { interface }
        | Obstacle::MtuTooLarge { interface, .. }
        | Obstacle::Queues { interface, .. }
        | Obstacle::QueuesUnknown { interface }
        | Obstacle::XdpInUse { interface, .. }
        | Obstacle::NoSuchAddress { interface, .. } => (Topic::Port, interface.clone()),
        Obstacle::NoSuchVtep { .. } | Obstacle::NoVtep { .. } | Obstacle::ManyVteps { .. } => {
            (Topic::Network, "VTEP".into())
        }
        Obstacle::MtuTooSmall { interface, .. } => (Topic::Mtu, interface.clone()),
        Obstacle::HostAddressInBlock { block, .. }
        | Obstacle::KernelWouldForward { block, .. }
        | Obstacle::BlockTaken { block, .. } => (Topic::Network, format!("block {block}")),
        _ => (Topic::Configuration, "file".into()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{CONFIG, settings};
    use super::*;
    use crate::config::Settings;

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
    fn faults_of_the_file_have_their_place() {
        let settings = settings(CONFIG);
        let error = settings.check_endpoints(&["198.18.0.1".parse().unwrap()]).unwrap_err();
        let (finding, remedy) = parts(&error);
        assert!(
            finding.starts_with("gw.toml:") && finding.contains("2001:db8::12 cannot be reached"),
            "{finding}"
        );
        assert!(remedy.starts_with("give the gateway one"), "{remedy}");
        let error = Settings::parse(Path::new("gw.toml"), "[gateway]\nnonsense = 1\n").unwrap_err();
        assert_eq!(parts(&error), (error.to_string(), CORRECT.into()));
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
        assert!(all[0].finding.ends_with("(and so 2499 tables more)"), "{all:?}");
    }
}
