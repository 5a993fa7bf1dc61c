//! Where a report comes from.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine and what runs on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of its processors.
    pub cpu: String,
    /// How many there are.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Version of this program.
    pub pktgen: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        Self {
            cpu: or_unknown(field(&cpuinfo, "model name").unwrap_or_default()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: or_unknown(release.trim()),
            pktgen: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}
