//! Why there is no session.

use std::io;

use cluster::session::frame::FrameError;
use cluster::session::hello::HelloError;
use cluster::session::judge::Refusal;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use thiserror::Error;

use super::tls::Unpinned;

/// Why a session ended, or did not come about.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Why {
    /// The network.
    #[error("{0}")]
    Io(String),
    /// The other end closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// Nothing came for the hold time.
    #[error("it was silent for {0} s")]
    Silent(u64),
    /// A connection that became no session.
    #[error("it did not finish the handshake in time")]
    Slow,
    /// A new incarnation is there.
    #[error("it has restarted")]
    Restarted,
    /// This gateway does not believe in it any longer.
    #[error("this gateway gave it up: the peer is dead to BFD, or this one did not run for a while")]
    GivenUp,
    /// The gateway with the lower id uses another connection.
    #[error("it uses another connection")]
    Replaced,
    /// What came is no frame or not the one that was due.
    #[error("it does not speak this protocol: {0}")]
    Protocol(String),
    /// TLS found no agreement.
    #[error("TLS: {0}")]
    Tls(String),
    /// Its certificate is not that of the peer.
    #[error("{0}")]
    Unpinned(Unpinned),
    /// Its certificate is right and ours is not, in its eyes.
    #[error(
        "it does not accept the certificate of this gateway: set this gateway's pin there to what `vxgate show cluster` has \
         here"
    )]
    NotAccepted,
    /// One of the two does not want the other.
    #[error("{0}")]
    Refused(Refusal),
}

impl Why {
    /// Whether it lasts until somebody changes a configuration.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unpinned(_) | Self::NotAccepted | Self::Refused(_))
    }

    /// Whether another gateway with the peer's key and id was refused.
    pub(super) fn is_copy(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Copy { .. }))
    }
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FrameError> for Why {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<HelloError> for Why {
    fn from(error: HelloError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::InvalidCertificate(CertificateError::Other(other))) => {
                match other.0.downcast_ref::<Unpinned>() {
                    Some(unpinned) => Self::Unpinned(*unpinned),
                    None => Self::Tls(error.to_string()),
                }
            }
            // What the verifier's refusal becomes on the wire.
            Some(TlsError::AlertReceived(AlertDescription::CertificateUnknown)) => Self::NotAccepted,
            Some(tls) => Self::Tls(tls.to_string()),
            None => Self::Io(error.to_string()),
        }
    }
}
