//! Scans: every address of an overlay, though hardly one is there.

use lab::{Family, Scene, Topology};

use crate::effect::Effect;
use crate::frames::{EXPERIMENT, Flow, ethernet};
use crate::stage::{Attack, From, Hostile, RATE, Stage, v4, v6};

/// Addresses of a scan.
const ADDRESSES: u32 = 65_536;

/// Unresolved addresses that the gateway keeps of an overlay.
const UNRESOLVED: usize = 256;

/// Questions for an address until it counts as nobody's (RFC 4861 §10).
const QUESTIONS: u64 = 3;

/// All of 10.1.0.0/16.
pub(crate) fn ipv4(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let base = hostile.site.v4.network().to_bits();
    let from = Topology::UPLINK.address(Family::V4, Scene::NEIGHBOUR);
    let flows =
        (0..ADDRESSES).map(|number| Flow::new(v4(from), std::net::Ipv4Addr::from_bits(base + number)));
    let effect = play(stage, "scan of an IPv4 /16", &hostile, flows);
    // The first and the last address.
    effect.counted_all(&["directed_broadcast"])
}

/// As many of a /64.
pub(crate) fn ipv6(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[1];
    let base = hostile.site.v6.network().to_bits() + (1 << 32);
    let from = Topology::UPLINK.address(Family::V6, Scene::NEIGHBOUR);
    let flows = (0..ADDRESSES)
        .map(|number| Flow::new(v6(from), std::net::Ipv6Addr::from_bits(base + u128::from(number))));
    play(stage, "scan of an IPv6 /64", &hostile, flows)
}

fn play(stage: &mut Stage, name: &'static str, of: &Hostile, flows: impl Iterator<Item = Flow>) -> Effect {
    let (to, from) = (stage.scene.topology.uplink0.mac, stage.scene.neighbour.nic.mac);
    let frames = flows.map(|flow| ethernet(to, from, &flow.packet(EXPERIMENT, &[0; 18]))).collect();
    let effect = stage.play(Attack { name, from: From::Uplink, rate: RATE, frames });
    let unresolved = stage.neighbours(|row| row["vni"] == of.site.vni.value() && row["mac"].is_null());
    let asked = effect.rise("resolve handed over") * QUESTIONS;
    effect
        .check((1..=UNRESOLVED).contains(&unresolved), format_args!("{unresolved} unresolved"))
        .limited("resolve")
        .counted("solicitation_sent", 1..=asked)
        .counted_none(&["learned"])
}
