//! Names of domains, as RFC 1035 §3.1 writes them on the wire.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Most bytes of a label (RFC 1035 §2.3.4).
const MAX_LABEL_LEN: usize = 63;
/// Most bytes of a name on the wire, lengths of labels and root included (RFC 1035 §2.3.4).
pub(crate) const MAX_NAME_LEN: usize = 255;

/// A domain name such as `example.net`: one or more labels of letters, digits, hyphens and underscores, in
/// lower case. Not the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName {
    /// Each label after its length, and the root's length of zero.
    wire: Box<[u8]>,
}

impl DomainName {
    /// The name as a sequence of labels, each after a byte with its length, and a zero byte: 3 to 255 bytes.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The name at the start of `bytes`, uncompressed, and what follows it.
    ///
    /// [`Error::Truncated`] if the bytes end before the name does, [`Error::BadLength`] for a label or a name
    /// that is too long (a compressed one included), [`Error::BadField`] for the root, or a label that
    /// [`DomainName`] does not admit.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut rest = bytes;
        loop {
            let (&len, after) = rest.split_first().ok_or(Error::Truncated)?;
            if len == 0 {
                let wire = &bytes[..bytes.len() - after.len()];
                return match wire.len() {
                    1 => Err(Error::BadField),
                    2..=MAX_NAME_LEN => Ok((Self { wire: wire.to_ascii_lowercase().into() }, after)),
                    _ => Err(Error::BadLength),
                };
            }
            if usize::from(len) > MAX_LABEL_LEN {
                return Err(Error::BadLength);
            }
            let (label, after) = after.split_at_checked(len.into()).ok_or(Error::Truncated)?;
            check_label(label).map_err(|_| Error::BadField)?;
            rest = after;
        }
    }

    /// The labels in turn.
    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.wire[..];
        std::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(len.into())?;
            rest = after;
            (len > 0).then_some(label)
        })
    }
}

/// Whether a label of possible length has only what [`DomainName`] admits.
fn check_label(label: &[u8]) -> Result<(), ParseDomainError> {
    let admitted = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if label.is_empty() {
        Err(ParseDomainError::EmptyLabel)
    } else if label.len() > MAX_LABEL_LEN {
        Err(ParseDomainError::LongLabel)
    } else if !label.iter().all(admitted) {
        Err(ParseDomainError::BadCharacter)
    } else if label.starts_with(b"-") || label.ends_with(b"-") {
        Err(ParseDomainError::BadHyphen)
    } else {
        Ok(())
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, label) in self.labels().enumerate() {
            let dot = if nth == 0 { "" } else { "." };
            write!(f, "{dot}{}", label.escape_ascii())?;
        }
        Ok(())
    }
}

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseDomainError {
    /// Nothing between two dots, before the first, or at all.
    EmptyLabel,
    /// A label of more than 63 bytes.
    LongLabel,
    /// More than 253 bytes.
    LongName,
    /// Something but ASCII letters, digits, hyphens and underscores.
    BadCharacter,
    /// A label that starts or ends with a hyphen.
    BadHyphen,
}

impl fmt::Display for ParseDomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a domain name: ")?;
        f.write_str(match self {
            Self::EmptyLabel => "between dots there must be something",
            Self::LongLabel => "more than 63 bytes between dots",
            Self::LongName => "more than 253 bytes",
            Self::BadCharacter => {
                "only letters, digits, hyphens and underscores are allowed (write others as xn--…)"
            }
            Self::BadHyphen => "a hyphen beside a dot or at an end",
        })
    }
}

impl std::error::Error for ParseDomainError {}

impl FromStr for DomainName {
    type Err = ParseDomainError;

    /// Reads `example.net`; one dot may follow.
    fn from_str(text: &str) -> Result<Self, ParseDomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            check_label(label.as_bytes())?;
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.to_ascii_lowercase().as_bytes());
        }
        wire.push(0);
        if wire.len() > MAX_NAME_LEN {
            return Err(ParseDomainError::LongName);
        }
        Ok(Self { wire: wire.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire() {
        let name: DomainName = "Lab.Example.NET.".parse().unwrap();
        assert_eq!(name.wire(), b"\x03lab\x07example\x03net\x00");
        assert_eq!(name.to_string(), "lab.example.net");
        assert_eq!("lab.example.net".parse(), Ok(name.clone()));
        assert_eq!(DomainName::parse(b"\x03LAB\x07example\x03net\x00\x01"), Ok((name, &[1][..])));
        assert_eq!("_tcp.x-1".parse::<DomainName>().unwrap().wire(), b"\x04_tcp\x03x-1\x00");
    }

    #[test]
    fn texts_that_are_no_names() {
        let refusal = |text: &str| text.parse::<DomainName>().err();
        for empty in ["", ".", "a..b", ".a", "a.."] {
            assert_eq!(refusal(empty), Some(ParseDomainError::EmptyLabel), "{empty:?}");
        }
        for bad in ["a b", "ä.example", "a\0", "*.example"] {
            assert_eq!(refusal(bad), Some(ParseDomainError::BadCharacter), "{bad:?}");
        }
        assert_eq!(refusal("-a.b"), Some(ParseDomainError::BadHyphen));
        assert_eq!(refusal("b.a-"), Some(ParseDomainError::BadHyphen));
        assert_eq!(refusal(&"a".repeat(63)), None);
        assert_eq!(refusal(&"a".repeat(64)), Some(ParseDomainError::LongLabel));
        // 127 labels of one letter are 253 characters with their dots, and 255 bytes on the wire.
        assert_eq!(refusal(&["a"; 127].join(".")), None);
        assert_eq!(refusal(&["a"; 128].join(".")), Some(ParseDomainError::LongName));
    }

    #[test]
    fn bytes_that_are_no_names() {
        let refusal = |bytes: &[u8]| DomainName::parse(bytes).err();
        assert_eq!(refusal(b""), Some(Error::Truncated));
        assert_eq!(refusal(b"\x01a"), Some(Error::Truncated));
        assert_eq!(refusal(b"\x02a"), Some(Error::Truncated));
        assert_eq!(refusal(b"\x00"), Some(Error::BadField));
        assert_eq!(refusal(b"\x01.\x00"), Some(Error::BadField));
        assert_eq!(refusal(b"\x01a\xc0\x00"), Some(Error::BadLength), "a pointer");
        assert_eq!(refusal(&[&b"\x01a".repeat(127)[..], b"\0"].concat()), None);
        assert_eq!(refusal(&[&b"\x01a".repeat(128)[..], b"\0"].concat()), Some(Error::BadLength));
    }
}
