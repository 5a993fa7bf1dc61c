//! Storms and lies from hostile stations and from the outer network, sent raw to a running gateway: bounded, counted by
//! name, and unnoticed in other overlays. Needs root.
//!
//! `cargo test --release -p vxgate --test storms -- --nocapture` prints what pings in other overlays met before and
//! during each.

mod dhcp;
mod effect;
mod errors;
mod frames;
mod impostors;
mod neighbours;
mod nonsense;
mod scans;
mod stage;
mod strangers;

use effect::Effect;
use stage::Stage;

/// What the gateway's memory may grow by, through all storms: tables for what is learned and waits, and the copies of
/// packets in queues to the slow path that are touched for the first time.
const MOST_MEMORY: u64 = 16 << 20;

/// Storms in their order: those that leave questions open, which the slow path goes on asking, come last.
const STORMS: [fn(&mut Stage) -> Effect; 16] = [
    neighbours::arp_storm,
    neighbours::discovery_storm,
    neighbours::claims_to_be_another,
    neighbours::absurd_solicitations,
    neighbours::many_addresses,
    impostors::play,
    nonsense::from_the_uplink,
    nonsense::from_a_station,
    dhcp::lying_clients,
    dhcp::false_servers,
    strangers::play,
    errors::from_a_station,
    errors::from_the_uplink,
    errors::echo,
    scans::ipv4,
    scans::ipv6,
];

#[test]
fn storms_are_bounded_and_unnoticed_by_others() {
    let mut stage = Stage::new();
    let (configured, memory) = (stage.configured(), stage.memory());
    let effects: Vec<Effect> = STORMS.iter().map(|storm| storm(&mut stage)).collect();
    let grown = stage.memory().saturating_sub(memory);
    println!("{}\nmemory: {} kB more than the {} before", effect::table(&effects), grown >> 10, memory >> 10);

    let wrong: Vec<&str> = effects.iter().flat_map(|effect| &effect.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(grown <= MOST_MEMORY, "{grown} bytes");
    assert_eq!(stage.configured(), configured, "a station believed something");
}
