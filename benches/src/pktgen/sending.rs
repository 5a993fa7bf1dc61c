//! Sending as fast as it goes, beside a bare AF_XDP sender and trafgen, in turns.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use lab::wait_until;
use pktgen::build::FrameBuilder;
use pktgen::profile::Profile;
use pktgen::send::{self, Options};
use port::{BATCH, BindRequest, ChunkSize, Queue, RING_SIZE, Umem};
use sys::netdev::Netdev;

use super::{LEN, Link, PROFILE};
use crate::Error;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// How long a turn is measured.
const TURN: Duration = Duration::from_millis(700);
/// How long a contender may take to send its first frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// The figures, and the packets a second that we reach.
pub(super) fn figures(link: &Link, core: CoreId) -> Result<(Vec<Figure>, f64), Error> {
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..REPETITIONS {
        for (rates, turn) in rates.iter_mut().zip([ours, bare, trafgen]) {
            rates.push(turn(link, core)?);
        }
    }
    let over = |other: usize| median(rates[0].iter().zip(&rates[other]).map(|(own, other)| own / other));
    let (over_bare, over_trafgen) = (over(1), over(2));
    let [own, bare, trafgen] = rates.map(median);
    let figures = vec![
        Figure::new("sent over veth, one core: pktgen", own / 1e6, "Mpps"),
        Figure::new("sent over veth, one core: bare AF_XDP sender", bare / 1e6, "Mpps"),
        Figure::new("sent over veth, one core: trafgen", trafgen / 1e6, "Mpps"),
        Figure::new("pktgen over the bare sender", over_bare, "×").goal(Goal::AtLeast(0.9)),
        Figure::new("pktgen over trafgen", over_trafgen, "×").goal(Goal::AtLeast(1.5)),
    ];
    Ok((figures, own))
}

/// Frames that arrive in a second, once they do.
fn arrivals(link: &Link) -> Result<f64, Error> {
    let before = link.arrived()?;
    let start = Instant::now();
    while link.arrived()? == before {
        if start.elapsed() > PATIENCE {
            return Err("nothing arrives: the contender does not send".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    // The first frames have the caches and the contender's start to pay for.
    thread::sleep(TURN / 7);
    let (start, before) = (Instant::now(), link.arrived()?);
    thread::sleep(TURN);
    let arrived = link.arrived()? - before;
    Ok(arrived as f64 / start.elapsed().as_secs_f64())
}

fn ours(link: &Link, core: CoreId) -> Result<f64, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let profile = Profile::parse("bench", PROFILE)?;
    let sending = link.near.enter(|| send::start(&profile, &options(core), &stop))??;
    let rate = arrivals(link);
    stop.store(true, Ordering::Relaxed);
    sending.join();
    rate
}

/// One queue, on this core.
pub(super) fn options(core: CoreId) -> Options {
    Options {
        interface: Link::INTERFACE.into(),
        queues: vec![0],
        cores: vec![core.id],
        bind: BindRequest::Auto,
    }
}

/// What any AF_XDP sender must do, and nothing else: frames are in memory already, and go out again and again.
fn bare(link: &Link, core: CoreId) -> Result<f64, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = link.near.enter(|| {
        thread::spawn(move || -> Result<(), String> {
            core_affinity::set_for_current(core);
            bare_loop(&stopped).map_err(|error| error.to_string())
        })
    })?;
    let rate = arrivals(link);
    stop.store(true, Ordering::Relaxed);
    thread.join().map_err(|_| "the bare sender panicked")??;
    rate
}

fn bare_loop(stop: &AtomicBool) -> Result<(), Error> {
    let (umem, mut pool) = Umem::new(RING_SIZE, ChunkSize::Small)?;
    let profile = Profile::parse("bench", PROFILE)?;
    let mut builder = FrameBuilder::new(&profile.streams[0]);
    let mut frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    for (frame, sequence) in frames.iter_mut().zip(0..) {
        assert!(frame.reset(LEN), "a chunk holds more");
        builder.write(sequence, 0, umem.data_mut(frame));
    }
    frames.drain(..).for_each(|frame| pool.put(frame));
    let ifindex = Netdev::named(Link::INTERFACE)?.index;
    let queue = Queue { interface: Link::INTERFACE, ifindex, queue: 0 };
    let mut port = port::open(&umem, &[queue], BindRequest::Auto)?.ports.pop().ok_or("no port")?;
    while !stop.load(Ordering::Relaxed) {
        port.reclaim(&mut pool);
        for _ in 0..BATCH {
            let Some(mut frame) = pool.take() else { break };
            assert!(frame.reset(LEN), "a chunk holds more");
            assert!(port.transmit(frame).is_ok(), "the ring has a place for each frame");
        }
        port.flush();
    }
    Ok(())
}

/// Debian's, over AF_PACKET's transmit ring, past the queueing discipline; one byte of each of the four fields counts.
fn trafgen(link: &Link, core: CoreId) -> Result<f64, Error> {
    let profile = Profile::parse("bench", PROFILE)?;
    let mut frame = [0; LEN];
    FrameBuilder::new(&profile.streams[0]).write(0, 0, &mut frame);
    // The low bytes of outer source port, VNI, inner source address and inner source port.
    let counting = [35, 48, 79, 85];
    // Each of its processes takes a core, from the first on; only that of this core has a packet to send.
    let mut config = format!("cpu({}): {{ ", core.id);
    for (at, byte) in frame.iter().enumerate() {
        if counting.contains(&at) {
            write!(config, "dinc(0,255), ")?;
        } else {
            write!(config, "{byte:#04x}, ")?;
        }
    }
    config += "}";
    let processes = (core.id + 1).to_string();
    // Killed, it leaves its children sending: they end with a PID namespace of their own.
    let arguments = ["--pid", "--fork", "--kill-child", "trafgen", "-o", Link::INTERFACE];
    let arguments = [&arguments[..], &["-P", &processes, "-C", &config]].concat();
    let process = link.near.spawn("unshare", &arguments)?;
    let rate = arrivals(link);
    drop(process);
    let mut before = None;
    wait_until("the end of trafgen", PATIENCE, || {
        let now = link.arrived().ok();
        std::mem::replace(&mut before, now) == now
    })?;
    rate
}
