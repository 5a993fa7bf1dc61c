//! `pktgen` over veth: what it sends is judged by tshark, and by the kernel's counters. Needs root.

mod docs;
mod ends;
mod frames;
mod replay;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lab::{Lab, Namespace, Offloads, VethEnd, VethOptions, veth};
use serde_json::Value;

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(20);
const BINARY: &str = env!("CARGO_BIN_EXE_pktgen");

/// Two namespaces with a veth between them that nobody else sends on.
struct Wire {
    near: Namespace,
    far: Namespace,
    lab: Lab,
}

impl Wire {
    const NEAR: &str = "near0";
    const FAR: &str = "far0";

    fn new(queues: u16) -> Self {
        let lab = Lab::new().unwrap();
        let (near, far) = (lab.namespace("near").unwrap(), lab.namespace("far").unwrap());
        for namespace in [&near, &far] {
            namespace.set("net.ipv6.conf.all.disable_ipv6", "1").unwrap();
            namespace.set("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        }
        let options = VethOptions { mtu: 2000, queues, offloads: Offloads::Off };
        veth(VethEnd::new(&near, Self::NEAR), VethEnd::new(&far, Self::FAR), options).unwrap();
        Self { near, far, lab }
    }

    /// A file in the lab.
    fn file(&self, name: &str) -> PathBuf {
        self.lab.directory().join(name)
    }

    /// Runs `pktgen` inside, out of the near end, to its end; its report.
    fn run(&self, arguments: &str) -> Value {
        let arguments: Vec<&str> =
            arguments.split_whitespace().chain(["-i", Self::NEAR, "-o", "json"]).collect();
        let output = self.near.run(BINARY, &arguments).unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Runs `pktgen` to its end, outside of any namespace; what it writes to standard output.
fn pktgen(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
