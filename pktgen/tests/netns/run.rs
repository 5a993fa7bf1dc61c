//! Whole measurements between netdevs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::{Lab, Namespace};
use pktgen::attach::AttachOptions;
use pktgen::impair::{ImpairedWire, Rules, When};
use pktgen::profile::{Limit, Profile, Rate};
use pktgen::receive::{MeterOptions, ReceiverOptions};
use pktgen::report::{Ended, Report};
use pktgen::run::{CalibrationOptions, Look, RunOptions, calibrate, run_between};
use pktgen::send;
use port::{BindRequest, Polling};

use crate::frames::row;

/// Two streams in VXLAN, of IPv4 and IPv6, whose packets are for many overlays in turn.
const PROFILE: &str = r#"
[[stream]]
name = "v4"
size = 64
ethernet = { src = "02:00:00:00:01:0a", dst = "02:00:00:00:00:fe" }
ipv4 = { src = "10.0.0.10", dst = "192.0.2.1" }
udp = {}
[stream.vxlan]
vni = "1-50"
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv4 = { src = "198.18.0.1", dst = "198.18.0.2" }

[[stream]]
name = "v6"
size = 100
ethernet = { src = "02:00:00:00:01:0b", dst = "02:00:00:00:00:fe" }
ipv6 = { src = "fd00::10", dst = "2001:db8::1" }
udp = {}
[stream.vxlan]
vni = "101-150"
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv6 = { src = "2001:db8::2", dst = "2001:db8::3" }
"#;

fn profile(rate: f64, count: u64) -> Profile {
    let mut profile = Profile::parse("test", PROFILE).unwrap();
    profile.rate = Rate::Packets(rate);
    profile.limit = Limit { count: Some(count), duration: None };
    profile
}

fn options() -> RunOptions {
    RunOptions {
        send: send::Options {
            interface: "right".into(),
            queues: vec![0],
            cores: vec![],
            bind: BindRequest::Auto,
        },
        receive: ReceiverOptions {
            polling: Polling::Adaptive,
            slice: Duration::from_millis(50),
            ..ReceiverOptions::new("left", MeterOptions::default())
        },
        settle: Duration::from_secs(5),
        calibration: None,
    }
}

/// Sends from one namespace and receives in another.
fn measure(
    profile: &Profile,
    [from, to]: [&Namespace; 2],
    stop: &AtomicBool,
    mut look: impl FnMut(u64) + Send,
) -> Report {
    let report = to.enter(|| {
        run_between(profile, options(), stop, &mut |progress, _| look(progress.sent), &|begin| {
            from.enter(begin).unwrap();
        })
    });
    report.unwrap().unwrap()
}

#[test]
fn all_that_is_sent_is_received() {
    let lab = Lab::new().unwrap();
    let [from, to] = row(&lab, ["from", "to"]);
    let report = measure(&profile(5000.0, 3000), [&from, &to], &AtomicBool::new(false), |_| {});
    assert_eq!(report.ended, Ended::Complete);
    let sent = report.sent.as_ref().unwrap();
    assert!(sent.dropped.is_some());
    let received = &report.received;
    assert_eq!((sent.packets, received.totals.received, received.lost), (3000, 3000, 0));
    let names: Vec<_> = received.streams.iter().map(|stream| stream.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["v4", "v6"]);
    for stream in &received.streams {
        assert_eq!((stream.sent, stream.counts.received), (Some(1500), 1500), "{stream:?}");
        assert!(stream.latency.is_some());
    }
    assert_eq!(received.overlays.len(), 100);
    assert!(received.overlays.iter().all(|row| row.counts.received == 30 && row.counts.lost == 0));
    assert_eq!((received.totals.misdelivered, received.totals.unchecked), (0, 0));
    let [sender, receiver] =
        [&report.setup.sender, &report.setup.receiver].map(|port| port.as_ref().unwrap());
    assert_eq!((sender.driver.as_str(), sender.bind.as_str(), sender.xdp.as_str()), ("veth", "copy", "none"));
    assert_eq!((receiver.bind.as_str(), receiver.xdp.as_str(), receiver.mtu), ("copy", "native", 1500));
}

