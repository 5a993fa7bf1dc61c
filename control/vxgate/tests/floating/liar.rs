//! A peer that says what the test wants: frames of a session over TLS, with the key of a gateway or of nobody.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use cluster::session::frame::{self, Kind};
use cluster::session::hello::Hello;
use lab::Namespace;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::PATIENCE;
use crate::trusting::Trusting;

/// Where gateways listen for each other.
pub(crate) const PORT: u16 = 4795;

/// A connection to a gateway.
pub(crate) struct Liar {
    stream: StreamOwned<ClientConnection, TcpStream>,
    heard: Vec<u8>,
}

impl Liar {
    /// Connects from a namespace, with a key and certificate (PEM). TLS begins with the first word.
    pub(crate) fn connect(from: &Namespace, [key, certificate]: [&Path; 2], to: IpAddr) -> Self {
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"vxgate/1".to_vec()];
        let connection = ClientConnection::new(Arc::new(config), ServerName::IpAddress(to.into())).unwrap();
        Self { stream: StreamOwned::new(connection, dial(from, to)), heard: Vec::new() }
    }

    pub(crate) fn say(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.say_bytes(&[&frame::header(kind, body.len())[..], body].concat())
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says no more, and not that it is so: the connection ends where it is.
    pub(crate) fn close(&mut self) {
        // The gateway may have done so already.
        let _ = self.stream.sock.shutdown(Shutdown::Write);
    }

    /// The next frame.
    ///
    /// # Errors
    /// The gateway has ended the connection, or the handshake.
    pub(crate) fn hear(&mut self) -> io::Result<(Kind, Vec<u8>)> {
        loop {
            if let Some(((kind, body), taken)) = frame::decode(&self.heard).unwrap() {
                let body = body.to_vec();
                self.heard.drain(..taken);
                return Ok((kind, body));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.heard.extend(&piece[..length]),
            }
        }
    }

    /// The next frame that is of this kind.
    pub(crate) fn hear_kind(&mut self, wanted: Kind) -> Vec<u8> {
        loop {
            match self.hear().unwrap() {
                (kind, body) if kind == wanted => return body,
                (Kind::Refused, body) => panic!("{}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    /// What a gateway with this id would say of itself, so that this one likes it: its settings are what it itself has said.
    pub(crate) fn equal(&mut self, id: u16) -> Hello {
        let theirs = Hello::decode(&self.hear_kind(Kind::Hello)).unwrap();
        Hello { id, incarnation: theirs.incarnation + 1, ..theirs }
    }

    /// Has a session come up, as the gateway with this id, which is higher than that of the other end.
    pub(crate) fn establish(&mut self, id: u16) {
        let hello = self.equal(id).encode();
        self.say(Kind::Hello, &hello).unwrap();
        self.say(Kind::Open, &[]).unwrap();
        self.hear_kind(Kind::Open);
    }
}

/// A TCP connection to where a gateway listens.
pub(crate) fn dial(from: &Namespace, to: IpAddr) -> TcpStream {
    let dial = || TcpStream::connect_timeout(&SocketAddr::new(to, PORT), PATIENCE);
    let stream = from.enter(dial).unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
