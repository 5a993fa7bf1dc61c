//! `pktgen send --dry-run`: the frames of a profile in a file, with the times at which they would go out.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use pktgen::profile::Profile;
use pktgen::send;

use super::Error;

/// Frames that are written if the profile says no number and no time.
const DEFAULT_COUNT: u64 = 1000;

/// Writes the frames until the profile's limit.
pub(super) fn write(profile: &Profile, path: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut profile = profile.clone();
    let limit = &mut profile.limit;
    // At the highest rate no time passes: a duration alone would never end.
    let is_endless = limit.duration.is_none() || profile.rate == pktgen::profile::Rate::Max;
    if limit.count.is_none() && is_endless {
        limit.count = Some(DEFAULT_COUNT);
    }
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let count = send::dry_run(&profile, &mut file).map_err(failed)?;
    std::io::Write::flush(&mut file).map_err(failed)?;
    println!("{count} frames written to {}", path.display());
    Ok(())
}
