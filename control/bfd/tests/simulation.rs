//! Two engines over a network that loses, delays, doubles and reorders, and on machines that stop. In virtual time.
//! A case that fails replays from its seed.

mod support;

use bfd::{Cause, Standing, State, Timing};
use support::{MS, Weather, World};

const KEYS: [Option<&[u8]>; 2] = [None, Some(b"between gateways")];

fn gateways() -> [Timing; 2] {
    [Timing::symmetric(10 * MS, 3); 2]
}

#[test]
fn up_at_once_and_up_for_ever() {
    for key in KEYS {
        for seed in 0..20 {
            let mut world = World::new(seed, gateways(), key);
            let took = world.run_until_up();
            assert!(took < 10 * MS, "seed {seed}: {took:?}");
            world.weather.delay = 5 * MS;
            world.run(60_000 * MS);
            for node in &world.nodes {
                let path: Vec<_> = node.changes.iter().map(|change| change.to).collect();
                assert!(matches!(path[..], [State::Up] | [State::Init, State::Up]), "seed {seed}: {path:?}");
                let view = node.engine.session(node.session).unwrap();
                assert_eq!((view.transmit_interval, view.detection_time), (10 * MS, Some(30 * MS)));
                // 7.5 to 10 ms each.
                assert!((6_000..8_100).contains(&view.sent), "{}", view.sent);
                assert_eq!(view.discards.met().count(), 0);
            }
        }
    }
}

#[test]
fn silence_ends_a_session_within_its_detection_time() {
    for key in KEYS {
        for seed in 0..200 {
            let mut world = World::new(seed, gateways(), key);
            world.run_until_up();
            world.run(1_000 * MS + (seed as u32) * MS / 7);
            // One way only: the other end is told.
            world.weather.cut = [true, seed % 2 == 0];
            let cut = world.now;
            world.run(2_000 * MS);
            let change = world.nodes[1].changes.last().unwrap();
            assert_eq!((change.to, change.cause), (State::Down, Cause::Expired), "seed {seed}");
            assert_eq!((change.standing, change.silence), (Standing::Down, Some(30 * MS)));
            let took = change.at - cut;
            assert!(took > 19 * MS && took <= 30 * MS, "seed {seed}: {took:?}");
            let told = world.nodes[0].changes.iter().find(|change| change.from == State::Up).unwrap();
            let expected = if seed % 2 == 0 { Cause::Expired } else { Cause::PeerSaid(State::Down) };
            assert_eq!(told.cause, expected, "seed {seed}");
            // Back.
            world.weather.cut = [false; 2];
            assert!(world.run_until_up() <= 1_100 * MS, "seed {seed}");
        }
    }
}

/// A stopped process finds what came meanwhile in its socket; a stopped machine has lost it.
#[test]
fn who_was_stopped_accuses_nobody() {
    for key in KEYS {
        for keeps_packets in [true, false] {
            for seed in 0..200 {
                let mut world = World::new(seed, gateways(), key);
                world.run_until_up();
                world.run(1_000 * MS + (seed as u32) * MS / 7);
                // All machines stop, as on a host that is paused.
                let before = world.nodes[0].changes.len() + world.nodes[1].changes.len();
                for node in [0, 1] {
                    world.stop(node, 5_000 * MS, keeps_packets);
                }
                world.run(6_000 * MS);
                let after = world.nodes[0].changes.len() + world.nodes[1].changes.len();
                assert_eq!(before, after, "seed {seed}: {:?}", world.nodes.map(|node| node.changes));
                let stolen = world.nodes[0].engine.stolen();
                assert!(stolen.total > 4_980 * MS && stolen.total <= 5_000 * MS, "{stolen:?}");
                assert_eq!((stolen.periods, stolen.longest), (1, stolen.total));
            }
        }
    }
}

#[test]
fn one_that_was_stopped_alone_hears_that_it_was_missed() {
    for seed in 0..200 {
        let mut world = World::new(seed, gateways(), None);
        world.run_until_up();
        world.run(1_000 * MS);
        world.stop(0, 5_000 * MS, true);
        world.run(5_000 * MS);
        world.run_until_up();
        let [stopped, other] = &world.nodes;
        assert!(stopped.changes.iter().all(|change| change.cause != Cause::Expired), "{:?}", stopped.changes);
        assert_eq!(other.changes.iter().filter(|change| change.cause == Cause::Expired).count(), 1);
    }
}

/// A thread that is always a little late still notices.
#[test]
fn small_delays_of_the_caller_do_not_keep_a_dead_peer_alive() {
    let mut world = World::new(1, gateways(), None);
    world.run_until_up();
    world.run(1_000 * MS);
    world.weather.cut = [true, true];
    let cut = world.now;
    while world.nodes[1].state() == State::Up {
        assert!(world.now - cut < 100 * MS, "late by 3 ms each time, it never ends");
        let due = world.nodes[1].engine.deadline().unwrap();
        world.run(due.saturating_duration_since(world.now).saturating_sub(MS / 1000));
        world.stop(1, 3 * MS, true);
        world.run(3 * MS);
    }
    assert!(world.nodes[1].engine.stolen().periods > 0);
}

#[test]
fn any_weather_is_survived() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut timing = || Timing {
            desired_min_tx: random.u32(1..300) * MS,
            required_min_rx: random.u32(1..300) * MS,
            detect_multiplier: random.u8(1..=5),
        };
        let timings = [timing(), timing()];
        let key = KEYS[(seed % 2) as usize];
        let mut world = World::new(seed, timings, key);
        for _ in 0..20 {
            world.weather = Weather {
                lost: random.u32(0..500),
                twice: random.u32(0..500),
                delay: random.u32(0..50) * MS,
                cut: [random.u8(0..8) == 0, random.u8(0..8) == 0],
            };
            let node = random.usize(0..2);
            match random.u8(0..6) {
                0 => world.stop(node, random.u32(0..3_000) * MS, random.bool()),
                1 => world.restart(node, timings[node], key),
                2 | 3 => {
                    let session = world.nodes[node].session;
                    let (now, down) = (world.now, random.bool());
                    world.nodes[node].engine.set_admin_down(session, down, now).unwrap();
                }
                _ => {}
            }
            world.run(random.u32(0..2_000) * MS);
        }
        // The sun shines again.
        world.weather = Weather { delay: MS / 2, ..Weather::default() };
        let now = world.now;
        world.nodes.iter_mut().for_each(|node| node.engine.set_all_admin_down(false, now));
        world.run(20_000 * MS);
        let states = [world.nodes[0].state(), world.nodes[1].state()];
        assert_eq!(states, [State::Up; 2], "seed {seed}, {timings:?}");
        for node in &world.nodes {
            // Each change goes on from the one before.
            for pair in node.changes.windows(2) {
                assert_eq!(pair[0].to, pair[1].from, "seed {seed}");
            }
        }
    }
}
