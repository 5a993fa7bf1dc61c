//! `vxgate capture`: frames at the ports of the running gateway, as pcapng.

pub(crate) mod pcapng;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::cli::Capture;
use crate::observe::{self, Observe, ObserveError, Until};

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    Ok(match path == Path::new("-") {
        true => Box::new(io::stdout()),
        false => Box::new(File::create(path)?),
    })
}

/// Captures until it has enough or is told to end.
pub(crate) fn capture(arguments: &Capture) -> Result<(), ObserveError> {
    let failed = |source| ObserveError::Output { path: arguments.write.clone(), source };
    // A file of before is overwritten only once there is something to write: the gateway may say no.
    let mut out: Option<Box<dyn Write>> = None;
    let Capture { filter, direction, dropped, inner, snaplen, count, seconds, .. } = arguments;
    let wanted = Observe::Capture {
        filter: filter.clone(),
        direction: *direction,
        dropped: *dropped,
        inner: *inner,
        snaplen: *snaplen,
        until: Until { count: *count, seconds: *seconds },
    };
    let (mut tally, mut reader_gone) = (pcapng::Tally::default(), false);
    observe::run(observe::follow(&arguments.socket, wanted, |bytes| {
        tally.add(bytes);
        let out = match &mut out {
            Some(out) => out,
            None => out.insert(open(&arguments.write).map_err(failed)?),
        };
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            // Whoever read it, tshark say, has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                reader_gone = true;
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }))?;
    eprintln!("{} frames captured, {} lost", tally.packets, tally.lost);
    if tally.is_complete() || reader_gone { Ok(()) } else { Err(ObserveError::Ended) }
}
