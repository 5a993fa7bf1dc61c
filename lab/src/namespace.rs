//! Network namespaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use sys::netdev::CounterTable;
use sys::packet::{PacketSocket, Watch};

use crate::error::{Error, Result};
use crate::process::{Process, run, run_with_input};
use crate::state::{Lab, PREFIX};

/// Where iproute2 keeps the names of namespaces.
pub(crate) const NETNS: &str = "/run/netns";

/// What every namespace starts with. The host's settings are inherited in part, so that these are set even
/// where they are the kernel's defaults.
const SETTINGS: [(&str, &str); 10] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    // Addresses are usable at once.
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    // Addresses and routes are those that the lab gives, whatever a router advertises.
    ("net.ipv6.conf.default.accept_ra", "0"),
    // Router solicitations come at random times, into captures and counters.
    ("net.ipv6.conf.default.router_solicitations", "0"),
];

/// A network namespace of a lab; clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    lab: Lab,
    /// Without the prefix.
    name: String,
}

impl Namespace {
    pub(crate) fn create(lab: &Lab, name: &str) -> Result<Self> {
        let namespace = Self { lab: lab.clone(), name: name.to_owned() };
        run(Command::new("ip").args(["netns", "add", &namespace.full_name()]))?;
        namespace.set_all(&SETTINGS)?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name on the machine, as `ip netns` shows it.
    pub fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// The lab it is in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full_name(), program]).args(arguments);
        command
    }

    /// Runs a command inside to its end.
    ///
    /// # Errors
    /// [`Error::Command`] if it fails, with what it wrote to standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(program, arguments);
        // From inside, as in `Process::spawn`.
        self.enter(|| run(&mut command))?
    }

    /// Starts a process inside.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be started.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Result<Process> {
        Process::spawn(self, program, arguments)
    }

    /// Runs `ip` commands inside, one a line, by a single process: `"link set eth0 down"`.
    ///
    /// # Errors
    /// [`Error::Command`] with the line that failed; those after it are not run.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run_with_input(Command::new("ip").args(["-n", &self.full_name(), "-batch", "-"]), lines).map(drop)
    }

    /// Runs `bridge` commands inside, as [`ip`](Self::ip) does.
    ///
    /// # Errors
    /// As [`ip`](Self::ip).
    pub fn bridge(&self, lines: &str) -> Result<()> {
        run_with_input(Command::new("bridge").args(["-n", &self.full_name(), "-batch", "-"]), lines).map(drop)
    }

    /// What an `ip` command shows as JSON: `["neighbour", "show"]`.
    ///
    /// # Errors
    /// [`Error::Command`] if it fails; [`Error::Output`] if it does not show JSON.
    pub fn ip_json(&self, arguments: &[&str]) -> Result<Value> {
        let output = run(Command::new("ip").args(["-n", &self.full_name(), "-j", "-d"]).args(arguments))?;
        serde_json::from_slice(&output.stdout).map_err(|_| Error::Output {
            program: "ip",
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
    }

    /// The netdevs inside, loopback among them.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel does not tell.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        self.enter(|| CounterTable::open()?.names())?
            .map_err(Error::io(format!("read the netdevs of {}", self.name)))
    }

    /// Neighbours that the kernel keeps resolved because somebody told it to (`NTF_EXT_MANAGED`).
    ///
    /// # Errors
    /// As [`ip_json`](Self::ip_json).
    pub fn managed_neighbours(&self) -> Result<BTreeSet<IpAddr>> {
        let neighbours = self.ip_json(&["neighbour", "show"])?;
        let managed = neighbours.as_array().into_iter().flatten().filter(|neighbour| {
            // A flag: the key is there, without a value.
            neighbour.get("managed").is_some()
        });
        Ok(managed.filter_map(|neighbour| neighbour["dst"].as_str()?.parse().ok()).collect())
    }

    /// Sets a kernel parameter of this namespace: `("net.ipv4.ip_forward", "1")`.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none of this name, or it does not take the value.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        self.set_all(&[(parameter, value)])
    }

    /// The value of a kernel parameter of this namespace, trimmed.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none of this name.
    pub fn get(&self, parameter: &str) -> Result<String> {
        let text = self.enter(|| fs::read_to_string(parameter_path(parameter)))?;
        text.map(|text| text.trim().to_owned()).map_err(Error::io(format!("read {parameter}")))
    }

    /// Sets those kernel parameters that this kernel has.
    pub(crate) fn set_if_there(&self, settings: &[(&str, &str)]) -> Result<()> {
        let there: Vec<_> =
            settings.iter().copied().filter(|(parameter, _)| parameter_path(parameter).exists()).collect();
        self.set_all(&there)
    }

    fn set_all(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            settings.iter().try_for_each(|(parameter, value)| {
                fs::write(parameter_path(parameter), value)
                    .map_err(Error::io(format!("set {parameter} to {value}")))
            })
        })?
    }

    /// Calls `inside` on a thread of its own inside the namespace. Sockets opened there stay in the namespace
    /// wherever they are used.
    ///
    /// # Errors
    /// [`Error::Io`] if the namespace cannot be entered.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new(NETNS).join(self.full_name());
        let enter = || {
            let file = File::open(&path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        thread::scope(|scope| {
            let thread = scope.spawn(|| enter().map(|()| inside()));
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
        .map_err(Error::io(format!("enter {}", path.display())))
    }

    /// A raw socket on a netdev inside, receiving the frames that arrive for any MAC address.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such netdev.
    pub fn packet_socket(&self, interface: &str) -> Result<PacketSocket> {
        self.open_packet_socket(interface, Watch::Incoming)
    }

    pub(crate) fn open_packet_socket(&self, interface: &str, watch: Watch) -> Result<PacketSocket> {
        self.enter(|| {
            let socket = PacketSocket::open(interface, watch)?;
            socket.set_promiscuous(true)?;
            Ok(socket)
        })?
        .map_err(Error::io(format!("open a raw socket on {interface} in {}", self.name)))
    }
}

fn parameter_path(parameter: &str) -> PathBuf {
    Path::new("/proc/sys").join(parameter.replace('.', "/"))
}
