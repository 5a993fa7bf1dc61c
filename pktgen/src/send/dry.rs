//! The frames of a profile without a port, in virtual time.

use std::io::{self, Write};

use super::pace::Pace;
use super::source::{Built, Source, Streams};
use crate::pcap;
use crate::profile::Profile;

/// Writes a capture (pcap) of what would be sent if sending always kept up, until the profile's limit; returns how many
/// frames. Time begins at zero, for captures and stamps alike.
///
/// # Errors
/// Those of the writer.
pub fn dry_run(profile: &Profile, out: &mut impl Write) -> io::Result<u64> {
    pcap::write_header(out)?;
    let mut source = Streams::new(profile, 0);
    let mut pace = Pace::new(profile.rate, 0);
    let mut buffer = vec![0; source.max_len()];
    let end = profile.limit.duration.map_or(u64::MAX, |time| time.as_nanos() as u64);
    let count = profile.limit.count.unwrap_or(u64::MAX);
    for number in 0..count {
        let now = pace.due();
        if now >= end {
            return Ok(number);
        }
        let Some(Built { len, .. }) = source.next(0, now, &mut buffer) else { return Ok(number) };
        pcap::write_packet(out, now, &buffer[..len])?;
        pace.spend(len);
    }
    Ok(count)
}
