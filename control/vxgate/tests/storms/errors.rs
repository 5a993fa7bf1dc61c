//! Packets that the router has to say something about.

use lab::{Family, Scene, Site, Topology};

use crate::effect::Effect;
use crate::frames::{EXPERIMENT, Flow, ethernet};
use crate::stage::{Attack, From, RATE, Stage};

/// Bytes that make a packet longer than any way out.
const TOO_MUCH: [u8; 1490] = [0; 1490];

/// TTL used up, too long, nowhere to go, and into another overlay.
pub(crate) fn from_a_station(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[0];
    let frames = Family::BOTH.into_iter().flat_map(|family| {
        let outside = Flow::new(hostile.address(family), stage.scene.outer_address(family));
        let nowhere = Flow { to: Site::numbered(99).address(family, 1), ..outside };
        let other = Flow { to: stage.scene.stations[3].address(family), ..outside };
        [
            outside.ttl(1).packet(EXPERIMENT, &[0; 18]),
            outside.packet(EXPERIMENT, &TOO_MUCH),
            nowhere.packet(EXPERIMENT, &[0; 18]),
            other.packet(EXPERIMENT, &[0; 18]),
        ]
    });
    let frames = frames.map(|packet| hostile.route(&packet)).collect();
    let name = "errors provoked by a station";
    let effect = stage.play(Attack { name, from: From::Endpoint(Family::V4), rate: RATE, frames });
    told(effect).counted_all(&["ttl_exceeded", "too_big", "no_route", "between_overlays"])
}

/// TTL used up and too long, to a station that is there.
pub(crate) fn from_the_uplink(stage: &mut Stage) -> Effect {
    let (to, from) = (stage.scene.topology.uplink0.mac, stage.scene.neighbour.nic.mac);
    let station = &stage.scene.stations[1];
    let frames = Family::BOTH.into_iter().flat_map(|family| {
        let sender = Topology::UPLINK.address(family, Scene::NEIGHBOUR);
        let flow = Flow::new(sender, station.address(family));
        [flow.ttl(1).packet(EXPERIMENT, &[0; 18]), flow.packet(EXPERIMENT, &TOO_MUCH[..1440])]
    });
    let frames = frames.map(|packet| ethernet(to, from, &packet)).collect();
    let effect =
        stage.play(Attack { name: "errors provoked from outside", from: From::Uplink, rate: RATE, frames });
    told(effect).counted_all(&["ttl_exceeded", "too_big"])
}

/// Echo requests to the router.
pub(crate) fn echo(stage: &mut Stage) -> Effect {
    let hostile = stage.hostile[1];
    let echo = |family| Flow::new(hostile.address(family), hostile.site.address(family, 1)).echo();
    let frames = Family::BOTH.map(|family| hostile.route(&echo(family))).to_vec();
    let effect =
        stage.play(Attack { name: "echo requests", from: From::Endpoint(Family::V6), rate: RATE, frames });
    let most = effect.rise("host handed over");
    effect.limited("host").counted("echo_answered", 1..=most).counted("slow_path", 1..=most)
}

/// Errors were sent, at most as many as the limits let the slow path know of.
fn told(effect: Effect) -> Effect {
    let most = effect.rise("error handed over");
    effect.limited("error").counted("error_sent", 1..=most).counted("slow_path", 1..=most)
}
