//! Who is no gateway, and gateways that behave like none.

use cluster::session::frame::Kind;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, TlsStream};

use super::super::greet::{self, Candidate, greet};
use super::super::shared::{QUEUED_BYTES, QUEUED_MESSAGES};
use super::trusting::Trusting;
use super::*;

async fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from.ip(), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A connection with the certificate of `gateway`, up to the session, made by hand.
async fn by_hand(gateway: &Gateway) -> Candidate<TlsStream<TcpStream>> {
    let tls = Tls::new(&gateway.keys.identity(), &gateway.peers).unwrap();
    let to = &gateway.peers[0];
    let stream = connect(gateway.address, to.address).await;
    let name = ServerName::IpAddress(to.address.ip().into());
    let stream = tls.connectors[0].connect(name, stream).await.unwrap();
    greet(TlsStream::from(stream), &gateway.own, to.id, || None).await.unwrap()
}

/// A client without a certificate that takes any, of these versions.
fn client(versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"vxgate/1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Tries again and again until a stranger is told of for a reason that will do: not each one is told of.
async fn provoke<T>(running: &mut Running, will_do: impl Fn(&Why) -> bool, attempt: impl AsyncFn() -> T) {
    let mut seen = Vec::new();
    let told = async {
        loop {
            let _kept = attempt().await;
            let stranger = running.wait("a stranger", |event| match event {
                Event::Stranger { why, .. } => Some(why.clone()),
                _ => None,
            });
            match timeout(Duration::from_millis(200), stranger).await {
                Ok(why) if will_do(&why) => return,
                Ok(why) => seen.push(why),
                Err(_) => {}
            }
        }
    };
    let outcome = timeout(PATIENCE / 2, told).await;
    assert!(outcome.is_ok(), "other strangers were told of: {seen:?}");
}

#[test]
fn who_does_not_speak_tls_1_3_with_a_pinned_certificate_gets_nothing() {
    run(async {
        let (one, two) = Gateway::pair();
        let mut a = one.start();
        let elsewhere = address();
        let name = || ServerName::IpAddress(one.address.ip().into());

        let garbage = async || {
            let mut stream = connect(elsewhere, one.address).await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
            stream
        };
        provoke(&mut a, |why| matches!(why, Why::Tls(text) if text.contains("corrupt")), garbage).await;

        let old = async || {
            let stream = connect(elsewhere, one.address).await;
            client(&[&TLS12]).connect(name(), stream).await.unwrap_err();
        };
        provoke(&mut a, |why| matches!(why, Why::Tls(text) if text.contains("Tls12NotOffered")), old).await;

        // It takes no certificate but one of an authority, and has none.
        let nobody = async || {
            let stream = connect(elsewhere, one.address).await;
            client(&[&TLS13]).connect(name(), stream).await.unwrap_err();
        };
        provoke(&mut a, |why| matches!(why, Why::Tls(text) if text.contains("alert")), nobody).await;

        // A certificate, but nobody's.
        let unknown = Keys::new();
        let pin = unknown.pin();
        let tls = Tls::new(&unknown.identity(), &two.peers).unwrap();
        let unknown = async || {
            let stream = connect(elsewhere, one.address).await;
            let mut stream = tls.connectors[0].connect(name(), stream).await.unwrap();
            let read = stream.read(&mut [0; 64]).await;
            assert!(read.is_err(), "{read:?}");
        };
        provoke(&mut a, |why| *why == Why::Unpinned(Unpinned::Unknown(pin)), unknown).await;

        let mut b = two.start();
        b.up(1).await;
        a.up(2).await;
    });
}

/// The right server, but a client without a certificate.
#[test]
fn a_client_must_have_a_certificate() {
    run(async {
        let (one, _) = Gateway::pair();
        let mut a = one.start();
        let elsewhere = address();
        let trusting = Trusting(Arc::new(rustls_graviola::default_provider()));
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"vxgate/1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let attempt = async || {
            let stream = connect(elsewhere, one.address).await;
            let name = ServerName::IpAddress(one.address.ip().into());
            let mut stream = connector.connect(name, stream).await.unwrap();
            let read = stream.read(&mut [0; 64]).await;
            assert!(read.is_err(), "{read:?}");
        };
        provoke(&mut a, |why| matches!(why, Why::Tls(text) if text.contains("no certificates")), attempt)
            .await;
    });
}

