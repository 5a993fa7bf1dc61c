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

    /// Measures it, with the binary `vxgate`: figures, and how it was measured.
    pub(crate) fn figures(self, vxgate: &Path) -> Result<(Vec<Figure>, Value), Error> {
        match self {
            // A thread of its own is pinned; the other parts are not.
            Self::Offline => {
                let measured = || {
                    pin().map_err(|error| error.to_string())?;
                    offline::figures().map_err(|error| error.to_string())
                };
                let figures = std::thread::spawn(measured).join().map_err(|_| "the speaker panicked")??;
                Ok((figures, offline::modes()))
            }
            Self::Reflector => {
                go_first(reflector::PRIORITY)?;
                Ok((reflector::figures(&Lab::new()?)?, reflector::modes()))
            }
            Self::Forwarding => forwarding::figures(&Lab::new()?, vxgate),
        }
    }
}

/// Has this thread, and all that it starts from now on, run before what is ordinary, with this priority (SCHED_RR): several
/// processes take part in what is measured by the wall's clock, and others of the machine are not to count.
///
/// Of the same priority nobody gives way until they sleep: what must not be held up needs a higher one.
fn go_first(priority: u8) -> Result<(), Error> {
    // That of the first thread, which this is.
    let (priority, pid) = (priority.to_string(), std::process::id().to_string());
    let output = Command::new("chrt").args(["--rr", "--pid", &priority, &pid]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
