//! Tests of the table as a whole.

#[cfg(not(loom))]
mod limits;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod model;
#[cfg(not(loom))]
mod stress;

use wire::{MacAddr, Vni};

use super::*;

const SECRET: Secret = Secret::fixed([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
]);

/// A flow all of whose fields follow from `seed`, so that a mixture of two shows.
fn flow(seed: u32) -> Flow {
    let [a, b, c, d] = seed.to_be_bytes();
    Flow {
        vni: Vni::new(seed % Vni::MAX + 1).unwrap(),
        overlay: seed & 0xff_ffff,
        endpoint: seed as u16,
        mac: MacAddr([2, 0, a, b, c, d]),
        mtu: !seed as u16,
    }
}

/// The seed of a flow; panics if it is of none.
fn seed(found: Flow) -> u32 {
    let [_, _, a, b, c, d] = found.mac.0;
    let seed = u32::from_be_bytes([a, b, c, d]);
    assert_eq!(found, flow(seed), "a mixture");
    seed
}