#[test]
fn strangers_that_say_nothing_are_cut_off_and_starve_nobody() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.timers.handshake = Duration::from_secs(2);
        // It can be connected to alone.
        one.peers[0].address.set_port(1);
        let mut a = one.start();
        let elsewhere = address();
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(connect(elsewhere, one.address).await);
        }
        let mut b = two.start();
        b.up(1).await;
        a.up(2).await;
        a.stranger(|why| *why == Why::Slow).await;
        // All of them are closed, those that were never looked at first.
        for stream in &mut silent {
            let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("closed");
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
    });
}

#[test]
fn a_peer_that_sends_no_frames_is_down() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.peers[0].address.set_port(1);
        let mut a = one.start();
        let bad: [&[u8]; 4] =
            [&[0, 1, 0, 1, 5], &[0, 0, 0, 0], &[0, 0, 0, 1, 77], &[0, 0, 0, 1, Kind::Hello as u8]];
        for bytes in bad {
            let mut link = by_hand(&two).await;
            a.up(2).await;
            link.stream.write_all(bytes).await.unwrap();
            link.stream.flush().await.unwrap();
            let why = a.down(2).await;
            assert!(matches!(why, Why::Protocol(_)), "{why}");
        }
    });
}

#[test]
fn a_peer_that_is_silent_is_down() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.peers[0].address.set_port(1);
        one.timers.hold = Duration::from_millis(200);
        let mut a = one.start();
        let link = by_hand(&two).await;
        a.up(2).await;
        assert_eq!(a.down(2).await, Why::Silent(0));
        drop(link);
    });
}

#[test]
fn a_peer_that_reads_nothing_costs_no_memory() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.peers[0].address.set_port(1);
        let mut a = one.start();
        let mut link = by_hand(&two).await;
        a.up(2).await;
        let message = Bytes::from(vec![7; MAX_MESSAGE]);
        // What the kernel takes is gone; then it fills up here.
        let mut sent = 0_usize;
        let full = timeout(PATIENCE, async {
            loop {
                match a.handle.send(2, message.clone()) {
                    Ok(()) => sent += 1,
                    Err(error) if a.handle.statuses()[0].queued + MAX_MESSAGE > QUEUED_BYTES => {
                        // Again, when the kernel has had its time to take some.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        if a.handle.send(2, message.clone()).is_err() {
                            return error;
                        }
                        sent += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(full.await.unwrap(), SendError::Full);
        assert!(a.handle.statuses()[0].queued <= QUEUED_BYTES);
        // It reads: all that was taken is there, and more is taken.
        let mut read = 0;
        while read < sent {
            read += match greet::take(&mut link.buffer, |(kind, body)| (kind, body.len())).unwrap() {
                Some((Kind::Message, len)) => {
                    assert_eq!(len, MAX_MESSAGE);
                    1
                }
                Some(_) => 0,
                None => {
                    greet::fill(&mut link.stream, &mut link.buffer).await.unwrap();
                    0
                }
            };
        }
        a.handle.send(2, message).unwrap();
        // Many small ones are bounded too.
        let small = Bytes::from_static(b"x");
        let many = (0..10 * QUEUED_MESSAGES).take_while(|_| a.handle.send(2, small.clone()).is_ok()).count();
        assert!(many <= QUEUED_MESSAGES, "{many}");
    });
}

/// A gateway's certificate is public; who has it and not the key gets nothing, on either side.
#[test]
fn a_certificate_without_its_key_is_worth_nothing() {
    run(async {
        let (one, two) = Gateway::pair();
        let (mut a, thief) = (one.start(), Keys::new());
        let stolen = Identity { key: thief.identity().key, ..two.keys.identity() };
        // The library does not lend itself to it.
        Tls::new(&stolen, &two.peers).err().expect("no key of the certificate");
        let signer = rustls_graviola::default_provider().key_provider.load_private_key(stolen.key).unwrap();
        let stolen = Arc::new(rustls::sign::CertifiedKey::new(vec![stolen.certificate], signer));
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
        config.alpn_protocols = vec![b"vxgate/1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let elsewhere = address();
        let attempt = async || {
            let stream = connect(elsewhere, one.address).await;
            let name = ServerName::IpAddress(one.address.ip().into());
            let mut stream = connector.connect(name, stream).await.unwrap();
            let read = stream.read(&mut [0; 64]).await;
            assert!(read.is_err(), "{read:?}");
        };
        provoke(&mut a, |why| matches!(why, Why::Tls(text) if text.contains("BadSignature")), attempt).await;
    });
}
