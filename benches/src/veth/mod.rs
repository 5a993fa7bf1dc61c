//! End to end over veth: vxgate beside the Linux kernel's gateway and a bare AF_XDP reflector.
//!
//! How it is measured, and why so: docs/benchmarks.md.

mod contender;
mod kernel;
mod latency;
mod ovs;
mod reflector;
mod results;
mod stage;
mod traffic;
mod turn;

use std::path::Path;
use std::time::Duration;

use lab::Lab;
use serde_json::{Value, json};
use vxgate_bench::frames::{Direction, Shape};
use vxgate_bench::population::Family;

use self::contender::{Contender, Kind};
use self::results::Results;
use self::turn::{Times, measure, prove};
use crate::Error;
use crate::figure::Figure;

/// The core of whoever is measured.
pub(crate) const CORE: usize = stage::INSIDE;

/// How often each contender is measured with each shape.
const REPETITIONS: usize = 5;
const TIMES: Times = Times { warm_up: Duration::from_millis(100), measured: Duration::from_millis(400) };

const V4: &[Family] = &[Family::V4];
const BOTH: &[Family] = &[Family::V4, Family::V6];

/// A contender: what, with how many overlays, and the families that it is measured with.
type Who = (Kind, u32, &'static [Family]);

/// All of them.
const CONTENDERS: [Who; 12] = [
    (Kind::Reflector, 1, BOTH),
    (Kind::Vxgate, 1, BOTH),
    (Kind::VxgateBusy, 1, V4),
    (Kind::Kernel, 1, BOTH),
    (Kind::Ovs, 1, V4),
    (Kind::Vxgate, 100, V4),
    (Kind::Kernel, 100, V4),
    (Kind::Vxgate, 1000, BOTH),
    (Kind::Kernel, 1000, BOTH),
    (Kind::Vxgate, 4000, V4),
    (Kind::Kernel, 4000, V4),
    (Kind::Vxgate, 65_536, BOTH),
];
/// Those of the short variant.
const FEW: [Who; 5] = [
    (Kind::Reflector, 1, BOTH),
    (Kind::VxgateBusy, 1, V4),
    (Kind::Vxgate, 200, BOTH),
    (Kind::Kernel, 1, BOTH),
    (Kind::Kernel, 20, BOTH),
];

/// Measures everything with the binary `vxgate`.
pub(crate) fn figures(vxgate: &Path) -> Result<Vec<Figure>, Error> {
    let lab = Lab::new()?;
    let mut contenders = set_up(&lab, &CONTENDERS, vxgate)?;
    prove_all(&mut contenders)?;
    let mut results = Results::default();
    for repetition in 0..REPETITIONS {
        eprintln!("repetition {} of {REPETITIONS}", repetition + 1);
        for shape in shapes() {
            for contender in contenders.iter_mut().filter(|contender| contender.is_overdriven_with(shape)) {
                let turn = measure(contender, shape, TIMES)?;
                if let Some(fault) = turn.fault() {
                    eprintln!("void: {shape}, {contender}: {fault}");
                }
                results.add(repetition, shape, contender, turn);
            }
        }
    }
    let mut figures = results.figures();
    let rate = |shape| results.rate(shape, (Kind::Vxgate, 1));
    figures.extend(latencies(&mut contenders, REPETITIONS, rate)?);
    Ok(figures)
}

/// Of all that are asked to forward for one overlay, but for Open vSwitch.
fn latencies(
    contenders: &mut [Contender],
    repetitions: usize,
    rate: impl Fn(Shape) -> f64,
) -> Result<Vec<Figure>, Error> {
    let with_one = |contender: &&mut Contender| contender.overlays == 1 && contender.kind != Kind::Ovs;
    let mut chosen: Vec<&mut Contender> = contenders.iter_mut().filter(with_one).collect();
    latency::figures(&mut chosen, repetitions, rate)
}

/// Lets a few contenders prove that they forward every frame rightly, and measures each for a moment: whether all of
/// this works, and no more.
pub(crate) fn short(vxgate: &Path) -> Result<(), Error> {
    let lab = Lab::new()?;
    let mut contenders = set_up(&lab, &FEW, vxgate)?;
    prove_all(&mut contenders)?;
    let moment = Duration::from_millis(50);
    for contender in &mut contenders {
        let shape = Shape::smallest(Direction::Decapsulate, Family::V4);
        let turn = measure(contender, shape, Times { warm_up: moment, measured: moment })?;
        println!("{shape}, {contender}: {:.0} kpps, {}", turn.rate() / 1e3, turn.note());
    }
    for Figure { figure, value, unit, .. } in latencies(&mut contenders, 1, |_| 10_000.0)? {
        println!("{figure}: {value:.1} {unit}");
    }
    Ok(())
}

/// What the figures depend on beside the machine.
pub(crate) fn modes() -> Value {
    json!({
        "repetitions": REPETITIONS,
        "source_and_sink_core": stage::OUTSIDE,
        "turn_ms": TIMES.measured.as_millis(),
        "xdp": "native",
        "bind": "copy",
        "polling": "adaptive, unless it says busy",
        "queues": 1,
        "ovs": ovs::version(),
        "reception": "threaded NAPI, no busy-poll",
    })
}

fn shapes() -> Vec<Shape> {
    let mut shapes = vec![];
    for &family in BOTH {
        for make in [Shape::smallest, Shape::large] {
            shapes.extend([Direction::Decapsulate, Direction::Encapsulate].map(|way| make(way, family)));
        }
    }
    shapes
}

fn set_up(lab: &Lab, list: &[Who], vxgate: &Path) -> Result<Vec<Contender>, Error> {
    if std::thread::available_parallelism()?.get() <= stage::INSIDE {
        return Err("two cores are needed: one for the source and the sink, one for the contender".into());
    }
    let mut contenders = vec![];
    for (number, &(kind, overlays, families)) in list.iter().enumerate() {
        eprintln!("setting up {kind} with {overlays}");
        match Contender::new(lab, number, kind, overlays, families, vxgate) {
            Ok(contender) => contenders.push(contender),
            Err(error) => leave_out(kind, error)?,
        }
    }
    // Not before: what was started would have inherited it.
    match core_affinity::set_for_current(core_affinity::CoreId { id: stage::OUTSIDE }) {
        true => Ok(contenders),
        false => Err("pinning to a core failed".into()),
    }
}

/// Open vSwitch is only reported, and not everywhere to be had. Anybody else must be there.
fn leave_out(kind: Kind, error: Error) -> Result<(), Error> {
    if kind != Kind::Ovs {
        return Err(error);
    }
    eprintln!("{kind} is left out: {error}");
    Ok(())
}

/// Whoever loses or spoils a frame is not measured.
fn prove_all(contenders: &mut Vec<Contender>) -> Result<(), Error> {
    for shape in shapes() {
        let mut place = 0;
        while let Some(contender) = contenders.get_mut(place) {
            if contender.forwards(shape)
                && let Err(error) = prove(contender, shape)
            {
                leave_out(contender.kind, error)?;
                contenders.remove(place);
            } else {
                place += 1;
            }
        }
    }
    eprintln!("every contender forwards every overlay's frame of every shape as it should");
    Ok(())
}
