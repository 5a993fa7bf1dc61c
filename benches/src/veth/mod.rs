//! End to end over veth: vxgate beside the Linux kernel's gateway and a bare AF_XDP reflector.
//!
//! How it is measured, and why so: docs/benchmarks.md.

mod contender;
mod kernel;
mod reflector;
mod stage;
mod traffic;
mod turn;

use std::path::Path;
use std::time::Duration;

use lab::Lab;
use vxgate_bench::frames::{Direction, Shape};
use vxgate_bench::population::Family;

use self::contender::{Contender, Kind};
use self::turn::{Times, measure, prove};
use crate::Error;

/// A try.
pub(crate) fn short(vxgate: &Path) -> Result<(), Error> {
    core_affinity::set_for_current(core_affinity::CoreId { id: stage::OUTSIDE });
    let lab = Lab::new()?;
    let families = [Family::V4, Family::V6];
    let mut contenders = vec![];
    let overlays: u32 = std::env::var("OVERLAYS").map_or(3, |n| n.parse().unwrap());
    for (number, kind) in [Kind::Reflector, Kind::Vxgate, Kind::Kernel].into_iter().enumerate() {
        contenders.push(Contender::new(&lab, number, kind, overlays, &families, vxgate)?);
    }
    let times = Times { warm_up: Duration::from_millis(150), measured: Duration::from_millis(500) };
    for family in families {
        for make in [Shape::smallest, Shape::large] {
            for direction in [Direction::Decapsulate, Direction::Encapsulate] {
                let shape = make(direction, family);
                for contender in &mut contenders {
                    prove(contender, shape)?;
                    for _ in 0..3 {
                        let turn = measure(contender, shape, times)?;
                        println!("{shape} {contender}: {:.3} {:?} {turn:.0?}", turn.mpps(), turn.fault());
                    }
                }
            }
        }
    }
    Ok(())
}
