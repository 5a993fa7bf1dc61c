//! Building frames in memory.

use std::hint::black_box;

use pktgen::build::FrameBuilder;
use pktgen::profile::{Profile, Ready};
use port::{BATCH, Batch, ChunkSize, Umem};

use super::PROFILE;
use crate::Error;
use crate::clock::processor_time;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// Batches that are measured at once.
const TURN: u64 = 32_768;

/// Millions of frames a second.
pub(super) fn figures() -> Result<Vec<Figure>, Error> {
    let ipv6 = Ready::named("ipv6-in-ipv6").ok_or("it is not there any more")?;
    let cases = [
        ("building 64 B in VXLAN, 4 fields", Profile::parse("bench", PROFILE)?, Some(Goal::AtLeast(25.0))),
        ("building 82 B of IPv6 in VXLAN over IPv6, all checksums", ipv6.profile()?, None),
    ];
    let mut figures = Vec::new();
    for (name, profile, goal) in cases {
        let mut builder = FrameBuilder::new(&profile.streams[0]);
        let (umem, mut pool) = Umem::new(BATCH as u32, ChunkSize::Small)?;
        let mut batch: Batch = std::iter::from_fn(|| pool.take()).collect();
        let mut sequence = 0;
        let mut turn = || {
            let start = processor_time();
            for _ in 0..TURN {
                for frame in &mut batch {
                    // As a sender does it.
                    let fits = frame.reset(builder.max_len());
                    assert!(fits, "a chunk holds more");
                    let len = builder.write(sequence, sequence, umem.data_mut(frame));
                    frame.truncate(len);
                    sequence += 1;
                }
                black_box(&mut batch);
            }
            (TURN * BATCH as u64) as f64 / (processor_time() - start).as_secs_f64() / 1e6
        };
        turn();
        figures.push(Figure::new(name, median((0..REPETITIONS).map(|_| turn())), "Mpps").goal(goal));
    }
    Ok(figures)
}