#[test]
fn what_a_wire_does_is_what_a_run_reports() {
    let lab = Lab::new().unwrap();
    let [from, middle, to] = row(&lab, ["from", "middle", "to"]);
    let rules = Rules {
        lose: When::Every(50),
        duplicate: When::Every(40),
        corrupt: When::Every(30),
        hold: When::Every(20),
        hold_for: 2,
        ..Rules::default()
    };
    let wire = middle.enter(|| {
        let [left, right] = ["left", "right"].map(AttachOptions::new);
        ImpairedWire::start(left, right, rules)
    });
    let wire = wire.unwrap().unwrap();
    let report = measure(&profile(5000.0, 5000), [&from, &to], &AtomicBool::new(false), |_| {});
    let deeds = wire.stop();
    let received = &report.received;
    assert_eq!((deeds.seen, deeds.lost, deeds.overflow), (5000, 100, 0));
    assert_eq!(received.lost, deeds.lost + deeds.corrupted);
    assert_eq!(received.totals.corrupted, deeds.corrupted);
    assert_eq!(received.totals.duplicates, deeds.duplicated);
    assert_eq!(received.totals.reordered, deeds.reordered);
    let extents: u64 = received.streams.iter().map(|stream| stream.counts.extent_sum).sum();
    assert_eq!(extents, deeds.overtakers);
    let of_overlays: u64 = received.overlays.iter().map(|row| row.counts.lost).sum();
    assert_eq!((of_overlays, received.lost_of_no_overlay), (received.lost, 0));
    let corrupted: u64 = received.overlays.iter().map(|row| row.counts.corrupted).sum();
    assert_eq!(corrupted, deeds.corrupted);
}

#[test]
fn a_run_that_is_stopped_reports_what_was_measured() {
    let lab = Lab::new().unwrap();
    let [from, middle, to] = row(&lab, ["from", "middle", "to"]);
    // When it is stopped some hundred packets are on their way: those are not lost.
    let rules = Rules { delay: Duration::from_millis(200), ..Rules::default() };
    let wire = middle.enter(|| {
        let [left, right] = ["left", "right"].map(AttachOptions::new);
        ImpairedWire::start(left, right, rules)
    });
    let wire = wire.unwrap().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let report = measure(&profile(2000.0, u64::MAX), [&from, &to], &stop, |sent| {
        if sent >= 500 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!(report.ended, Ended::Interrupted);
    let sent = report.sent.unwrap().packets;
    assert!(sent >= 500);
    assert_eq!((report.received.totals.received, report.received.lost), (sent, 0));
    assert_eq!(wire.stop().seen, sent);
}

#[test]
fn a_run_that_is_stopped_while_it_settles_says_so() {
    let lab = Lab::new().unwrap();
    let [from, middle, to] = row(&lab, ["from", "middle", "to"]);
    // Whatever was sent never comes: it settles until it is stopped, or for 5 s.
    let rules = Rules { lose: When::Every(1), ..Rules::default() };
    let wire = middle.enter(|| {
        let [left, right] = ["left", "right"].map(AttachOptions::new);
        ImpairedWire::start(left, right, rules)
    });
    let _wire = wire.unwrap().unwrap();
    let stop = AtomicBool::new(false);
    let report = to.enter(|| {
        let profile = profile(2000.0, 100);
        let look: Look<'_> = &mut |progress, _| stop.store(progress.settling, Ordering::Relaxed);
        run_between(&profile, options(), &stop, look, &|begin| from.enter(begin).unwrap())
    });
    let report = report.unwrap().unwrap();
    assert_eq!((report.ended, report.received.lost), (Ended::Interrupted, 100));
}

#[test]
fn a_netdev_that_dies_in_the_middle_ends_the_run_with_a_report() {
    let lab = Lab::new().unwrap();
    let [from, to] = row(&lab, ["from", "to"]);
    let mut alive = true;
    let report = measure(&profile(2000.0, u64::MAX), [&from, &to], &AtomicBool::new(false), |sent| {
        if alive && sent >= 500 {
            alive = false;
            to.ip("link delete left\n").unwrap();
        }
    });
    let Ended::Failed(why) = &report.ended else { panic!("{:?}", report.ended) };
    assert!(why.contains("ip link"), "{why}");
    let received = report.received.totals.received;
    assert!(received >= 400 && report.sent.unwrap().packets >= received, "{received}");
}

#[test]
fn a_calibration_loses_nothing_and_says_how_it_was_made() {
    let lab = Lab::new().unwrap();
    let [from, to] = row(&lab, ["from", "to"]);
    let mut options = CalibrationOptions::new("right", "left");
    options.time = Duration::from_millis(500);
    options.receive.polling = Polling::Adaptive;
    let calibration = to.enter(|| {
        calibrate(options, &AtomicBool::new(false), &mut |_, _| {}, &|begin| from.enter(begin).unwrap())
    });
    let calibration = calibration.unwrap().unwrap();
    let latency = calibration.latency.unwrap();
    assert!(latency.packets > 300 && calibration.lost == 0, "{latency:?}");
    assert_eq!(calibration.path, "right → left");
    assert_eq!(calibration.setup.receiver.unwrap().driver, "veth");
}
