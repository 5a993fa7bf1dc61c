//! TLS 1.3 with pinned certificates on both sides.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::PeerConfig;
use crate::cluster::keys::{Identity, Pin};

/// What is spoken inside (RFC 7301).
const ALPN: &[u8] = b"vxgate/1";

/// A certificate that is not pinned where it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpinned {
    /// Nobody's, or another gateway's.
    Unknown(Pin),
    /// This gateway's own.
    Own,
    /// No certificate at all.
    Unreadable,
}

impl fmt::Display for Unpinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(pin) => write!(
                f,
                "its certificate has the pin {pin}, and the configuration another: find out who that is, and correct pin if it \
                 is right"
            ),
            Self::Own => f.write_str(
                "it has the key of this gateway: make one for each gateway by `vxgate cluster keygen`, or correct its address",
            ),
            Self::Unreadable => f.write_str("its certificate cannot be read"),
        }
    }
}

impl std::error::Error for Unpinned {}

/// TLS as this gateway does it.
pub(crate) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// For connections to each of the peers, in their order.
    pub(super) connectors: Vec<TlsConnector>,
}

impl Tls {
    pub(crate) fn new(identity: &Identity, peers: &[PeerConfig]) -> Result<Self, Error> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let verifier = |pins| Arc::new(Pinned::new(&provider, identity.pin, pins));
        let chain = || vec![identity.certificate.clone()];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier(peers.iter().map(|peer| peer.pin).collect()))
            // Finds out whether the two belong together.
            .with_single_cert(chain(), identity.key.clone_key())?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let client = |peer: &PeerConfig| {
            let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(verifier(vec![peer.pin]))
                .with_client_auth_cert(chain(), identity.key.clone_key())?;
            client.alpn_protocols = vec![ALPN.to_vec()];
            client.resumption = Resumption::disabled();
            client.enable_sni = false;
            Ok(TlsConnector::from(Arc::new(client)))
        };
        let connectors = peers.iter().map(client).collect::<Result<_, Error>>()?;
        Ok(Self { acceptor: Arc::new(server).into(), connectors })
    }
}

/// The pin of the certificate that the other end has shown.
pub(super) fn peer_pin(connection: &rustls::CommonState) -> Option<Pin> {
    connection.peer_certificates()?.first().and_then(Pin::of)
}

/// Takes certificates whose public key is pinned, and no others. Who they name and for how long they say to be valid does
/// not matter: the pin says who it is, and ends when it is taken out of the configuration. That the other end has the
/// key is proven by its signature over the handshake (CertificateVerify, RFC 8446 §4.4.3), which is checked.
#[derive(Debug)]
struct Pinned {
    own: Pin,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(provider: &CryptoProvider, own: Pin, pins: Vec<Pin>) -> Self {
        Self { own, pins, algorithms: provider.signature_verification_algorithms }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let unpinned = match Pin::of(certificate) {
            Some(pin) if self.pins.contains(&pin) => return Ok(()),
            Some(pin) if pin == self.own => Unpinned::Own,
            Some(pin) => Unpinned::Unknown(pin),
            None => Unpinned::Unreadable,
        };
        Err(CertificateError::Other(OtherError(Arc::new(unpinned))).into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// Nothing but TLS 1.3 is offered or taken.
const NO_TLS12: Error = Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
