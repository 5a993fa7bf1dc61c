//! What the latency of sender, kernel and receiver is without a device between them.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use port::Polling;

use super::{Look, RunError, RunOptions, run_between};
use crate::profile::{Limit, Profile, Rate};
use crate::receive::{MeterOptions, ReceiverOptions};
use crate::report::Calibration;
use crate::send;

/// Packets a second, unless it is asked for otherwise: so few that each is alone on its way.
pub const CALIBRATION_RATE: f64 = 1000.0;
/// How long, unless it is asked for otherwise.
pub const CALIBRATION_TIME: Duration = Duration::from_secs(3);

/// How to calibrate: two ports that are wired to each other, of the kind that is to be used.
#[derive(Clone, Debug)]
pub struct CalibrationOptions {
    /// Where frames go out.
    pub send: send::Options,
    /// Where they come in.
    pub receive: ReceiverOptions,
    /// Packets a second.
    pub rate: f64,
    /// How long.
    pub time: Duration,
}

impl CalibrationOptions {
    /// From `from` to `to`, the sender and the receiver each on a core of its own, if there are two.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let (first, last) = (cores.first().map(|core| core.id), cores.last().map(|core| core.id));
        let mut receive = ReceiverOptions::new(to, MeterOptions::default());
        if first != last {
            receive.core = first;
        } else {
            // It would take the only core from the sender.
            receive.polling = Polling::Adaptive;
        }
        Self {
            send: send::Options {
                interface: from.into(),
                queues: vec![0],
                cores: last.into_iter().collect(),
                bind: port::BindRequest::Auto,
            },
            receive,
            rate: CALIBRATION_RATE,
            time: CALIBRATION_TIME,
        }
    }
}

/// What is sent: the smallest frames, to nobody in particular.
const PROFILE: &str = r#"
[[stream]]
name = "calibration"
size = 64
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv4 = { src = "198.18.0.1", dst = "198.18.0.2" }
udp = { dst = 9 }
"#;

/// Sends small frames, each alone, from one port to the other, and measures how long they take: stamped before the
/// kernel is told to send them, received when they are taken from the ring. `place` is as in [`run_between`].
///
/// # Errors
/// As [`run`](super::run).
pub fn calibrate(
    options: CalibrationOptions,
    stop: &AtomicBool,
    look: Look<'_>,
    place: &dyn Fn(&mut (dyn FnMut() + Send)),
) -> Result<Calibration, RunError> {
    let mut profile = Profile::parse("calibration", PROFILE).expect("a test sees to it");
    let rate = options.rate;
    profile.rate = Rate::Packets(rate);
    profile.limit = Limit { duration: Some(options.time), count: None };
    let path = format!("{} → {}", options.send.interface, options.receive.attach.interface);
    let options = RunOptions {
        send: options.send,
        receive: options.receive,
        settle: Duration::from_millis(500),
        calibration: None,
    };
    let report = run_between(&profile, options, stop, look, place)?;
    Ok(Calibration {
        path,
        rate,
        setup: report.setup,
        ended: report.ended,
        lost: report.received.lost,
        latency: report.received.latency,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_one() {
        let profile = Profile::parse("calibration", PROFILE).unwrap();
        assert_eq!(profile.streams[0].len(0), 60);
    }
}
