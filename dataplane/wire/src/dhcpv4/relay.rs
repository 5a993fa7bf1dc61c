//! The relay agent information option (RFC 3046).

use super::{Dhcpv4Option, Dhcpv4Options, Dhcpv4Packet, END, HEADER_LEN, MIN_LEN, PAD};
use crate::Error;

/// Sub-option that tells on which of the relay agent's links the client is (RFC 3046 §3.1).
const CIRCUIT_ID: u8 = 1;
/// Sub-option that tells which client it is (RFC 3046 §3.2).
const REMOTE_ID: u8 = 2;

/// What a relay agent tells the server, which sends it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAgentInformation<'a> {
    /// On which of the relay agent's links the client is.
    pub circuit_id: Option<&'a [u8]>,
    /// Which client it is, by the relay agent's knowledge.
    pub remote_id: Option<&'a [u8]>,
}

impl<'a> RelayAgentInformation<'a> {
    /// The sub-options in an option's `data`. Of several alike the first counts; others are passed over.
    ///
    /// # Errors
    /// [`Error::BadLength`] if a sub-option reaches beyond the end.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let (mut circuit_id, mut remote_id) = (None, None);
        let mut rest = data;
        while !rest.is_empty() {
            // Unlike options, sub-options know neither padding nor end (RFC 3046 §2.0).
            let [kind, len, after @ ..] = rest else { return Err(Error::BadLength) };
            let (value, after) = after.split_at_checked(usize::from(*len)).ok_or(Error::BadLength)?;
            match *kind {
                CIRCUIT_ID => circuit_id = circuit_id.or(Some(value)),
                REMOTE_ID => remote_id = remote_id.or(Some(value)),
                _ => {}
            }
            rest = after;
        }
        Ok(Self { circuit_id, remote_id })
    }
}

/// Adds to `out` a copy of `message` with a relay agent information option as its last (RFC 3046 §2.1), padded
/// to [`MIN_LEN`]. An identifier that is empty is left out.
///
/// # Errors
/// Those of [`Dhcpv4Packet::new_checked`]; [`Error::BadField`] if there is such an option already, or both
/// identifiers are empty; [`Error::BadLength`] if an option has a length that cannot be, or the identifiers
/// are longer than 251 bytes together (253 for one alone). `out` is then as it was.
pub fn append_relay_agent(
    message: &[u8],
    circuit_id: &[u8],
    remote_id: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    Dhcpv4Packet::new_checked(message)?;
    let options = &message[HEADER_LEN..];
    let mut walk = Dhcpv4Options::new(options);
    for option in &mut walk {
        if option?.kind == Dhcpv4Option::RELAY_AGENT_INFORMATION {
            return Err(Error::BadField);
        }
    }
    let identifiers = [(CIRCUIT_ID, circuit_id), (REMOTE_ID, remote_id)];
    let sub_options = || identifiers.into_iter().filter(|(_, value)| !value.is_empty());
    let len = sub_options().map(|(_, value)| 2 + value.len()).sum::<usize>();
    if len == 0 {
        return Err(Error::BadField);
    }
    let len = u8::try_from(len).map_err(|_| Error::BadLength)?;

    let start = out.len();
    out.extend_from_slice(&message[..message.len() - walk.rest.len()]);
    out.extend([Dhcpv4Option::RELAY_AGENT_INFORMATION, len]);
    for (kind, value) in sub_options() {
        out.extend([kind, value.len() as u8]);
        out.extend_from_slice(value);
    }
    finish(start, out);
    Ok(())
}

/// Adds to `out` a copy of `message` without relay agent information options (RFC 3046 §2.1), padded to
/// [`MIN_LEN`].
///
/// # Errors
/// Those of [`Dhcpv4Packet::new_checked`], or [`Error::BadLength`] if an option has a length that cannot be.
/// `out` is then as it was.
pub fn strip_relay_agent(message: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    Dhcpv4Packet::new_checked(message)?;
    let options = &message[HEADER_LEN..];
    if Dhcpv4Options::new(options).any(|option| option.is_err()) {
        return Err(Error::BadLength);
    }
    let start = out.len();
    let mut walk = Dhcpv4Options::new(options);
    // All before this is copied or left out.
    let mut done = 0;
    while let Some(Ok(option)) = walk.next() {
        if option.kind == Dhcpv4Option::RELAY_AGENT_INFORMATION {
            let end = message.len() - walk.rest.len();
            out.extend_from_slice(&message[done..end - option.data.len() - 2]);
            done = end;
        }
    }
    out.extend_from_slice(&message[done..message.len() - walk.rest.len()]);
    finish(start, out);
    Ok(())
}

/// Ends the options of the message that starts at `start`, and pads it.
fn finish(start: usize, out: &mut Vec<u8>) {
    out.push(END);
    out.resize(out.len().max(start + MIN_LEN), PAD);
}
