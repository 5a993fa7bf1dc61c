//! Captures, and what tshark makes of them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sys::packet::{PacketSocket, Watch};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::run;

/// How often a quiet capture looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(10);

/// How long a stopped capture reads what has come before, at most.
const DRAIN: Duration = Duration::from_secs(1);

/// Room for the longest frame that offloads can build.
const LONGEST_FRAME: usize = 1 << 17;

/// What tshark is to check, beyond its defaults.
const CHECKS: [&str; 6] =
    ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];

/// Frames that no correct host sends: cut off, contradicting itself, or with a wrong checksum. The numbers
/// are Wireshark's `PI_ERROR` and `PI_CHECKSUM`.
const FAULTY: &str =
    "_ws.malformed || _ws.short || _ws.expert.severity == 0x00800000 || _ws.expert.group == 0x01000000";

/// A capture at work on one netdev. It sees what arrives and what the kernel sends, but neither what an XDP
/// program takes nor what AF_XDP sends: to watch a gateway, capture at the far end of its link
/// ([`Nic::far_interface`](crate::Nic::far_interface)).
#[derive(Debug)]
pub struct Capture {
    interface: String,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<u32>>>,
    namespace: Namespace,
}

impl Capture {
    /// Begins to capture; when this returns, every frame is seen.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such netdev.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let lab = namespace.lab();
        let name = format!("{:03}-{}-{interface}.pcap", lab.unique_number(), namespace.name());
        let path = lab.directory().join(name);
        let socket = namespace.open_packet_socket(interface, Watch::Both)?;
        let writer = PcapWriter::create(&path).map_err(Error::io(format!("write {}", path.display())))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || record(&socket, writer, &stop)
        });
        let (interface, namespace) = (interface.to_owned(), namespace.clone());
        Ok(Self { interface, path, stop, thread: Some(thread), namespace })
    }

    /// Ends the capture: what has arrived by now is in the file.
    ///
    /// # Errors
    /// [`Error::CaptureLost`] if frames came faster than they could be written; [`Error::Io`] if they could
    /// not be written at all.
    pub fn stop(mut self) -> Result<CaptureFile> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("taken only here, and `stop` consumes the capture");
        let lost = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match lost.map_err(Error::io(format!("capture on {}", self.interface)))? {
            0 => Ok(CaptureFile { path: self.path.clone(), _namespace: self.namespace.clone() }),
            frames => Err(Error::CaptureLost { interface: self.interface.clone(), frames }),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A finished capture.
#[derive(Clone, Debug)]
pub struct CaptureFile {
    path: PathBuf,
    /// Keeps the lab, and so the file.
    _namespace: Namespace,
}

/// A frame that tshark objects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the capture, from 1.
    pub frame: u64,
    /// Its protocols, from outside to inside.
    pub protocols: String,
    /// What is wrong with it.
    pub message: String,
}

impl CaptureFile {
    /// Where the file is (pcap).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The frames that no correct host sends: malformed, cut off, or with a wrong checksum at any layer
    /// (IPv4, UDP, TCP, ICMP, ICMPv6; inside VXLAN too).
    ///
    /// # Errors
    /// [`Error::Command`] if tshark fails.
    pub fn faults(&self) -> Result<Vec<Fault>> {
        let rows = self.fields(FAULTY, &["frame.number", "frame.protocols", "_ws.expert.message"])?;
        rows.into_iter()
            .map(|row| match <[String; 3]>::try_from(row) {
                Ok([frame, protocols, message]) => {
                    let frame =
                        frame.parse().map_err(|_| Error::Output { program: "tshark", output: frame })?;
                    Ok(Fault { frame, protocols, message })
                }
                Err(row) => Err(Error::Output { program: "tshark", output: row.join(" ") }),
            })
            .collect()
    }

    /// Values of `fields` for each frame that matches the display filter `filter` (empty: all frames). A field
    /// that occurs in several headers has its values joined by commas, outermost first; one that does not
    /// occur is empty.
    ///
    /// # Errors
    /// [`Error::Command`] if tshark knows no such field or does not understand the filter.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new("tshark");
        command.args(["-n", "-r"]).arg(&self.path).args(CHECKS).args(["-T", "fields", "-Y", filter]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// How many frames match the display filter `filter` (empty: all frames).
    ///
    /// # Errors
    /// As [`fields`](Self::fields).
    pub fn count(&self, filter: &str) -> Result<usize> {
        Ok(self.fields(filter, &["frame.number"])?.len())
    }
}

/// Writes frames until it is to stop and no more are there: how many were lost.
fn record(socket: &PacketSocket, mut writer: PcapWriter, stop: &AtomicBool) -> io::Result<u32> {
    let mut buffer = vec![0; LONGEST_FRAME];
    let mut deadline = None;
    loop {
        // Read before the socket is: what came before the stop is then found below.
        if stop.load(Ordering::Relaxed) && deadline.is_none() {
            deadline = Some(Instant::now() + DRAIN);
        }
        let timeout = if deadline.is_some() { Duration::ZERO } else { STOP_CHECK };
        match socket.receive(&mut buffer, timeout) {
            Ok(Some(length)) => writer.write(&buffer[..length])?,
            Ok(None) if deadline.is_some() => break,
            Ok(None) => {}
            // The netdev was set down: tests do that.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
            Err(error) => return Err(error),
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            break;
        }
    }
    writer.file.flush()?;
    socket.lost()
}

/// Writes pcap with nanoseconds, as draft-ietf-opsawg-pcap describes it.
struct PcapWriter {
    file: BufWriter<File>,
}

impl PcapWriter {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const ETHERNET: u32 = 1;

    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&Self::MAGIC.to_ne_bytes())?;
        file.write_all(&2u16.to_ne_bytes())?;
        file.write_all(&4u16.to_ne_bytes())?;
        for word in [0, 0, LONGEST_FRAME as u32, Self::ETHERNET] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.flush()?;
        Ok(Self { file })
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a capture's stamps")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = frame.len() as u32;
        for word in [now.as_secs() as u32, now.subsec_nanos(), length, length] {
            self.file.write_all(&word.to_ne_bytes())?;
        }
        self.file.write_all(frame)
    }
}
