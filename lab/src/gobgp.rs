//! GoBGP.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::state::is_installed;

/// How long it may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// gobgpd in a namespace, ended when dropped.
#[derive(Debug)]
pub struct GoBgp {
    namespace: Namespace,
    process: Process,
}

impl GoBgp {
    /// Starts it with a configuration (TOML); when this returns, it answers.
    ///
    /// # Errors
    /// [`Error::MissingTool`] if it is not installed; [`Error::Ended`] with what it wrote if it ends.
    pub fn start(namespace: &Namespace, config: &str) -> Result<Self> {
        if !is_installed("gobgpd") {
            return Err(Error::MissingTool { tool: "gobgpd", package: "gobgpd" });
        }
        let lab = namespace.lab();
        let path = lab.directory().join(format!("gobgp-{}-{}.toml", namespace.name(), lab.unique_number()));
        fs::write(&path, config).map_err(Error::io(format!("write {}", path.display())))?;
        let path = path.display().to_string();
        let process = namespace.spawn("gobgpd", &["-f", &path, "--api-hosts", "127.0.0.1:50051"])?;
        let mut gobgp = Self { namespace: namespace.clone(), process };
        let answers = || client(&gobgp.namespace, &["global"]).map(drop);
        gobgp.process.wait_until("an answer of gobgpd", START_TIMEOUT, answers)?;
        Ok(gobgp)
    }

    /// What gobgp(1) writes: `"global rib -a evpn add macadv ..."`, words split at blanks.
    ///
    /// # Errors
    /// [`Error::Command`] if it is refused.
    pub fn run(&self, command: &str) -> Result<String> {
        client(&self.namespace, &command.split_whitespace().collect::<Vec<_>>())
    }

    /// What it shows, as JSON.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Output`] if it is not JSON.
    pub fn show(&self, command: &str) -> Result<Value> {
        let output = self.run(&format!("{command} -j"))?;
        serde_json::from_str(&output).map_err(|_| Error::Output { program: "gobgp", output })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn client(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = namespace.run("gobgp", arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
