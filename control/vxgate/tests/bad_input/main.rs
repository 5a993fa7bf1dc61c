//! Bad input, sent raw to a running gateway: counted by name, nothing where it does not belong, and it goes on.

mod frames;
mod offloads;
mod overlay;
mod stage;
mod underlay;
mod uplink;
mod wires;

use stage::{Case, FAMILIES, Stage};

/// Plays all cases, and fails with all that went wrong.
fn play(stage: &Stage, cases: &[Case]) {
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case.name, stage.play(case).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    stage.check_pings();
}

#[test]
fn from_the_underlay() {
    let stage = Stage::new();
    let cases: Vec<Case> =
        FAMILIES.into_iter().flat_map(|family| underlay::Side::new(&stage, family).cases()).collect();
    play(&stage, &cases);
}

#[test]
fn from_the_uplink() {
    let stage = Stage::new();
    let cases = uplink::cases(&stage);
    play(&stage, &cases);
}
