use super::*;
use crate::receive::{Meter, MeterOptions};
use crate::testing::test_packet;

/// A report of `packets` packets, each `lost_every`th of them lost, that took `latency` and a little more.
fn report(packets: u32, lost_every: u32, latency: u64) -> Report {
    let mut meter = Meter::new(MeterOptions {
        streams: Some(vec![Expected {
            name: "one, \"two\"".into(),
            overlay: std::sync::Arc::new(|_| Some(7)),
        }]),
        ..MeterOptions::default()
    });
    let mut slices = Vec::new();
    for sequence in 0..packets {
        let sent = u64::from(sequence) * 1000;
        if !sequence.is_multiple_of(lost_every) {
            meter.take(&test_packet(0, sequence, sent), sent + latency + u64::from(sequence % 100) * 100);
        }
        if sequence % (packets / 10) == packets / 10 - 1 {
            let length = u64::from(packets / 10) * 1000;
            slices.push(TimedSlice { end: 500 + sent, length, slice: meter.slice() });
        }
    }
    let sent = [u64::from(packets)];
    let measured = meter.finish(Some(&sent));
    let names = [Expected { name: "one, \"two\"".into(), overlay: std::sync::Arc::new(|_| Some(7)) }];
    let port = PortFacts { xdp: "native".into(), bind: "copy".into(), ..PortFacts::of("lo", 1, 1500) };
    Report {
        format: FORMAT,
        machine: Machine::this(),
        profile: Some("test".into()),
        setup: Setup { receiver: Some(port), polling: "busy".into(), ..Setup::default() },
        ended: Ended::Complete,
        sent: Some(SentSummary {
            packets: packets.into(),
            rate: Some(1e6),
            requested: "1Mpps".into(),
            ..SentSummary::default()
        }),
        received: Received::new(measured, 500, &slices, PortLosses::default(), Some(&names), Some(&sent)),
        calibration: None,
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = std::env::temp_dir().join(format!("pktgen-report-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("report.json");
    let report = report(10_000, 100, 50_000);
    report.save(&path).unwrap();
    assert_eq!(Report::load(&path).unwrap(), report);
    for (text, says) in
        [("{", "no report"), (r#"{"format": 1}"#, "no report"), (r#"{"format": 99}"#, "format 99")]
    {
        fs::write(&path, text).unwrap();
        let error = Report::load(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(Report::load(&path).unwrap_err().to_string().contains("report.json"));
}

#[test]
fn the_counts_and_the_slices_add_up() {
    let Report { received, .. } = report(10_000, 100, 50_000);
    assert_eq!((received.lost, received.totals.received), (100, 9900));
    assert_eq!(received.slices.len(), 10);
    assert_eq!(received.slices.iter().map(|slice| slice.received).sum::<u64>(), 9900);
    assert_eq!(received.slices.iter().map(|slice| slice.missing).sum::<i64>(), 100);
    assert_eq!(received.streams[0].sent, Some(10_000));
    assert_eq!((received.overlays[0].overlay, received.overlays[0].counts.lost), (7, 100));
}

#[test]
fn a_run_of_weeks_keeps_an_hour_of_slices_and_its_end() {
    let mut slices = Vec::new();
    for second in 1..=10_000 {
        let slice = Slice {
            totals: Totals { received: second, ..Totals::default() },
            ..Meter::new(MeterOptions { window: 128, ..MeterOptions::default() }).slice()
        };
        keep(&mut slices, TimedSlice { end: 100 + second, length: 1, slice });
    }
    assert_eq!(slices.len(), SLICES + 1);
    let measured = Meter::new(MeterOptions::default()).finish(None);
    let received = Received::new(measured, 100, &slices, PortLosses::default(), None, None);
    assert_eq!((received.duration, received.slices.len()), (10_000, SLICES));
    assert!(received.slices.iter().all(|slice| slice.received == 1));
}

#[test]
fn csv_has_a_line_a_stream() {
    let text = csv(&report(1000, 10, 50_000));
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("0,\"one, \"\"two\"\"\",1000,900,100,0,0,0,0,0,0,0,"), "{}", lines[1]);
    assert!(lines[2].starts_with("all,,1000,900,100,"), "{}", lines[2]);
    assert!(lines[0].ends_with(",backward") && lines[2].ends_with(",0"), "{}", lines[2]);
    let commas = |line: &str| line.matches(',').count();
    assert_eq!(commas(lines[0]), commas(lines[2]));
}

#[test]
fn a_table_tells_modes_losses_and_why_it_ended() {
    let mut report = report(1000, 10, 50_000);
    report.ended = Ended::Failed("the interface is gone".into());
    report.received.port.overrun = 3;
    for part in ["itself", "NOT SENT"] {
        assert!(!table(&report).contains(part));
    }
    report.received.port.dropped = 4;
    report.sent.as_mut().unwrap().dropped = Some(6);
    assert!(table(&report).contains("p99.9"));
    report.received.totals.backward = 5;
    report.received.latency = None;
    let text = table(&report);
    for part in [
        "XDP native, socket copy",
        "FAILED: the interface is gone",
        "NOT TAKEN    3 by a receiver",
        "NOT TAKEN    4 dropped by the receiving interface",
        "NOT SENT     6 dropped by the sending interface",
        "lost         100 (10.0000 %)",
        "profile test",
        "CLOCKS       5 packets",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_calibration_that_failed_says_so() {
    let mut report = report(1000, 10, 50_000);
    let mut calibration = Calibration {
        path: "a → b".into(),
        rate: 1000.0,
        setup: Setup::default(),
        ended: Ended::Failed("the interface is gone".into()),
        lost: 0,
        latency: report.received.latency.clone(),
    };
    assert!(calibration.to_string().contains("FAILED: the interface is gone"), "{calibration}");
    // Those of before this was told.
    let mut old = serde_json::to_value(&calibration).unwrap();
    old.as_object_mut().unwrap().remove("ended");
    assert_eq!(serde_json::from_value::<Calibration>(old).unwrap().ended, Ended::Complete);
    report.calibration = Some(calibration.clone());
    assert!(table(&report).contains("cut short"));
    calibration.ended = Ended::Complete;
    report.calibration = Some(calibration);
    assert!(!table(&report).contains("cut short"));
}

fn verdict(comparison: &Comparison, figure: &str) -> Verdict {
    comparison.differences.iter().find(|difference| difference.figure == figure).unwrap().verdict
}

#[test]
fn the_same_runs_have_no_difference() {
    let comparison = compare(&report(10_000, 100, 50_000), &report(10_000, 100, 50_000));
    assert!(comparison.unlike.is_empty(), "{comparison}");
    for difference in &comparison.differences {
        assert_eq!(difference.verdict, Verdict::Same, "{difference:?}");
    }
}

#[test]
fn noise_is_told_from_differences() {
    let base = report(10_000, 100, 50_000);
    // 1 % of 10 000 is uncertain by 0.1 %.
    assert_eq!(verdict(&compare(&base, &report(10_000, 98, 50_000)), "lost"), Verdict::Noise);
    assert_eq!(verdict(&compare(&base, &report(10_000, 50, 50_000)), "lost"), Verdict::Differs);
    // p50 among latencies spread over 10 µs: 1 % of them.
    let slower = compare(&base, &report(10_000, 100, 50_050));
    assert_eq!(verdict(&slower, "latency p50"), Verdict::Noise, "{slower}");
    let other = report(10_000, 100, 60_000);
    assert_eq!(verdict(&compare(&base, &other), "latency p50"), Verdict::Differs);
    // Seconds in which nothing came say nothing of how long packets take.
    let mut silent = other.clone();
    for slice in silent.received.slices.iter_mut().skip(1).step_by(2) {
        (slice.received, slice.p50, slice.p99) = (0, 0, 0);
    }
    assert_eq!(verdict(&compare(&base, &silent), "latency p50"), Verdict::Differs);
    // Seconds that differ as much among each other say that it may be chance.
    let mut uneven = other.clone();
    (0..).zip(&mut uneven.received.slices).for_each(|(at, slice)| slice.p50 += at % 2 * 400_000);
    assert_ne!(verdict(&compare(&base, &uneven), "latency p50"), Verdict::Differs);
    let mut short = other;
    short.received.slices.truncate(2);
    assert_eq!(verdict(&compare(&base, &short), "latency p50"), Verdict::Unknown);
}

#[test]
fn unlike_modes_are_not_hidden() {
    let base = report(1000, 10, 50_000);
    let mut other = base.clone();
    other.machine.kernel = "6.0".into();
    other.profile = None;
    other.ended = Ended::Interrupted;
    let port = other.setup.receiver.as_mut().unwrap();
    (port.xdp, port.driver) = ("generic".into(), "other".into());
    let unlike: Vec<String> = compare(&base, &other).unlike.into_iter().map(|unlike| unlike.what).collect();
    assert_eq!(unlike, ["profile", "kernel", "end", "receiver's driver", "receiver's XDP mode"]);
    let text = compare(&base, &other).to_string();
    assert!(text.starts_with("UNLIKE") && text.contains("native | generic"), "{text}");
}
