//! A vxgate at work in a namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::{Process, end_of};

/// How long a start may take, a large configuration included.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an orderly end may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A vxgate binary, its configuration, and the process that runs it, if any.
#[derive(Debug)]
pub struct Gateway {
    namespace: Namespace,
    binary: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    process: Option<Process>,
}

impl Gateway {
    /// A gateway that will run `binary` in `namespace`; nothing runs yet.
    pub fn new(namespace: &Namespace, binary: &Path) -> Self {
        let file = |extension| {
            let name = format!("vxgate-{}.{extension}", namespace.name());
            namespace.lab().directory().join(name)
        };
        let (config, socket) = (file("toml"), file("sock"));
        Self { namespace: namespace.clone(), binary: binary.to_owned(), config, socket, process: None }
    }

    /// What the configuration must name as `socket` in its section `[gateway]`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the configuration is.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Writes the configuration (TOML), for the next start.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no room for it.
    pub fn configure(&self, text: &str) -> Result<()> {
        fs::write(&self.config, text).map_err(Error::io(format!("write {}", self.config.display())))
    }

    /// Runs `vxgate run` and waits until it is ready: how long that took. One that still runs is killed first.
    ///
    /// # Errors
    /// [`Error::Ended`] with what it wrote if it refuses to run; [`Error::Timeout`].
    pub fn start(&mut self) -> Result<Duration> {
        self.process = None;
        let begin = Instant::now();
        let config = self.config.to_string_lossy();
        let mut process =
            self.namespace.spawn(&self.binary.to_string_lossy(), &["run", "--config", &config])?;
        process.wait_until("its answer on the control socket", START_TIMEOUT, || self.show("ports"))?;
        self.process = Some(process);
        Ok(begin.elapsed())
    }

    /// Runs another of its commands on the configuration to the end: `"check"`, `"cleanup"`.
    ///
    /// # Errors
    /// [`Error::Command`] if it fails, with what it wrote.
    pub fn run(&self, command: &str) -> Result<Output> {
        let config = self.config.to_string_lossy();
        self.namespace.run(&self.binary.to_string_lossy(), &[command, "--config", &config])
    }

    /// What `vxgate show` tells: `"ports"`, `"stations"`, `"bgp peers"`; with options, each after a blank.
    ///
    /// # Errors
    /// [`Error::Command`] if it is not running; [`Error::Output`] if it does not tell JSON.
    pub fn show(&self, what: &str) -> Result<Value> {
        let socket = self.socket.to_string_lossy();
        let arguments: Vec<&str> =
            ["show"].into_iter().chain(what.split(' ')).chain(["--socket", &socket, "-o", "json"]).collect();
        let output = self.namespace.run(&self.binary.to_string_lossy(), &arguments)?;
        serde_json::from_slice(&output.stdout).map_err(|error| Error::Output {
            program: "vxgate show",
            output: format!("{error}: {}", String::from_utf8_lossy(&output.stdout)),
        })
    }

    /// What `vxgate events` tells: what has happened, each a row.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn events(&self) -> Result<Vec<Value>> {
        let arguments = ["events", "--socket", &self.socket.to_string_lossy()];
        let output = self.namespace.run(&self.binary.to_string_lossy(), &arguments)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let row = |line: &str| {
            serde_json::from_str(line)
                .map_err(|_| Error::Output { program: "vxgate events", output: line.to_owned() })
        };
        text.lines().map(row).collect()
    }

    /// How many frames the counter `name` has counted.
    ///
    /// # Errors
    /// As [`show`](Self::show); [`Error::Output`] if there is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.show("counters")?;
        let counter = counters.as_array().into_iter().flatten().find(|counter| counter["name"] == name);
        counter.and_then(|counter| counter["value"].as_u64()).ok_or_else(|| Error::Output {
            program: "vxgate show",
            output: format!("no counter {name} in {counters}"),
        })
    }

    /// What [`show`](Self::show) tells, as a table for people.
    ///
    /// # Errors
    /// [`Error::Command`] if it is not running.
    pub fn show_table(&self, what: &str) -> Result<String> {
        let socket = self.socket.to_string_lossy();
        let arguments: Vec<&str> =
            ["show"].into_iter().chain(what.split(' ')).chain(["--socket", &socket]).collect();
        let output = self.namespace.run(&self.binary.to_string_lossy(), &arguments)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The process, if it was started.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// What it wrote since its last start, even if it has ended.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// Kills it as a crash would: SIGKILL.
    ///
    /// # Errors
    /// Those of [`Process::kill`].
    pub fn kill9(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::kill)
    }

    /// Ends it in order, by SIGTERM: its exit status, or `None` if it was never started.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not end.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        process.signal(Signal::TERM)?;
        process.wait(STOP_TIMEOUT).map(Some)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The log is removed with the lab: a failed test shows it.
        if std::thread::panicking() && self.process.is_some() {
            eprintln!("--- vxgate in {} ---\n{}\n---", self.namespace.name(), end_of(&self.log()));
            // If it still runs.
            for what in ["ports", "counters"] {
                if let Ok(table) = self.show_table(what) {
                    eprintln!("{table}---");
                }
            }
        }
    }
}
