//! What can go wrong in a lab.

use std::io;
use std::process::{Command, Output};
use std::time::Duration;

/// The result of an operation on a lab.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a lab failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not run by root.
    #[error("a lab makes network namespaces: run this as root")]
    NotRoot,
    /// A program that the lab runs is not installed.
    #[error("`{tool}` is missing: run `apt-get install {package}`")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The system refused something.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// A command ended with a failure.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error, or to standard output if nothing.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("waited {timeout:?} for {what}; last seen: {seen}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long.
        timeout: Duration,
        /// What the last look showed.
        seen: String,
    },
    /// A process ended while something was awaited from it.
    #[error("{process} ended ({status}) before {what}: {output}")]
    Ended {
        /// The process.
        process: String,
        /// Its exit status.
        status: String,
        /// What was awaited.
        what: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A program wrote something that was not understood.
    #[error("cannot read the output of {program}: {output}")]
    Output {
        /// The program.
        program: &'static str,
        /// What it wrote.
        output: String,
    },
    /// A capture has holes, and proves nothing.
    #[error("the capture on {interface} lost {frames} frames")]
    CaptureLost {
        /// The netdev.
        interface: String,
        /// How many frames were lost.
        frames: u32,
    },
}

impl Error {
    /// Says what was tried when the system refused.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// A command that did not succeed.
    pub(crate) fn command(command: &Command, output: &Output) -> Self {
        let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        Self::Command {
            command: command_line(command),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(text).trim().to_owned(),
        }
    }
}

/// The command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
