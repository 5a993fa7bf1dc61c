//! What the fuzz target does, in reach of ordinary tests: bytes of a peer whose certificate is right, and nothing else
//! must be.

use super::frame::{self, Kind};
use super::hello::{Hello, Section, VERSIONS};
use super::judge::{Refusal, judge};

/// Reads a stream of frames, and judges what is in them.
///
/// # Panics
/// If what was read is written otherwise, or a hello that is no equal of ours is taken.
pub fn peer_session(data: &[u8]) {
    let own = Hello {
        versions: VERSIONS,
        cluster: 1,
        id: 1,
        incarnation: 1,
        weight: 100,
        sections: [(Section::MODE, [1; 32])].into(),
    };
    let mut rest = data;
    while let Ok(Some(((kind, body), taken))) = frame::decode(rest) {
        let again = [&frame::header(kind, body.len())[..], body].concat();
        assert_eq!(again, rest[..taken]);
        match kind {
            Kind::Hello => {
                if let Ok(hello) = Hello::decode(body) {
                    let encoded = hello.encode();
                    assert_eq!(Hello::decode(&encoded), Ok(hello));
                    // Sections may come in any order.
                    assert!(encoded.len() <= body.len());
                }
                if let Ok(Ok(peer)) = judge(&own, 2, body) {
                    assert_eq!((peer.cluster, peer.id, &peer.sections), (1, 2, &own.sections));
                }
            }
            Kind::Refused => {
                let refusal = Refusal::decode(body);
                assert!(!refusal.to_string().contains(char::is_control));
                assert!(refusal.encode(1).len() <= 9 + 512);
            }
            Kind::Open | Kind::Ping | Kind::Message => {}
        }
        rest = &rest[taken..];
    }
}
