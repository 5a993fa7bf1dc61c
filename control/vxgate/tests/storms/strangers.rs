//! A station that takes on ten thousand MAC addresses.

use lab::{Family, ROUTER_MAC};
use wire::MacAddr;

use crate::effect::Effect;
use crate::frames::{Flow, ethernet};
use crate::stage::{Attack, From, RATE, Stage};

/// How many unknown MAC addresses an overlay lets in at a time, and for how many seconds.
const VISITORS: u64 = 64;
const VISIT: u64 = 5;

pub(crate) fn play(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    // A reply to what nobody asked: the outer host does not answer.
    let packet = Flow::new(hostile.ipv4(), stage.scene.outer_address(Family::V4)).icmp(0, 0, &[0; 12]);
    let frame = |number: u16| {
        let [a, b] = number.to_be_bytes();
        hostile.tunnel.frame(&ethernet(ROUTER_MAC, MacAddr([0x02, 0, 0x77, 0, a, b]), &packet))
    };
    let frames = (0..10_000).map(frame).collect();
    let effect = stage.play(Attack {
        name: "10 000 unknown MACs",
        from: From::Endpoint(Family::V4),
        rate: RATE,
        frames,
    });
    let rounds = 1 + effect.elapsed.as_secs() / VISIT;
    effect
        .limited("stranger")
        .counted("stranger_admitted", 1..=VISITORS * rounds)
        .counted_all(&["stranger_refused"])
        .counted_none(&["learned"])
}
