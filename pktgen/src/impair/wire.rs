//! A thread that impairs what passes between two netdevs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use port::xdp::Wanted;

use super::{Bump, Deeds, Rules, WAITING};
use crate::attach::{AttachError, AttachOptions, AttachedNetdev, PortWatch, attach};
use crate::clock;

/// Nanoseconds without a frame after which a packet that is held back goes on: nobody seems to come to overtake it.
const QUIET: u64 = 100_000_000;

/// Two netdevs joined by a wire that is impaired one way. Dropping it cuts the wire.
pub struct ImpairedWire {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    deeds: Arc<Mutex<Deeds>>,
    watches: [PortWatch; 2],
}

impl ImpairedWire {
    /// Joins two netdevs of the calling thread's network namespace: all frames that come in at one go out at the other.
    /// Those from the first to the second are impaired. Both must take frames of one length.
    ///
    /// # Errors
    /// [`AttachError`]; nothing is left attached then.
    pub fn start(from: AttachOptions, to: AttachOptions, rules: Rules) -> Result<Self, AttachError> {
        let both = [from, to].map(|options| AttachOptions { wanted: Wanted::Everything, ..options });
        let attached = attach(&both, WAITING as u32)?;
        let [from, to] = <[AttachedNetdev; 2]>::try_from(attached.netdevs)
            .unwrap_or_else(|_| unreachable!("two were asked for"));
        let bump = Bump::new(attached.umem, attached.pool, [from.ports, to.ports], rules);
        let (stop, deeds) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Deeds::default())));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&deeds));
        let thread =
            thread::Builder::new().name("impair".into()).spawn(move || work(bump, &stopped, &told))?;
        Ok(Self { thread: Some(thread), stop, deeds, watches: [from.watch, to.watch] })
    }

    /// What was done so far. Packets that are held back count as reordered once they are let go: for want of others to
    /// overtake them after a tenth of a second.
    pub fn deeds(&self) -> Deeds {
        *self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The netdevs: whether they are there, and what they lost.
    pub fn watches(&self) -> &[PortWatch; 2] {
        &self.watches
    }

    /// Cuts the wire: all that was done, and what was still on its way.
    pub fn stop(mut self) -> Deeds {
        self.end();
        self.deeds()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for ImpairedWire {
    fn drop(&mut self) {
        self.end();
    }
}

fn work(mut bump: Bump, stop: &AtomicBool, deeds: &Mutex<Deeds>) {
    let mut last = clock::now();
    while !stop.load(Ordering::Relaxed) {
        if bump.round(clock::now) {
            last = clock::now();
        } else {
            if clock::now() - last > QUIET {
                bump.flush();
            }
            thread::yield_now();
        }
        *deeds.lock().unwrap_or_else(PoisonError::into_inner) = bump.deeds();
    }
    bump.cut(clock::now());
    *deeds.lock().unwrap_or_else(PoisonError::into_inner) = bump.deeds();
}
