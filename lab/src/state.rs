//! The lab as a whole: its lock, its files, and how it is torn down.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::namespace::{NETNS, Namespace};
use crate::process::run;
use crate::wait::wait_until;

/// What every namespace of a lab is called first; no other namespace is ever touched.
pub(crate) const PREFIX: &str = "vxg-";

/// Where the lock and the files of the lab are: memory, gone with a reboot like the namespaces.
const HOME: &str = "/run/vxgate-lab";

/// How long killed processes may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Programs that the lab runs, and the Debian packages that have them.
const TOOLS: [(&str, &str); 14] = [
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("ss", "iproute2"),
    ("ethtool", "ethtool"),
    ("ping", "iputils-ping"),
    ("iperf3", "iperf3"),
    ("tshark", "tshark"),
    ("arping", "iputils-arping"),
    ("dhclient", "isc-dhcp-client"),
    ("dnsmasq", "dnsmasq-base"),
    ("nft", "nftables"),
    ("rdisc6", "ndisc6"),
    ("tracepath", "iputils-tracepath"),
    ("traceroute", "traceroute"),
];

/// The right to make namespaces: one lab at a time on the whole machine, so that labs of different threads
/// and programs queue up instead of meeting. Clones are handles of the same lab, as is everything made in it;
/// the last one dropped tears it down.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Kept open for its lock, released when the rest is gone.
    _lock: File,
    directory: PathBuf,
    next_number: AtomicU16,
}

impl Lab {
    /// Waits for the machine's lab lock, removes what a crashed lab left, and begins a lab.
    ///
    /// # Errors
    /// [`Error::NotRoot`]; [`Error::MissingTool`]; [`Error::Io`] and [`Error::Command`] if old namespaces
    /// cannot be removed.
    pub fn new() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        for (tool, package) in TOOLS {
            if !is_installed(tool) {
                return Err(Error::MissingTool { tool, package });
            }
        }
        let lock = lock()?;
        remove_everything()?;
        let directory = files();
        fs::create_dir(&directory).map_err(Error::io(format!("create {}", directory.display())))?;
        Ok(Self { inner: Arc::new(Inner { _lock: lock, directory, next_number: AtomicU16::new(0) }) })
    }

    /// A new namespace `vxg-NAME`: loopback up, IPv6 addresses usable at once (no duplicate address
    /// detection), router advertisements ignored, no reverse-path filter, no forwarding, whatever the host's
    /// settings.
    ///
    /// # Errors
    /// [`Error::Command`] if the name is taken.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(self, name)
    }

    /// Where the lab's files are (configurations, logs, captures); removed with it.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// A number no one else in this lab has: for the names of files and for ports.
    pub(crate) fn unique_number(&self) -> u16 {
        self.inner.next_number.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = remove_everything() {
            eprintln!("the lab was not torn down: {error}");
        }
    }
}

/// Removes what a crashed lab left: its processes, namespaces and files. Waits for a lab that is at work.
///
/// # Errors
/// As [`Lab::new`].
pub fn clean() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let _lock = lock()?;
    remove_everything()
}

fn files() -> PathBuf {
    Path::new(HOME).join("files")
}

fn lock() -> Result<File> {
    let path = Path::new(HOME).join("lock");
    let open = || {
        fs::create_dir_all(HOME)?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(Error::io(format!("lock {}", path.display())))
}

pub(crate) fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // What a login shell of a plain user lacks.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|directory| directory.join(tool).is_file())
}

/// The caller holds the lock: every namespace with our prefix is then its own, or a crashed lab's.
fn remove_everything() -> Result<()> {
    for name in namespaces()? {
        wait_until(&format!("the end of all processes in {name}"), KILL_TIMEOUT, || kill_all_in(&name))?;
        run(Command::new("ip").args(["netns", "delete", &name]))?;
    }
    match fs::remove_dir_all(files()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", files().display()))(error))
        }
        _ => Ok(()),
    }
}

fn namespaces() -> Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(format!("list {NETNS}")))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
}

/// Kills whatever runs in the namespace but us; `Ok` if nothing did.
fn kill_all_in(name: &str) -> Result<()> {
    let Ok(namespace) = fs::metadata(Path::new(NETNS).join(name)) else { return Ok(()) };
    let output = run(Command::new("ip").args(["netns", "pids", name]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = Vec::new();
    for pid in text.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        if pid == std::process::id() as i32 {
            continue;
        }
        let Some(process) = Pid::from_raw(pid) else { continue };
        // A descriptor keeps the number from being taken by another process between the look and the kill.
        let Ok(descriptor) = pidfd_open(process, PidfdFlags::empty()) else { continue };
        let Ok(of_process) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if (of_process.dev(), of_process.ino()) == (namespace.dev(), namespace.ino()) {
            // It may have ended by itself; the next look will tell.
            let _ = pidfd_send_signal(&descriptor, Signal::KILL);
            found.push(pid);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Io { action: format!("end processes {found:?}"), source: io::Error::other("still there") })
}
