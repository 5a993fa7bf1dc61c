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

/// zebra and bgpd of FRR in a namespace, ended when dropped. Nothing of the machine's own configuration is read.
#[derive(Debug)]
pub struct Frr {
    namespace: Namespace,
    directory: PathBuf,
    zebra: Process,
    bgpd: Process,
}

impl Frr {
    /// Starts both with a configuration of bgpd (as in `/etc/frr/bgpd.conf`); when this returns, both answer.
    ///
    /// # Errors
    /// [`Error::MissingTool`] if FRR is not installed; [`Error::Ended`] with what it wrote if a daemon ends.
    pub fn start(namespace: &Namespace, bgpd: &str) -> Result<Self> {
        if !Path::new(DAEMONS).join("bgpd").is_file() {
            return Err(Error::MissingTool { tool: "bgpd", package: "frr" });
        }
        let lab = namespace.lab();
        let directory = lab.directory().join(format!("frr-{}-{}", namespace.name(), lab.unique_number()));
        // The daemons give up root's rights before they open their sockets there.
        run(Command::new("install").args(["-d", "-o", "frr", "-g", "frr"]).arg(&directory))?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
        };
        write("zebra.conf", "")?;
        write("bgpd.conf", bgpd)?;
        let zebra = spawn(namespace, &directory, "zebra")?;
        let bgpd = spawn(namespace, &directory, "bgpd")?;
        let mut frr = Self { namespace: namespace.clone(), directory, zebra, bgpd };
        for process in [&mut frr.zebra, &mut frr.bgpd] {
            let directory = &frr.directory;
            let answers = || shell(&frr.namespace, directory, &["show version"]).map(drop);
            process.wait_until("an answer of FRR", START_TIMEOUT, answers)?;
        }
        Ok(frr)
    }

    /// What vtysh(1) writes to these commands, one after the other: `["configure terminal", "router bgp 65000"]`.
    ///
    /// # Errors
    /// [`Error::Command`] if one of them is refused.
    pub fn vtysh(&self, commands: &[&str]) -> Result<String> {
        shell(&self.namespace, &self.directory, commands)
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
        self.bgpd.log()
    }

    /// Kills bgpd (SIGKILL): its connections are reset by the kernel.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn kill_bgpd(&mut self) -> Result<()> {
        self.bgpd.kill()
    }

    /// Starts bgpd again after it was killed, with the same configuration.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart_bgpd(&mut self) -> Result<()> {
        // The dead one's socket would be taken for the new one's.
        let _ = fs::remove_file(self.directory.join("bgpd.vty"));
        self.bgpd = spawn(&self.namespace, &self.directory, "bgpd")?;
        let (namespace, directory) = (&self.namespace, &self.directory);
        let answers = || shell(namespace, directory, &["show bgp summary"]).map(drop);
        self.bgpd.wait_until("an answer of bgpd", START_TIMEOUT, answers)
    }
}

fn spawn(namespace: &Namespace, directory: &Path, daemon: &str) -> Result<Process> {
    let path = |name: &str| directory.join(name).display().to_string();
    let program = format!("{DAEMONS}/{daemon}");
    let (config, pid, api) =
        (path(&format!("{daemon}.conf")), path(&format!("{daemon}.pid")), path("zserv.api"));
    let sockets = directory.display().to_string();
    // No telnet port; what it logs goes to standard output, and so into the lab's files.
    let arguments =
        ["-P", "0", "-f", &config, "-i", &pid, "-z", &api, "--vty_socket", &sockets, "--log", "stdout"];
    namespace.spawn(&program, &arguments)
}

fn shell(namespace: &Namespace, directory: &Path, commands: &[&str]) -> Result<String> {
    let directory = directory.display().to_string();
    let mut arguments = vec!["--vty_socket", &directory];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    let output = namespace.run("vtysh", &arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
