//! Figures with the circumstances they were measured in, as a table and as JSON.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::figure::{Figure, REPETITIONS};

/// All that a bench has to say.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    machine: Value,
    kernel: String,
    versions: Value,
    modes: Map<String, Value>,
}

impl Report {
    /// Figures measured on this machine, pinned to `core`, in `modes` of the bench's own.
    pub(crate) fn new(core: usize, modes: Value, figures: Vec<Figure>) -> Self {
        let mut all_modes = Map::new();
        all_modes.insert("core".into(), core.into());
        all_modes.insert("repetitions".into(), REPETITIONS.into());
        all_modes.insert("transparent_huge_pages".into(), transparent_huge_pages().into());
        if let Value::Object(modes) = modes {
            all_modes.extend(modes);
        }
        Self { figures, machine: machine(), kernel: kernel(), versions: versions(), modes: all_modes }
    }

    /// Prints the table and writes `target/bench/NAME.json`.
    pub(crate) fn publish(&self, name: &str) -> Result<(), Error> {
        self.print();
        let folder = PathBuf::from("target/bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join(name).with_extension("json");
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&path, text)?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }

    fn print(&self) {
        println!("machine   {}", self.machine);
        println!("kernel    {}", self.kernel);
        println!("versions  {}", self.versions);
        println!("modes     {}\n", Value::Object(self.modes.clone()));
        let width = self.figures.iter().map(|figure| figure.figure.chars().count()).max().unwrap_or(0);
        println!("{:width$}  {:>10}  {:8}  {:8}  ok", "figure", "value", "unit", "goal");
        for Figure { figure, value, unit, goal, ok, note } in &self.figures {
            let goal = goal.map_or_else(String::new, |goal| goal.to_string());
            let ok = match ok {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            let note = note.as_deref().unwrap_or_default();
            let line = format!("{figure:width$}  {value:>10.2}  {unit:8}  {goal:8}  {ok:3}  {note}");
            println!("{}", line.trim_end());
        }
    }
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or("unknown");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&meminfo, "MemTotal").unwrap_or("unknown");
    let nodes = fs::read_to_string("/sys/devices/system/node/online").unwrap_or_else(|_| "unknown".into());
    json!({"cpu": model, "cores": cores, "memory": memory, "numa_nodes": nodes.trim()})
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
    format!("Linux {}", release.trim())
}

fn versions() -> Value {
    let revision =
        match (output("git", &["rev-parse", "--short", "HEAD"]), output("git", &["status", "-s", "-uno"])) {
            (Some(revision), Some(changes)) if changes.is_empty() => revision,
            (Some(revision), _) => format!("{revision} with changes"),
            (None, _) => "unknown".into(),
        };
    json!({
        "vxgate": env!("CARGO_PKG_VERSION"),
        "revision": revision,
        "rustc": output("rustc", &["--version"]).unwrap_or_else(|| "unknown".into()),
    })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The setting in force, such as `madvise`.
fn transparent_huge_pages() -> String {
    let settings = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = settings.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("unknown", |(chosen, _)| chosen).to_owned()
}
