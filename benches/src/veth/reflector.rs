//! The yardstick: what any AF_XDP program must do between two veths, and nothing else. It has the rings, memory, XDP
//! program and loop of a worker of vxgate's, swaps the MAC addresses of each frame and sends it out of the other port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use port::xdp::{Classifier, ClassifierConfig, PortRole};
use port::{
    Batch, BindRequest, ChunkSize, FramePool, Idle, Port, Queue, Umem, Waker, XdpRequest, frames_for, open,
};
use vxgate_bench::population::Family;

use super::stage::{self, INSIDE, Link, Stage, vtep};
use crate::Error;

/// As a worker does.
const SLEEP: Duration = Duration::from_millis(4);

/// A reflector at work.
#[derive(Debug)]
pub(crate) struct Reflector {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The thread's number.
    pub(crate) tid: u32,
    _classifiers: [Classifier; 2],
}

impl Reflector {
    pub(crate) fn start(stage: &Stage) -> Result<Self, Error> {
        let index = |link: &Link| stage::index(&stage.gateway, &link.near);
        let indices = [index(&stage.underlay)?, index(&stage.uplink)?];
        let (classifiers, ports, pool) =
            stage.gateway.enter(|| open_ports(stage, indices).map_err(|error| error.to_string()))??;
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Waker::new()?;
        let (sender, receiver) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: INSIDE });
            let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            if sender.send((pinned, tid)).is_ok() && pinned {
                run(ports, pool, &waker, &stopped);
            }
        });
        let (pinned, tid) = receiver.recv()?;
        if !pinned {
            return Err("pinning to a core failed".into());
        }
        Ok(Self { stop, thread: Some(thread), tid, _classifiers: classifiers })
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It says itself what went wrong.
            let _ = thread.join();
        }
    }
}

type Opened = ([Classifier; 2], Vec<Port>, FramePool);

fn open_ports(stage: &Stage, indices: [u32; 2]) -> Result<Opened, Error> {
    let [underlay, uplink] = indices;
    let queues = [(&stage.underlay, underlay), (&stage.uplink, uplink)].map(|(link, ifindex)| Queue {
        interface: &link.near,
        ifindex,
        queue: 0,
    });
    let (umem, pool) = Umem::new(frames_for(2), ChunkSize::Small)?;
    let opened = open(&umem, &queues, BindRequest::Auto)?;
    let classifier = |role, link: &Link, port: &Port, ifindex| -> Result<Classifier, Error> {
        let blocks: [IpNet; 2] = [
            Ipv4Net::new_assert([10, 0, 0, 0].into(), 8).into(),
            Ipv6Net::new_assert([0xfd00, 0, 0, 0, 0, 0, 0, 0].into(), 16).into(),
        ];
        let mut classifier = Classifier::load(&ClassifierConfig {
            role,
            mac: link.near_mac,
            vteps: vec![vtep(Family::V4), vtep(Family::V6)],
            answered: Vec::new(),
            blocks: blocks.to_vec(),
            queues: 1,
            frame_limit: ChunkSize::Small.max_frame() as u16,
        })?;
        classifier.attach(ifindex, &link.near, XdpRequest::Native)?;
        classifier.set_socket(0, port.socket().ok_or("a port of the kernel's")?)?;
        Ok(classifier)
    };
    let classifiers = [
        classifier(PortRole::Underlay, &stage.underlay, &opened.ports[0], underlay)?,
        classifier(PortRole::Uplink, &stage.uplink, &opened.ports[1], uplink)?,
    ];
    Ok((classifiers, opened.ports, pool))
}

fn run(mut ports: Vec<Port>, mut pool: FramePool, waker: &Waker, stop: &AtomicBool) {
    let mut idle = Idle::default();
    while !stop.load(Ordering::Relaxed) {
        if round(&mut ports, &mut pool) {
            idle.worked();
        } else if idle.is_to_sleep() {
            port::wait(&ports, waker, SLEEP);
        } else {
            std::hint::spin_loop();
        }
    }
}

fn round(ports: &mut [Port], pool: &mut FramePool) -> bool {
    let mut busy = false;
    for number in 0..ports.len() {
        ports[number].reclaim(pool);
        ports[number].refill(pool);
        let mut batch = Batch::new();
        busy |= ports[number].receive(&mut batch) > 0;
        let out = ports.len() - 1 - number;
        for mut frame in batch {
            swap_addresses(ports[number].umem().data_mut(&mut frame));
            if let Err(frame) = ports[out].transmit(frame) {
                pool.put(frame);
            }
        }
    }
    ports.iter_mut().for_each(Port::flush);
    busy
}

fn swap_addresses(frame: &mut [u8]) {
    if let Some((destination, rest)) = frame.split_at_mut_checked(6)
        && let Some((source, _)) = rest.split_at_mut_checked(6)
    {
        destination.swap_with_slice(source);
    }
}
