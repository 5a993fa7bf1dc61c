//! The short way against the general one.

use std::cell::RefCell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::agree;
use crate::api::*;
use crate::pipeline::Context;
use crate::testing::packets::{Udp, vxlan};
use crate::testing::*;
use crate::testing::{multipath, shards};

const STATION: [&str; 2] = ["10.0.1.10", "fd00:0:0:1::10"];
const OTHER_STATION: [&str; 2] = ["10.0.2.10", "fd00:0:0:2::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:ff::5"];

/// Whether the frame went the short way, which did as the general one.
fn goes_short(gateway: &mut Harness, port: PortIndex, bytes: &[u8]) -> bool {
    let worker = &mut gateway.worker;
    let mut frames = [(); 2].map(|()| worker.pool.take().unwrap());
    for frame in &mut frames {
        assert!(frame.reset(bytes.len()));
        worker.umem.data_mut(frame).copy_from_slice(bytes);
    }
    let flows = worker.flows.view();
    let context = Context {
        tables: worker.tables.load(),
        flows: &flows,
        umem: &worker.umem,
        counters: &worker.counters,
    };
    let [mut frame, mut twin] = frames;
    let short = agree(context, port, &mut frame, &mut twin);
    worker.pool.put(frame);
    worker.pool.put(twin);
    short
}

fn gateway(config: Config) -> Harness {
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

/// The gateway in several shapes: with rules, limits, an owner elsewhere, DSCP of its own.
fn gateways() -> Vec<Harness> {
    let with_policy = |change: fn(&mut OverlayPolicy)| {
        let mut config = config();
        for overlay in &mut config.overlays {
            change(Arc::make_mut(&mut overlay.policy));
        }
        config
    };
    let mut elsewhere = config();
    elsewhere.overlays[0].owner = false;
    elsewhere.overlays[0].own_mac = Some(wire::MacAddr([2, 7, 7, 7, 7, 7]));
    elsewhere.stations[0].endpoint = ENDPOINT_V6.parse().unwrap();
    let mut rules = config();
    rules.rules = [Action::Drop, Action::Allow]
        .into_iter()
        .enumerate()
        .map(|(n, action)| Rule {
            action,
            from: Arc::default(),
            to: Arc::default(),
            protocol: None,
            source_ports: None,
            // The frames' own port is the second's.
            destination_ports: Some(4999 + n as u16..=4999 + n as u16),
        })
        .collect();
    let mut stick = config();
    stick.ports[0].role = Role::Both;
    let mut gateways: Vec<Harness> = [
        config(),
        elsewhere,
        rules,
        stick,
        with_policy(|policy| policy.dscp = Dscp::Set(46)),
        with_policy(|policy| policy.egress_limit.packets = Some(1_000_000_000)),
        with_policy(|policy| policy.ingress_limit.packets = Some(1_000_000_000)),
    ]
    .into_iter()
    .map(gateway)
    .collect();
    gateways.push(multipath::gateway());
    gateways.push(shards::gateway());
    gateways
}

/// Frames of every kind that there is a short way for, and some that are nearly that.
fn frames(payload: usize) -> Vec<(PortIndex, Vec<u8>)> {
    let mut frames = Vec::new();
    for family in 0..2 {
        for destination in [OUTSIDE[family], OTHER_STATION[family], "198.18.1.77"] {
            if destination.contains(':') != (family == 1) {
                continue;
            }
            let out = Udp::from_station(STATION[family], destination).payload(payload);
            for endpoint in [ENDPOINT_V4, ENDPOINT_V6] {
                frames.push((UNDERLAY, vxlan(endpoint, 100, &out.frame())));
            }
        }
        let out = Udp::from_station(STATION[family], OUTSIDE[family]).payload(payload).frame();
        for (shard, endpoint) in [ENDPOINT_V4, ENDPOINT_V6].into_iter().enumerate() {
            frames.push((UNDERLAY, shards::vxlan_to_shard(shard, endpoint, 100, &out)));
        }
        for port_mac in [UPLINK_MAC, UNDERLAY_MAC] {
            for station in [STATION[family], OTHER_STATION[family]] {
                let inward =
                    Udp::new((OUTER_ROUTER_MAC, port_mac), OUTSIDE[family], station).payload(payload);
                let port = if port_mac == UPLINK_MAC { UPLINK } else { UNDERLAY };
                frames.push((port, inward.frame()));
            }
        }
    }
    frames
}

/// Makes header checksums right, of an IPv4 packet at `at`.
fn repair(frame: &mut [u8], at: usize) {
    let Some(header) = frame.get_mut(at..at + 20).filter(|header| header[0] == 0x45) else { return };
    header[10..12].fill(0);
    let check = wire::checksum::finish(wire::checksum::ones_sum(header, 0));
    header[10..12].copy_from_slice(&check.to_be_bytes());
}

#[test]
fn any_frame_is_treated_alike_both_ways() {
    let gateways = RefCell::new(gateways());
    let shorts = RefCell::new(0);
    let changes = proptest::collection::vec((0..130_usize, any::<u8>()), 0..4);
    let lengths =
        (0..1600_usize, -40..40_isize).prop_map(|(payload, cut)| (payload % 200 * (payload / 200), cut));
    let cases = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), changes, lengths, any::<bool>());
    let checked = TestRunner::new(ProptestConfig::with_cases(30_000)).run(
        &cases,
        |(gateway, seed, changes, (payload, cut), whole)| {
            let frames = frames(payload);
            let (port, mut frame) = frames[seed.index(frames.len())].clone();
            for (at, byte) in changes {
                let at = at % frame.len();
                frame[at] = byte;
            }
            for at in [14, 64, 84] {
                repair(&mut frame, at);
            }
            if !whole {
                frame.resize(
                    frame.len().saturating_add_signed(cut).min(port::ChunkSize::Small.max_frame()),
                    0xa5,
                );
            }
            frame.truncate(port::ChunkSize::Small.max_frame());
            let mut gateways = gateways.borrow_mut();
            let gateway = gateway.index(gateways.len());
            *shorts.borrow_mut() += u32::from(goes_short(&mut gateways[gateway], port, &frame));
            Ok(())
        },
    );
    checked.unwrap();
    assert!(*shorts.borrow() > 2000, "{shorts:?} of the frames go the short way");
}

