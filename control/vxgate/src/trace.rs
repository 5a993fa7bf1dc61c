//! `vxgate trace`: the ways of packets through the running gateway, step by step.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::{Trace, TraceForm};
use crate::observe::{self, End, Observe, ObserveError, Story, Until};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Traces until it has enough or is told to end.
pub(crate) fn trace(arguments: &Trace) -> Result<(), ObserveError> {
    let Trace { filter, dropped, every, count, seconds, .. } = arguments;
    let wanted = Observe::Trace {
        filter: filter.clone(),
        dropped: *dropped,
        every: *every,
        until: Until { count: *count, seconds: *seconds },
    };
    let (mut begun, mut traced, mut end, mut reader_gone) = (Vec::new(), 0_u64, None, false);
    observe::run(observe::follow(&arguments.socket, wanted, |bytes| {
        begun.extend(bytes);
        while let Some(len) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=len).collect();
            let wrong = |error: serde_json::Error| ObserveError::NoAnswer(error.into());
            let value: Value = serde_json::from_slice(&line).map_err(wrong)?;
            if value.get("lost").is_some() {
                end = Some(serde_json::from_value::<End>(value).map_err(wrong)?);
                continue;
            }
            traced += 1;
            let text = match arguments.output {
                TraceForm::Json => line,
                TraceForm::Text => text(&serde_json::from_value(value).map_err(wrong)?).into_bytes(),
            };
            match io::stdout().write_all(&text) {
                Ok(()) => {}
                // `vxgate trace | head` is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    reader_gone = true;
                    return Ok(false);
                }
                Err(source) => return Err(ObserveError::Output { path: "-".into(), source }),
            }
        }
        Ok(true)
    }))?;
    match end {
        Some(End { lost }) => eprintln!("{traced} packets traced, {lost} lost"),
        None if reader_gone => {}
        None => return Err(ObserveError::Ended),
    }
    Ok(())
}

/// A packet's way for people.
fn text(story: &Story) -> String {
    let Story { time_ns, port, bytes, vni, outcome, counter, description, now, steps } = story;
    let (seconds, fraction) = (time_ns / SECOND % 86_400, time_ns % SECOND);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let vni = vni.map_or(String::new(), |vni| format!(" VNI {vni}"));
    let mut text = format!(
        "{hours:02}:{minutes:02}:{seconds:02}.{fraction:09} {port}{vni} {bytes} bytes: {outcome} {counter}\n"
    );
    for step in steps {
        text += &format!("  {:<12} {}\n", step.step, step.detail);
    }
    text += &format!("  = {counter}: {description}\n");
    if let Some(now) = now {
        text += &format!("  ! now it would be {now}: tables or limits have changed since\n");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::StoryStep;

    #[test]
    fn a_way_is_told_in_lines() {
        let step = |step: &str, detail: &str| StoryStep { step: step.into(), detail: detail.into() };
        let story = Story {
            time_ns: (3 * 3600 + 4 * 60 + 5) * SECOND + 6,
            port: "underlay0".into(),
            bytes: 110,
            vni: Some(7),
            outcome: "dropped".into(),
            counter: "over_limit".into(),
            description: "Over the overlay's rate limit.".into(),
            now: Some("egress".into()),
            steps: vec![step("receive", "underlay0"), step("decapsulate", "VNI 7")],
        };
        let expected = "03:04:05.000000006 underlay0 VNI 7 110 bytes: dropped over_limit
  receive      underlay0
  decapsulate  VNI 7
  = over_limit: Over the overlay's rate limit.
  ! now it would be egress: tables or limits have changed since

";
        assert_eq!(text(&story), expected);
    }
}
