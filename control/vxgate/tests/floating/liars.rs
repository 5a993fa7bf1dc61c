//! Who speaks with the key of a member that is dead: whatever it says, the others go on as they are.

use std::net::IpAddr;

use cluster::message::{Health, Message, Report, Serves};
use cluster::session::frame::{Kind, MAX_FRAME};
use cluster::session::hello::{Hello, Section};
use cluster::session::judge::Refusal;
use lab::{Cluster, ClusterOptions, Failure, Family, Topology, wait_until};
use serde_json::Value;

use crate::liar::Liar;
use crate::{ALL, GATEWAYS, PATIENCE, SHARDS, events, start, wait_even};

/// Whose key it is. Its id is higher than that of gateway 1, to which it is said.
const LIAR: u8 = 2;

fn connect(cluster: &Cluster) -> Liar {
    let of = &cluster.member(LIAR).credentials;
    let to: IpAddr = Topology::UNDERLAY.address(Family::V4, Topology::GATEWAY);
    Liar::connect(&cluster.member(LIAR).namespace, [&of.key, &of.certificate], to)
}

/// What gateway 1 has told of the liar, in the order in which it happened.
fn told(cluster: &Cluster, event: &str) -> Vec<String> {
    let of_liar = |row: &&Value| row["event"] == event && row["gateway"] == LIAR;
    let events = events(cluster, Topology::GATEWAY);
    events.iter().filter(of_liar).map(|row| row["detail"].as_str().unwrap().to_owned()).collect()
}

/// Does this until gateway 1 has told one event more, in words of which these are some.
fn provoke<T>(cluster: &Cluster, event: &str, words: &str, deed: impl FnOnce() -> T) -> T {
    let before = told(cluster, event).len();
    let done = deed();
    wait_until(&format!("{event}: {words:?}"), PATIENCE, || {
        let told = told(cluster, event);
        let is_told = told[before..].iter().any(|detail| detail.contains(words));
        if is_told { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
    done
}

/// A hello that is not as it should be, which both ends say.
fn refused_hello(cluster: &Cluster, words: &str, change: impl FnOnce(&mut Hello)) {
    provoke(cluster, "cluster-refused", words, || {
        let mut liar = connect(cluster);
        let mut hello = liar.equal(LIAR.into());
        change(&mut hello);
        liar.say(Kind::Hello, &hello.encode()).unwrap();
        let (kind, body) = liar.hear().unwrap();
        assert_eq!(kind, Kind::Refused);
        assert!(matches!(Refusal::decode(&body), Refusal::Theirs { .. }));
        assert!(liar.hear().is_err(), "closed");
    });
}

/// A session, and what ends it.
fn ended(cluster: &Cluster, words: &str, lie: impl FnOnce(&mut Liar)) {
    provoke(cluster, "cluster-down", words, || {
        let mut liar = connect(cluster);
        liar.establish(LIAR.into());
        lie(&mut liar);
        while liar.hear().is_ok() {}
    });
}

#[test]
fn who_lies_with_the_key_of_a_dead_gateway_moves_nothing() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 0, ..ClusterOptions::default() };
    let mut cluster = start(options);
    let before = wait_even(&cluster, &ALL);
    cluster.gateway(LIAR).fail(Failure::Killed).unwrap();
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != LIAR).collect();
    let during = wait_even(&cluster, &rest);
    let moves = |number: u8| {
        events(&cluster, number).iter().filter(|event| event["event"] == "cluster-moved").count()
    };
    let moved: Vec<usize> = rest.iter().map(|&number| moves(number)).collect();

    // It never becomes a session.
    refused_hello(&cluster, "the versions 9 to 9", |hello| hello.versions = 9..=9);
    refused_hello(&cluster, "it is of cluster 4242", |hello| hello.cluster = 4242);
    refused_hello(&cluster, "says that it is 3", |hello| hello.id = 3);
    refused_hello(&cluster, "settings differ: mode", |hello| {
        hello.sections.get_mut(&Section::MODE).unwrap()[0] ^= 1;
    });
    let too_long = [&(MAX_FRAME as u32 + 1).to_be_bytes()[..], &[Kind::Hello as u8]].concat();
    for bytes in [&too_long[..], &[0; 4], &[0, 0, 0, 1, 77], &[0, 0, 0, 1, Kind::Hello as u8]] {
        let mut liar = connect(&cluster);
        liar.hear_kind(Kind::Hello);
        liar.say_bytes(bytes).unwrap();
        while liar.hear().is_ok() {}
    }

    // It is one, and ends.
    ended(&cluster, "a frame of 65537 bytes", |liar| liar.say_bytes(&too_long).unwrap());
    ended(&cluster, "Hello in a session", |liar| liar.say(Kind::Hello, &[]).unwrap());
    ended(&cluster, "it closed the connection", |liar| {
        // In the middle of a frame.
        liar.say_bytes(&[0, 0, 1, 0, Kind::Message as u8, 7]).unwrap();
        liar.close();
    });
    ended(&cluster, "it was silent", |_| {});

    // It is one, and says that it is well and serves everything.
    let report = Report { joined: true, leaving: false, weight: u16::MAX, health: Health::default() };
    let words = vec![u64::MAX; usize::from(SHARDS).div_ceil(64)];
    let serves = |number, place| {
        let [words, held, announced] = [(); 3].map(|()| words.clone());
        Message::Serves(Serves { number, place, words, held, announced })
    };
    let unasked = Message::Applied { number: 4711 };
    let lies = [unasked, Message::Report(report), serves(1, u32::MAX), serves(2, 0)];
    let before_lies = told(&cluster, "cluster-bad-message").len();
    ended(&cluster, "it was silent", |liar| {
        liar.say(Kind::Message, &[0xff; 100]).unwrap();
        for lie in &lies {
            liar.say(Kind::Message, &lie.encode()).unwrap();
        }
        let last = Message::Applied { number: 2 };
        while Message::decode(&liar.hear_kind(Kind::Message)).unwrap() != last {}
    });
    assert_eq!(
        told(&cluster, "cluster-bad-message").len(),
        before_lies + 2,
        "garbage, and what nobody asked"
    );

    assert_eq!(wait_even(&cluster, &rest), during);
    assert_eq!(rest.iter().map(|&number| moves(number)).collect::<Vec<_>>(), moved);

    // And then it itself is there again.
    cluster.gateway(LIAR).mend().unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);
}