#[test]
fn plain_frames_go_the_short_way() {
    for gateway in [Harness::new(), multipath::gateway()] {
        go_the_short_way(gateway);
    }
}

/// In a shard that is owned, too.
#[test]
fn plain_frames_of_a_shard_go_the_short_way() {
    let mut gateway = shards::gateway();
    for family in 0..2 {
        let out = Udp::from_station(STATION[family], OUTSIDE[family]).frame();
        let frame = shards::vxlan_to_shard(0, ENDPOINT_V4, 100, &out);
        assert!(goes_short(&mut gateway, UNDERLAY, &frame));
        assert!(goes_short(&mut gateway, UNDERLAY, &vxlan(ENDPOINT_V4, 100, &out)));
        let frame = shards::vxlan_to_shard(1, ENDPOINT_V4, 100, &out);
        assert!(!goes_short(&mut gateway, UNDERLAY, &frame), "another shard's");
        let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], STATION[family]).frame();
        assert!(goes_short(&mut gateway, UPLINK, &inward));
        let other = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], OTHER_STATION[family]).frame();
        assert!(!goes_short(&mut gateway, UPLINK, &other), "not owned");
    }
}

fn go_the_short_way(mut gateway: Harness) {
    for family in 0..2 {
        let out = Udp::from_station(STATION[family], OUTSIDE[family]);
        assert!(goes_short(&mut gateway, UNDERLAY, &vxlan(ENDPOINT_V4, 100, &out.frame())));
        for station in [STATION[family], OTHER_STATION[family]] {
            let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], station);
            assert!(goes_short(&mut gateway, UPLINK, &inward.frame()));
        }
        let other =
            Udp::from_station(OTHER_STATION[family], OUTSIDE[family]).macs(OTHER_STATION_MAC, ROUTER_MAC);
        assert!(goes_short(&mut gateway, UNDERLAY, &vxlan(ENDPOINT_V6, 200, &other.frame())));
    }
}
