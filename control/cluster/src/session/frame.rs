//! Frames on the stream between two gateways: four bytes of length, a byte that says what it is, the rest.
//!
//! ```text
//!  0               4       5
//!  | length (u32)  | kind  | body …            length = 1 + bytes of the body, big endian
//! ```

use thiserror::Error;

/// Most bytes of a frame behind its length: the kind and the body.
pub const MAX_FRAME: usize = 65_536;

/// Most bytes of a message.
pub const MAX_MESSAGE: usize = MAX_FRAME - 1;

/// Bytes before the body.
pub const HEADER: usize = 5;

/// What a frame is. Numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Who the sender is: the first frame each way.
    Hello = 1,
    /// The gateway with the lower id takes this connection for the session.
    Open = 2,
    /// The session is refused, or ended: the body says why.
    Refused = 3,
    /// The sender lives. Without a body.
    Ping = 4,
    /// What the session is for; its body is not looked at here.
    Message = 5,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        [Self::Hello, Self::Open, Self::Refused, Self::Ping, Self::Message]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Bytes that are no frame. The stream is of no use after them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length is none that a frame has.
    #[error("a frame of {0} bytes, and 1 to {MAX_FRAME} are allowed")]
    Length(u32),
    /// The kind is unknown.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
}

/// A frame's kind and body.
pub type Frame<'a> = (Kind, &'a [u8]);

/// The first bytes of a frame with a body of `len` bytes, at most [`MAX_MESSAGE`].
pub fn header(kind: Kind, len: usize) -> [u8; HEADER] {
    debug_assert!(len <= MAX_MESSAGE);
    let [a, b, c, d] = (len as u32 + 1).to_be_bytes();
    [a, b, c, d, kind as u8]
}

/// The frame that begins `bytes`, and how many of them it takes; `None`: more must come.
///
/// # Errors
/// As soon as it can be told that no frame comes of these bytes.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((&length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(length);
    if length == 0 || length as usize > MAX_FRAME {
        return Err(FrameError::Length(length));
    }
    let Some((&number, _)) = rest.split_first() else { return Ok(None) };
    let kind = Kind::of(number).ok_or(FrameError::Kind(number))?;
    let Some(frame) = rest.get(..length as usize) else { return Ok(None) };
    Ok(Some(((kind, &frame[1..]), 4 + frame.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = header(Kind::Message, 3).to_vec();
        bytes.extend(b"abc");
        assert_eq!(bytes, [0, 0, 0, 4, 5, b'a', b'b', b'c']);
        bytes.push(0xa5);
        assert_eq!(decode(&bytes), Ok(Some(((Kind::Message, &b"abc"[..]), 8))));
        for short in 0..8 {
            assert_eq!(decode(&bytes[..short]), Ok(None), "{short} bytes");
        }
        let mut longest = header(Kind::Message, MAX_MESSAGE).to_vec();
        longest.resize(HEADER + MAX_MESSAGE, 7);
        assert_eq!(decode(&longest).unwrap().unwrap().1, longest.len());
    }

    #[test]
    fn lengths_and_kinds_are_checked_before_the_body_comes() {
        assert_eq!(decode(&[0, 0, 0, 0]), Err(FrameError::Length(0)));
        assert_eq!(decode(&[0, 1, 0, 1]), Err(FrameError::Length(65_537)));
        assert_eq!(decode(&[255; 4]), Err(FrameError::Length(u32::MAX)));
        for kind in [0, 6, 255] {
            assert_eq!(decode(&[0, 0, 0, 1, kind]), Err(FrameError::Kind(kind)));
        }
    }
}
