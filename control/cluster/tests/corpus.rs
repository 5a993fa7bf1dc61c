//! The fuzz targets, without libFuzzer, and what their corpus must have.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::bindings::{Applied, Batch, Binding, MAX_BATCH};
use cluster::message::{
    Health, MAX_BUSIEST, MAX_BYTES, MAX_NAME, MAX_REASONS, MAX_WORDS, Message, MessageError, Reason, Report,
    Serves,
};

fn messages() -> Vec<Message> {
    let serves = |number, place, words: Vec<u64>| {
        Message::Serves(Serves {
            number,
            place,
            held: vec![1; words.len()],
            announced: vec![2; words.len()],
            words,
        })
    };
    let reasons = vec![
        Reason::Worker(3),
        Reason::Underlay,
        Reason::Uplink,
        Reason::Router,
        Reason::Track("a".repeat(MAX_NAME)),
    ];
    let unhealthy = Health { healthy: false, underlay: false, uplink: true, reasons };
    let binding = |ip, mac| Binding { vni: 5, ip, mac, age: 1000 };
    let v4 = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    vec![
        serves(0, 0, vec![u64::MAX, 5]),
        Message::Report(Report { joined: true, weight: 100, ..Report::default() }),
        Message::Report(Report { joined: true, leaving: true, weight: 0, health: unhealthy }),
        serves(1, u32::MAX, vec![u64::MAX]),
        Message::Applied { number: 0 },
        Message::Duplicate { incarnation: 0 },
        Message::Duplicate { incarnation: u64::MAX },
        Message::Bindings(Batch { first: 0, bindings: Vec::new(), complete: false }),
        Message::Bindings(Batch {
            first: 0,
            bindings: vec![binding(v4, [2; 6]), binding(v6, [4; 6])],
            complete: true,
        }),
        Message::Bindings(Batch { first: 2, bindings: vec![binding(v6, [2; 6])], complete: false }),
        Message::BindingsApplied(Applied { next: 0, credit: 64 }),
        Message::BindingsApplied(Applied { next: 64, credit: 64 }),
        Message::Busiest(Vec::new()),
        Message::Busiest(vec![u32::MAX; MAX_BUSIEST]),
    ]
}

/// The messages that a corpus file holds.
fn frame(mode: u8, messages: &[Message]) -> Vec<u8> {
    let bodies = messages.iter().map(Message::encode);
    let framed = bodies.flat_map(|body| [&(body.len() as u16).to_be_bytes()[..], &body].concat());
    std::iter::once(mode).chain(framed).collect()
}

#[test]
fn whatever_a_peer_says_is_survived() {
    replay::fuzz("peer_message", "cluster::fuzz::peer_message", 2000, cluster::fuzz::peer_message);
}

#[test]
fn whatever_comes_of_a_session_is_survived() {
    use cluster::session::fuzz::peer_session;
    replay::fuzz("peer_session", "cluster::session::fuzz::peer_session", 2000, peer_session);
}

/// Also a golden file of what is on the wire: another encoding is another version.
#[test]
fn the_corpus_has_every_message() {
    for mode in [0, 1] {
        let path = replay::package().join(format!("corpus/peer_message/golden-{mode}"));
        assert_eq!(fs::read(&path).unwrap_or_default(), frame(mode, &messages()), "{path:?}");
    }
}

#[test]
fn the_longest_messages_fit_and_longer_ones_are_refused() {
    let serves = |words| {
        Message::Serves(Serves {
            number: u32::MAX,
            place: u32::MAX,
            words: vec![u64::MAX; words],
            held: vec![u64::MAX; words],
            announced: vec![u64::MAX; words],
        })
    };
    assert!(serves(MAX_WORDS).encode().len() <= MAX_BYTES);
    let binding = Binding { vni: u32::MAX, ip: Ipv6Addr::LOCALHOST.into(), mac: [255; 6], age: u32::MAX };
    let batch = |count| {
        Message::Bindings(Batch { first: u64::MAX, bindings: vec![binding.clone(); count], complete: true })
    };
    assert!(batch(MAX_BATCH).encode().len() <= MAX_BYTES);
    let report = |reasons| {
        Message::Report(Report { health: Health { reasons, ..Health::default() }, ..Report::default() })
    };
    for message in [serves(MAX_WORDS), batch(MAX_BATCH), report(vec![Reason::Underlay; MAX_REASONS])] {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
    let name = Reason::Track("a".repeat(MAX_NAME + 1));
    for message in [
        serves(MAX_WORDS + 1),
        batch(MAX_BATCH + 1),
        report(vec![Reason::Underlay; MAX_REASONS + 1]),
        report(vec![name]),
    ] {
        let refused = Message::decode(&message.encode());
        assert!(matches!(refused, Err(MessageError::Length | MessageError::TooLong(_))), "{refused:?}");
    }
    let mut bytes = Message::Applied { number: 1 }.encode();
    bytes.push(0);
    assert_eq!(Message::decode(&bytes), Err(MessageError::Trailing(1)));
    assert_eq!(Message::decode(&[99]), Err(MessageError::Malformed));
    assert_eq!(Message::decode(&[]), Err(MessageError::Malformed));
}
