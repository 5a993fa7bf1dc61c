//! Senders over ports in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use port::memory::Wire;
use port::{FramePool, Port, RING_SIZE, Umem, memory};

use super::pace::{MAX_LAG, Pace};
use super::replay::{Replay, Timing};
use super::sender::{Progress, Sender};
use super::source::Streams;
use super::{Ended, Sent};
use crate::clock;
use crate::pcap::{self, Capture};
use crate::profile::{Limit, Profile, Rate};
use crate::stamp::Stamp;

const TWO: &str = r#"
[[stream]]
name = "small"
weight = 3
size = 64
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv4 = { src = "10.0.0.1-10.0.0.9", dst = "10.0.1.1" }
udp = {}

[[stream]]
name = "large"
size = 1514
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv6 = { src = "fd00::1", dst = "fd00::2" }
udp = {}
"#;

fn profile() -> Profile {
    Profile::parse("two", TWO).unwrap()
}

fn port() -> (Port, FramePool, Wire) {
    let (umem, pool) = Umem::new(RING_SIZE, super::start::chunk_size(1514)).unwrap();
    let (port, wire) = memory::port(&umem).unwrap();
    (port, pool, wire)
}

/// Sends to a wire that takes everything; what was sent, and the frames that came.
fn send(rate: Rate, limit: Limit, stop_after: Option<usize>) -> (Sent, Vec<Vec<u8>>) {
    let (port, pool, mut wire) = port();
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let profile = profile();
    let sender = Sender::new(port, pool, Streams::new(&profile, 0), profile.streams.len(), rate);
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let mut frames = Vec::new();
            loop {
                // Looked at first: what is sent before it is set is then taken below.
                let is_last = done.load(Ordering::Acquire);
                frames.extend(std::iter::from_fn(|| wire.take()));
                if stop_after.is_some_and(|count| frames.len() >= count) {
                    stop.store(true, Ordering::Relaxed);
                }
                if is_last {
                    return frames;
                }
                std::thread::yield_now();
            }
        });
        let start = clock::now();
        let sent = sender.run(Pace::new(rate, start), start, limit, &stop, &Progress::default());
        done.store(true, Ordering::Release);
        (sent, taker.join().unwrap())
    })
}

fn check(sent: &Sent, frames: &[Vec<u8>]) {
    assert_eq!(sent.packets, frames.len() as u64);
    assert_eq!(sent.bytes, frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
    assert_eq!(sent.gaps.histogram().len(), sent.packets - 1);
    let mut next = [0_u32; 2];
    for frame in frames {
        let stamp = Stamp::read(frame).unwrap();
        let next = &mut next[usize::from(stamp.stream)];
        assert_eq!(stamp.sequence, *next);
        assert!(stamp.time >= sent.first.unwrap() && stamp.time <= sent.last.unwrap());
        *next += 1;
    }
    assert_eq!(next.map(u64::from), [sent.streams[0].packets, sent.streams[1].packets]);
}

#[test]
fn a_count_is_sent_exactly_in_order_and_by_weight() {
    for rate in [Rate::Max, Rate::Packets(1e6), Rate::Burst(100, Duration::from_micros(50))] {
        let (sent, frames) = send(rate, Limit { count: Some(10_000), duration: None }, None);
        check(&sent, &frames);
        assert_eq!((sent.packets, sent.late, &sent.ended), (10_000, 0, &Ended::Complete));
        assert_eq!([sent.streams[0].packets, sent.streams[1].packets], [7500, 2500]);
    }
}

#[test]
fn a_paced_sender_never_runs_ahead() {
    let rate = 1000.0;
    let (sent, frames) = send(Rate::Packets(rate), Limit { count: Some(200), duration: None }, None);
    check(&sent, &frames);
    for (number, frame) in frames.iter().enumerate() {
        let time = Stamp::read(frame).unwrap().time - sent.first.unwrap();
        // The course begins before the first packet, but never by more than is made up for.
        let due = (number as f64 * 1e9 / rate) as u64;
        assert!(time + MAX_LAG >= due, "packet {number}, due at {due}, at {time}");
    }
}

#[test]
fn it_stops_when_it_is_told_to() {
    let (sent, frames) = send(Rate::Max, Limit::default(), Some(5000));
    check(&sent, &frames);
    assert!(sent.packets >= 5000 && sent.ended == Ended::Stopped);
}

#[test]
fn it_ends_in_time() {
    let limit = Limit { duration: Some(Duration::from_millis(20)), count: None };
    let (sent, frames) = send(Rate::Packets(10_000.0), limit, None);
    check(&sent, &frames);
    assert!(sent.packets <= 200 && sent.ended == Ended::Complete, "{}", sent.packets);
}

#[test]
fn what_the_port_never_took_was_not_sent() {
    let (port, pool, mut wire) = port();
    let profile = profile();
    let sender = Sender::new(port, pool, Streams::new(&profile, 0), 2, Rate::Max);
    // The wire takes nothing, and the ring fills up.
    let start = clock::now();
    let stop = AtomicBool::new(false);
    let sent = sender.run(Pace::new(Rate::Max, start), start, Limit::default(), &stop, &Progress::default());
    assert_eq!((sent.packets, sent.bytes, sent.first, sent.last), (0, 0, None, None));
    assert!(sent.streams.iter().all(|stream| stream.packets == 0 && stream.bytes == 0));
    assert!(
        matches!(&sent.ended, Ended::Failed(message) if message.contains("no more frames")),
        "{:?}",
        sent.ended
    );
    assert!(wire.take().is_some(), "they lie in the ring");
}

#[test]
fn a_replay_that_is_held_up_says_how_late_it_was() {
    let mut file = Vec::new();
    pcap::write_header(&mut file).unwrap();
    // More than the ring holds, all due at once, of which the last is as short as a capture may have it.
    let count = u64::from(RING_SIZE) + 100;
    for time in 0..count {
        let len = if time + 1 == count { 42 } else { 60 };
        pcap::write_packet(&mut file, time, &vec![7; len]).unwrap();
    }
    let capture = Arc::new(Capture::read(&file[..]).unwrap());
    let (port, pool, mut wire) = port();
    let sender = Sender::new(port, pool, Replay::new(capture, Timing::Scaled(1.0), 1), 1, Rate::Max);
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Takes nothing for 5 ms.
            let until = loop {
                match wire.take() {
                    Some(_) => break clock::now() + 5_000_000,
                    None => std::thread::yield_now(),
                }
            };
            while clock::now() < until {
                std::thread::yield_now();
            }
            while !done.load(Ordering::Acquire) {
                while wire.take().is_some() {}
                std::thread::yield_now();
            }
        });
        let start = clock::now();
        let stop = AtomicBool::new(false);
        let sent =
            sender.run(Pace::new(Rate::Max, start), start, Limit::default(), &stop, &Progress::default());
        done.store(true, Ordering::Release);
        sent
    });
    assert_eq!((sent.packets, sent.padding, &sent.ended), (count, 18, &Ended::Complete));
    assert!(sent.late > 4_900_000, "{}", sent.late);
}
