//! How much one calibration differs from the next: what a latency of a few microseconds can be trusted for.

use std::sync::atomic::AtomicBool;

use core_affinity::CoreId;
use lab::{Lab, VethEnd, VethOptions, veth};
use pktgen::report::Ended;
use pktgen::run::{CalibrationOptions, calibrate};

use crate::Error;
use crate::figure::{Figure, Goal, median};

/// Calibrations in one run; the figure is the largest difference of any two.
const CALIBRATIONS: usize = 5;

/// Of a veth, the sender on one core and the receiver on another.
pub(super) fn figures(sender: CoreId, receiver: CoreId) -> Result<Vec<Figure>, Error> {
    let mut p50s = Vec::new();
    for _ in 0..CALIBRATIONS {
        p50s.push(p50(sender, receiver)?);
    }
    let most = p50s.iter().copied().fold(f64::MIN, f64::max);
    let least = p50s.iter().copied().fold(f64::MAX, f64::min);
    Ok(vec![
        Figure::new("calibration: p50, median of 5", median(p50s), "µs"),
        Figure::new("calibration: p50, largest difference of 5", most - least, "µs").goal(Goal::AtMost(5.0)),
    ])
}

/// Of one calibration on a pair of its own, in microseconds.
fn p50(sender: CoreId, receiver: CoreId) -> Result<f64, Error> {
    let lab = Lab::new()?;
    let (near, far) = (lab.namespace("near")?, lab.namespace("far")?);
    for namespace in [&near, &far] {
        namespace.set("net.ipv6.conf.default.disable_ipv6", "1")?;
    }
    veth(VethEnd::new(&near, "near0"), VethEnd::new(&far, "far0"), VethOptions::default())?;
    let mut options = CalibrationOptions::new("near0", "far0");
    options.send.cores = vec![sender.id];
    options.receive.core = Some(receiver.id);
    options.receive.polling = port::Polling::Busy;
    let calibration = far.enter(|| {
        calibrate(options, &AtomicBool::new(false), &mut |_, _| {}, &|begin| {
            // Fails only without the namespace, and then the run says so.
            let _ = near.enter(begin);
        })
        .map_err(|error| error.to_string())
    })??;
    if let Ended::Failed(why) = calibration.ended {
        return Err(why.into());
    }
    if calibration.lost > 0 {
        return Err(format!("{} packets were lost back to back", calibration.lost).into());
    }
    let latency = calibration.latency.ok_or("nothing came back to back")?;
    Ok(latency.p50.value as f64 / 1e3)
}
