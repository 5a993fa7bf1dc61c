//! Ctrl-C and SIGTERM: the first ends in order, with a report; the second at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Error;

/// Exit status of a process that a second Ctrl-C ended: 128 and the signal's number.
const STATUS: i32 = 128 + SIGINT;

/// What is set when it is time to stop.
pub(super) fn stop() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag not yet set.
        flag::register_conditional_shutdown(signal, STATUS, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
