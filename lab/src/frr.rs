//! Routing daemons of FRR.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::{Process, run};

/// Where Debian has the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// How long a daemon may take to open its socket.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// zebra and other daemons of FRR in a namespace, ended when dropped. Nothing of the machine's own configuration is read.
#[derive(Debug)]
pub struct Frr {
    namespace: Namespace,
    directory: PathBuf,
    /// By name; zebra first.
    daemons: Vec<(&'static str, Process)>,
}

impl Frr {
    /// Starts zebra and bgpd with a configuration of bgpd (as in `/etc/frr/bgpd.conf`); when this returns, both answer.
    ///
    /// # Errors
    /// [`Error::MissingTool`] if FRR is not installed; [`Error::Ended`] with what it wrote if a daemon ends.
    pub fn start(namespace: &Namespace, bgpd: &str) -> Result<Self> {
        Self::start_daemons(namespace, &[("bgpd", bgpd)])
    }

    /// Starts zebra and then these daemons, each with its configuration: `[("bfdd", ""), ("bgpd", "router bgp …")]`. zebra has none
    /// unless it is among them.
    /// When this returns, all answer.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_daemons(namespace: &Namespace, configs: &[(&'static str, &str)]) -> Result<Self> {
        if !Path::new(DAEMONS).join("zebra").is_file() {
            return Err(Error::MissingTool { tool: "zebra", package: "frr" });
        }
        let lab = namespace.lab();
        let directory = lab.directory().join(format!("frr-{}-{}", namespace.name(), lab.unique_number()));
        // The daemons give up root's rights before they open their sockets there.
        run(Command::new("install").args(["-d", "-o", "frr", "-g", "frr"]).arg(&directory))?;
        let mut frr = Self { namespace: namespace.clone(), directory, daemons: Vec::new() };
        // One after the other: bgpd asks for BFD sessions only if bfdd is there when it starts.
        let (zebra, others): (Vec<_>, Vec<_>) = configs.iter().partition(|(daemon, _)| *daemon == "zebra");
        frr.add("zebra", zebra.first().map_or("", |(_, config)| config))?;
        others.into_iter().try_for_each(|(daemon, config)| frr.add(daemon, config))?;
        Ok(frr)
    }

    /// Starts one more daemon beside those that run, with its configuration; when this returns, it answers.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn add(&mut self, daemon: &'static str, config: &str) -> Result<()> {
        let (namespace, directory) = (&self.namespace, &self.directory);
        let path = directory.join(format!("{daemon}.conf"));
        fs::write(&path, config).map_err(Error::io(format!("write {}", path.display())))?;
        let mut process = spawn(namespace, directory, daemon)?;
        let answers = || shell(namespace, directory, daemon, &["show version"]).map(drop);
        process.wait_until("an answer of FRR", START_TIMEOUT, answers)?;
        self.daemons.push((daemon, process));
        Ok(())
    }

    /// What vtysh(1) writes to these commands, one after the other: `["configure terminal", "router bgp 65000"]`.
    ///
    /// # Errors
    /// [`Error::Command`] if one of them is refused.
    pub fn vtysh(&self, commands: &[&str]) -> Result<String> {
        vtysh(&self.namespace, &self.directory, &[], commands)
    }

    /// What a `show ... json` command shows.
    ///
    /// # Errors
    /// As [`vtysh`](Self::vtysh); [`Error::Output`] if it is not JSON.
    pub fn show(&self, command: &str) -> Result<Value> {
        let output = self.vtysh(&[command])?;
        serde_json::from_str(&output).map_err(|_| Error::Output { program: "vtysh", output })
    }

    /// What bgpd has logged so far.
    pub fn log(&self) -> String {
        self.daemons.iter().find(|(name, _)| *name == "bgpd").map(|(_, bgpd)| bgpd.log()).unwrap_or_default()
    }

    /// Kills bgpd (SIGKILL): its connections are reset by the kernel.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn kill_bgpd(&mut self) -> Result<()> {
        self.daemon("bgpd").map_or(Ok(()), Process::kill)
    }

    /// Starts bgpd again after it was killed, with the same configuration.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart_bgpd(&mut self) -> Result<()> {
        // The dead one's socket would be taken for the new one's.
        let _ = fs::remove_file(self.directory.join("bgpd.vty"));
        let mut process = spawn(&self.namespace, &self.directory, "bgpd")?;
        let (namespace, directory) = (&self.namespace, &self.directory);
        let answers = || shell(namespace, directory, "bgpd", &["show bgp summary"]).map(drop);
        process.wait_until("an answer of bgpd", START_TIMEOUT, answers)?;
        if let Some(bgpd) = self.daemon("bgpd") {
            *bgpd = process;
        }
        Ok(())
    }

    fn daemon(&mut self, name: &str) -> Option<&mut Process> {
        self.daemons.iter_mut().find(|(daemon, _)| *daemon == name).map(|(_, process)| process)
    }
}

fn spawn(namespace: &Namespace, directory: &Path, daemon: &str) -> Result<Process> {
    let path = |name: &str| directory.join(name).display().to_string();
    let program = format!("{DAEMONS}/{daemon}");
    let (config, pid, api) =
        (path(&format!("{daemon}.conf")), path(&format!("{daemon}.pid")), path("zserv.api"));
    let sockets = directory.display().to_string();
    // No telnet port; what it logs goes to standard output, and so into the lab's files.
    let mut arguments =
        vec!["-P", "0", "-f", &config, "-i", &pid, "-z", &api, "--vty_socket", &sockets, "--log", "stdout"];
    let control = path("bfdd.sock");
    if daemon == "bfdd" {
        arguments.extend(["--bfdctl", &control]);
    }
    namespace.spawn(&program, &arguments)
}

/// As [`vtysh`], of one daemon alone.
fn shell(namespace: &Namespace, directory: &Path, daemon: &str, commands: &[&str]) -> Result<String> {
    vtysh(namespace, directory, &["-d", daemon], commands)
}

fn vtysh(namespace: &Namespace, directory: &Path, options: &[&str], commands: &[&str]) -> Result<String> {
    let directory = directory.display().to_string();
    let mut arguments = vec!["--vty_socket", &directory];
    arguments.extend(options);
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    let output = namespace.run("vtysh", &arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
