//! What the fuzz target does, in reach of ordinary tests: a peer of the cluster that may say anything.

use std::time::{Duration, Instant};

use crate::assign::{GatewayId, ShardCount, Weight};
use crate::bindings::{self, MAX_BATCH, WINDOW};
use crate::membership::Reflectors;
use crate::message::{MAX_BYTES, Message};
use crate::{Heard, Member, Mode, Segment, Settings};

/// Gives a gateway the messages of a peer, each behind two bytes of its length. The first byte's lowest bit says which mode.
///
/// # Panics
/// If what is read is written otherwise, or there is no end of what the gateway wants.
pub fn peer_message(data: &[u8]) {
    let Some((&mode, mut rest)) = data.split_first() else { return };
    let (Some(own), Some(peer), Ok(shards)) = (GatewayId::new(1), GatewayId::new(2), ShardCount::new(100))
    else {
        return;
    };
    let mode = if mode & 1 == 0 { Mode::Announce((1..=100).collect()) } else { Mode::Floating(shards) };
    let mut now = Instant::now();
    let mut member = Member::new(Settings::new(own, 1, mode), now);
    member.configure(peer, true, now);
    member.set_reflectors(Reflectors::Complete, now);
    member.heard(peer, Segment::Underlay, Heard::Up, now);
    member.session_up(peer, 1, Weight::default(), now);
    let mut bindings = Bindings::default();
    while let [a, b, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*a, *b])).min(body.len());
        let (body, behind) = body.split_at(length);
        rest = behind;
        if let Ok(message) = Message::decode(body) {
            let encoded = message.encode();
            assert!(encoded.len() <= MAX_BYTES);
            assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
            let of_bindings = matches!(message, Message::Bindings(_) | Message::BindingsApplied(_));
            assert_eq!(Message::is_about_bindings(body), of_bindings);
            assert_eq!(Message::is_about_traffic(body), matches!(message, Message::Busiest(_)));
            if bindings.hear(&message) {
                member.bindings_complete(peer, 1, now);
            }
            member.handle_message(peer, message, now);
        }
        now += Duration::from_millis(100);
        settle(&mut member, peer, now);
    }
    for _ in 0..4 {
        member.session_down(peer, now);
        member.heard(peer, Segment::Underlay, Heard::Down, now);
        now += Duration::from_secs(100);
        settle(&mut member, peer, now);
    }
    // Whatever the peer said before, without it we serve all.
    assert_eq!(member.owned(), 100);
}

fn settle(member: &mut Member, peer: GatewayId, now: Instant) {
    member.handle_timeout(now);
    let moves = std::iter::from_fn(|| member.poll_move(now)).take(1000).count();
    assert!(moves < 1000);
    let messages = std::iter::from_fn(|| member.poll_message(peer)).take(10).count();
    assert!(messages < 10);
    while member.poll().is_some() {}
}

/// Both ends of bindings with the peer.
#[derive(Default)]
struct Bindings {
    sender: bindings::Sender,
    receiver: bindings::Receiver,
    /// How many bindings came that nothing has been said to.
    unanswered: usize,
}

impl Bindings {
    /// Whether all is there now.
    fn hear(&mut self, message: &Message) -> bool {
        match message {
            Message::Bindings(batch) => match self.receiver.batch(batch) {
                Ok(complete) => {
                    self.unanswered += batch.bindings.len();
                    assert!(self.unanswered <= WINDOW as usize);
                    // Now and then it takes more.
                    if batch.first & 1 == 1 {
                        let _ = self.receiver.applied();
                        self.unanswered = 0;
                    }
                    complete
                }
                Err(_) => {
                    // A new session, in which bindings are listened to.
                    *self = Self::default();
                    let _ = self.receiver.applied();
                    false
                }
            },
            Message::BindingsApplied(applied) => {
                if self.sender.applied(*applied).is_ok()
                    && let Some(room) = self.sender.room()
                {
                    assert!(room <= MAX_BATCH);
                    let binding = bindings::Binding { vni: 1, ip: [10, 0, 0, 1].into(), mac: [2; 6], age: 0 };
                    assert!(self.sender.batch(vec![binding; room], true).is_some());
                }
                false
            }
            _ => false,
        }
    }
}
