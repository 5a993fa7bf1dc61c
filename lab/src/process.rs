//! Commands and processes.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sys::hold::HeldThread;

use crate::error::{Error, Result, command_line};
use crate::namespace::Namespace;
use crate::wait::{Outcome, wait_until};

/// How much of a log is quoted in an error.
const LOG_END: usize = 4000;

/// Runs a command to its end.
///
/// # Errors
/// [`Error::Command`] if it fails, with what it wrote to standard error.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(format!("run `{}`", command_line(command))))?;
    if output.status.success() { Ok(output) } else { Err(Error::command(command, &output)) }
}

/// Runs a command to its end, with `input` on its standard input; as [`run`] otherwise.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<Output> {
    let action = || Error::io(format!("run `{}`", command_line(command)));
    let (on_spawn, on_write, on_wait) = (action(), action(), action());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(on_spawn)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(on_wait)?;
    // A command that failed before it read everything is the better explanation of a broken pipe.
    if !output.status.success() {
        return Err(Error::command(command, &output));
    }
    written.map_err(on_write)?;
    Ok(output)
}

/// A process in a namespace, killed when dropped. What it writes is kept in files of the lab.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Keeps the lab from being torn down around the process.
    _namespace: Namespace,
}

impl Process {
    pub(crate) fn spawn(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<Self> {
        let lab = namespace.lab();
        let short = program.rsplit('/').next().unwrap_or(program);
        let base = format!("{:03}-{}-{short}", lab.unique_number(), namespace.name());
        let stdout = lab.directory().join(format!("{base}.out"));
        let stderr = lab.directory().join(format!("{base}.err"));
        let create =
            |path: &PathBuf| File::create(path).map_err(Error::io(format!("create {}", path.display())));
        let mut command = namespace.command(program, arguments);
        command.stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        // From inside: `ip netns exec` enters only after a moment, in which the clean-up after a crash would
        // not find the process.
        let child = namespace.enter(|| command.spawn())?.map_err(Error::io(format!("run `{program}`")))?;
        let name = format!("{short} in {}", namespace.name());
        Ok(Self { name, child, stdout, stderr, _namespace: namespace.clone() })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// All that it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// All that it has written so far: to standard output, then to standard error.
    pub fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io(format!("wait for {}", self.name)))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it is still running after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_until(&what, timeout, || match self.try_wait() {
            Ok(Some(status)) => Ok(Ok(status)),
            Ok(None) => Err(format!("still running as process {}", self.pid())),
            Err(error) => Ok(Err(error)),
        })?
    }

    /// Waits for a condition that the process is to bring about, and no longer than it lives.
    ///
    /// # Errors
    /// [`Error::Ended`] as soon as the process has ended, with the end of what it wrote;
    /// [`Error::Timeout`].
    pub fn wait_until<O: Outcome>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut() -> O,
    ) -> Result<O::Value> {
        wait_until(what, timeout, || {
            let status = match self.try_wait() {
                Ok(status) => status,
                Err(error) => return Ok(Err(error)),
            };
            match (look().outcome(), status) {
                (Ok(value), _) => Ok(Ok(value)),
                (Err(_), Some(status)) => Ok(Err(Error::Ended {
                    process: self.name.clone(),
                    status: status.to_string(),
                    what: what.to_owned(),
                    output: end_of(&self.log()).to_owned(),
                })),
                (Err(seen), None) => Err(format!("{seen}; it writes: {}", end_of(&self.log()))),
            }
        })?
    }

    /// Waits until it has written something: `look` is given all that it has written so far.
    ///
    /// # Errors
    /// As [`wait_until`](Self::wait_until).
    pub fn wait_for_output<O: Outcome>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut(&str) -> O,
    ) -> Result<O::Value> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        self.wait_until(what, timeout, || look(&(read_lossy(&stdout) + &read_lossy(&stderr))))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Those of kill(2); none if it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Not yet waited for, its number is not taken by another process.
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(|error| Error::io(format!("signal {}", self.name))(error.into()))
    }

    /// Stops one of its threads, the others go on: `"worker-0"`. Dropping what is returned lets it go on too.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such thread, or it may not be traced (ptrace(2)).
    pub fn hold_thread(&self, name: &str) -> Result<HeldThread> {
        let tasks = format!("/proc/{}/task", self.pid());
        let hold = || {
            for task in fs::read_dir(&tasks)? {
                let task = task?;
                let number = task.file_name().to_str().and_then(|number| number.parse().ok());
                // One that has just ended has no name.
                let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                if let Some(number) = number.filter(|_| comm.trim() == name) {
                    return HeldThread::hold(number);
                }
            }
            Err(std::io::Error::other("there is none of this name"))
        };
        hold().map_err(Error::io(format!("hold thread {name} of {}", self.name)))
    }

    /// Ends it by SIGKILL, unless it has ended, and waits for its end.
    ///
    /// # Errors
    /// Those of kill(2) and waitpid(2).
    pub fn kill(&mut self) -> Result<()> {
        let kill = self.child.kill().and_then(|()| self.child.wait());
        kill.map(drop).map_err(Error::io(format!("kill {}", self.name)))
    }

    /// Bytes of memory that it has resident now (`VmRSS`), and the most it ever had (`VmHWM`).
    ///
    /// # Errors
    /// [`Error::Io`] if it has ended.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        let both = field("VmRSS").zip(field("VmHWM"));
        // A zombie has no memory.
        both.ok_or_else(|| {
            Error::io(format!("read the memory of {}", self.name))(std::io::Error::other("ended"))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error}");
        }
    }
}

fn read_lossy(path: &PathBuf) -> String {
    fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log.
pub(crate) fn end_of(log: &str) -> &str {
    let start = log.len().saturating_sub(LOG_END);
    let start = (start..log.len()).find(|&start| log.is_char_boundary(start)).unwrap_or(log.len());
    log[start..].trim()
}
