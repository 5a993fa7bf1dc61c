//! BGP: what the speaker takes in and gives out, alone and with a reflector of FRR, and how soon the data plane follows.

mod forwarding;
mod message;
mod offline;
mod reflector;
mod session;

use std::path::Path;
use std::process::Command;

use lab::Lab;
use serde_json::Value;

use crate::Error;
use crate::figure::Figure;
use crate::pin;

/// A part of the bench, which can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The speaker without sockets.
    Offline,
    /// Overlays through FRR.
    Reflector,
    /// Until frames follow a route.
    Forwarding,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Offline, Self::Reflector, Self::Forwarding];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Reflector => "reflector",
            Self::Forwarding => "forwarding",
        }
    }

    /// How it is measured.
    pub(crate) fn modes(self) -> Value {
        match self {
            Self::Offline => offline::modes(),
            Self::Reflector => reflector::modes(),
            Self::Forwarding => forwarding::modes(),
        }
    }

    /// Measures it, with the binary `vxgate`.
    pub(crate) fn figures(self, vxgate: &Path) -> Result<Vec<Figure>, Error> {
        match self {
            // A thread of its own is pinned; the other parts are not.
            Self::Offline => {
                let measured = || {
                    pin().map_err(|error| error.to_string())?;
                    offline::figures().map_err(|error| error.to_string())
                };
                Ok(std::thread::spawn(measured).join().map_err(|_| "the speaker panicked")??)
            }
            Self::Reflector => {
                go_first()?;
                reflector::figures(&Lab::new()?)
            }
            Self::Forwarding => {
                go_first()?;
                forwarding::figures(&Lab::new()?, vxgate)
            }
        }
    }
}

/// How this thread and all that it starts stand to others of the machine: several processes take part in what is measured
/// by the wall's clock, and all of them alike go before those that do not.
const SCHEDULING: &str = "SCHED_RR, all that take part";

fn go_first() -> Result<(), Error> {
    // That of the first thread, which this is.
    let pid = std::process::id().to_string();
    let output = Command::new("chrt").args(["--rr", "--pid", "1", &pid]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
