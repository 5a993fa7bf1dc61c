//! Why bytes are refused.

use std::fmt;

/// Why bytes are not a header of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The bytes end before the header does.
    Truncated,
    /// A length field is smaller than what it must cover, or larger than what is there.
    BadLength,
    /// The version field is that of another protocol.
    BadVersion,
    /// The checksum does not match.
    BadChecksum,
    /// A field has a value that the protocol forbids or this implementation does not speak.
    BadField,
    /// A fragment, where a whole packet is needed.
    Fragment,
    /// More IPv6 extension headers than are followed.
    TooManyExtensions,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated header",
            Self::BadLength => "impossible length field",
            Self::BadVersion => "wrong protocol version",
            Self::BadChecksum => "wrong checksum",
            Self::BadField => "forbidden or unsupported field value",
            Self::Fragment => "fragment instead of a whole packet",
            Self::TooManyExtensions => "too many IPv6 extension headers",
        })
    }
}

impl std::error::Error for Error {}
