//! The in-memory twin of an AF_XDP socket: a [`Port`] whose rings end in this process, and the [`Wire`] at those ends,
//! which does what the kernel does in copy mode. Loops that move frames are tested with it without a kernel.

use std::io;
use std::sync::Arc;

use crate::port::Port;
use crate::ring::{self, Consumer, Descriptor, Producer};
use crate::socket::{RING_SIZE, Rings};
use crate::umem::{Frame, HEADROOM, MAX_FRAME, Umem};

/// The kernel's side of an in-memory port.
pub struct Wire {
    umem: Arc<Umem>,
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<Descriptor>,
    tx: Consumer<Descriptor>,
}

/// Makes a port over `umem` and the wire that it is on.
///
/// # Errors
/// When there is no memory for the rings.
pub fn port(umem: &Arc<Umem>) -> io::Result<(Port, Wire)> {
    let (fill, fill_end) = ring::in_memory(RING_SIZE)?;
    let (completion_end, completion) = ring::in_memory(RING_SIZE)?;
    let (rx_end, rx) = ring::in_memory(RING_SIZE)?;
    let (tx, tx_end) = ring::in_memory(RING_SIZE)?;
    let port = Port::new(Arc::clone(umem), Rings { fill, completion, rx, tx }, None);
    let wire =
        Wire { umem: Arc::clone(umem), fill: fill_end, completion: completion_end, rx: rx_end, tx: tx_end };
    Ok((port, wire))
}

impl Wire {
    /// Lets a frame arrive at the port. False if it was lost: too long, or the port gave no frame to receive into.
    pub fn deliver(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > MAX_FRAME {
            return false;
        }
        let delivered = self.deliver_unreleased(bytes);
        self.fill.release();
        delivered
    }

    /// As the kernel does it: the port sees the frame before the place that it had in the fill ring is free.
    fn deliver_unreleased(&mut self, bytes: &[u8]) -> bool {
        let Some(chunk) = self.fill.pop() else { return false };
        // SAFETY: the port gave this chunk up through the fill ring, and it was taken from there once.
        let mut frame = unsafe { self.umem.reclaim(chunk, 0) };
        let fits = frame.reset(bytes.len());
        assert!(fits, "checked above");
        self.umem.data_mut(&mut frame).copy_from_slice(bytes);
        let (address, len) = Frame::into_address(frame);
        debug_assert_eq!(address % HEADROOM as u64, 0);
        let pushed = self.rx.push(Descriptor { address, len, options: 0 });
        assert!(pushed, "a port posts no more than its RX ring holds");
        self.rx.publish();
        true
    }

    /// The next frame that the port sent.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let descriptor = self.tx.pop()?;
        self.tx.release();
        // SAFETY: the port gave this frame up through the TX ring, and it was taken from there once; it goes back below.
        let frame = unsafe { self.umem.reclaim(descriptor.address, descriptor.len) };
        let bytes = self.umem.data(&frame).to_vec();
        // The kernel completes with the address as sent, start moved and all.
        let (address, _) = frame.into_address();
        let pushed = self.completion.push(address);
        assert!(pushed, "a port has no more in flight than its completion ring holds");
        self.completion.publish();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::frames_for;
    use crate::umem::Batch;
    use crate::umem::ChunkSize;

    fn reflect(port: &mut Port, pool: &mut crate::umem::FramePool) -> usize {
        let mut batch = Batch::new();
        port.reclaim(pool);
        port.refill(pool);
        let received = port.receive(&mut batch);
        for frame in batch.drain(..) {
            if let Err(frame) = port.transmit(frame) {
                pool.put(frame);
            }
        }
        port.flush();
        received
    }

    #[test]
    fn ten_thousand_frames_there_and_back() {
        let (umem, mut pool) = Umem::new(frames_for(1), ChunkSize::Small).unwrap();
        let (mut port, mut wire) = port(&umem).unwrap();
        port.refill(&mut pool);
        for number in 0..10_000_u32 {
            assert!(wire.deliver(&number.to_be_bytes()));
            assert_eq!(reflect(&mut port, &mut pool), 1);
            assert_eq!(wire.take().unwrap(), number.to_be_bytes());
        }
        port.reclaim(&mut pool);
        port.refill(&mut pool);
        assert_eq!(pool.available() as u32, frames_for(1) - RING_SIZE, "no frame was lost or doubled");
    }

    #[test]
    fn what_is_received_may_still_have_its_place_in_the_fill_ring() {
        let (umem, mut pool) = Umem::new(frames_for(1), ChunkSize::Small).unwrap();
        let (mut port, mut wire) = port(&umem).unwrap();
        port.refill(&mut pool);
        assert!(wire.deliver_unreleased(&[1; 60]));
        let mut batch = Batch::new();
        assert_eq!(port.receive(&mut batch), 1);
        let before = pool.available();
        port.refill(&mut pool);
        assert_eq!(pool.available(), before, "there is no room yet");
        wire.fill.release();
        port.refill(&mut pool);
        assert_eq!(pool.available(), before - 1);
    }

    #[test]
    fn a_stalled_transmit_side_starves_no_receive_side() {
        let (umem, mut pool) = Umem::new(frames_for(2), ChunkSize::Small).unwrap();
        let (mut stalled, mut stalled_wire) = port(&umem).unwrap();
        let (mut healthy, mut wire) = port(&umem).unwrap();
        for round in 0..3 * RING_SIZE {
            for port in [&mut stalled, &mut healthy] {
                port.reclaim(&mut pool);
                port.refill(&mut pool);
            }
            assert!(wire.deliver(&[1; 60]), "no frame to receive into, round {round}");
            assert!(stalled_wire.deliver(&[2; 60]), "no frame to receive into, round {round}");
            let mut batch = Batch::new();
            healthy.receive(&mut batch);
            stalled.receive(&mut batch);
            for frame in batch.drain(..) {
                // Both want out at the port whose wire takes nothing.
                if let Err(frame) = stalled.transmit(frame) {
                    pool.put(frame);
                }
            }
            stalled.flush();
        }
        assert!(stalled.has_unsent());
    }

    #[test]
    fn completions_carry_the_moved_start() {
        let (umem, mut pool) = Umem::new(frames_for(1), ChunkSize::Small).unwrap();
        let (mut port, mut wire) = port(&umem).unwrap();
        for moved in [50, 70] {
            port.refill(&mut pool);
            assert!(wire.deliver(&[7; 100]));
            let mut batch = Batch::new();
            port.receive(&mut batch);
            let mut frame = batch.pop().unwrap();
            assert!(frame.push(moved));
            umem.data_mut(&mut frame)[..moved].fill(9);
            port.transmit(frame).unwrap();
            port.flush();
            let sent = wire.take().unwrap();
            assert_eq!((sent.len(), sent[0], sent[moved]), (100 + moved, 9, 7));
            let before = pool.available();
            port.reclaim(&mut pool);
            assert_eq!(pool.available(), before + 1);
        }
    }
}
