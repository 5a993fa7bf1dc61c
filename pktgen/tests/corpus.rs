//! The corpora of the fuzz targets, replayed, and mutated at random from a fixed start.

use std::fs;
use std::path::{Path, PathBuf};

use pktgen::pcap::Capture;
use pktgen::pcap::fuzz::pcap;
use pktgen::receive::fuzz::receiver;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The package of the fuzz targets.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// A target's inputs, with their names. There must be some.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(package().join("corpus").join(target)).unwrap().map(|entry| entry.unwrap());
    let inputs: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(!inputs.is_empty());
    inputs
}

#[test]
fn they_can_be_fuzzed() {
    for (target, call) in [("pcap", "pcap::fuzz::pcap(data)"), ("receiver", "receive::fuzz::receiver(data)")]
    {
        let source = fs::read_to_string(package().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(source.contains(call), "{source}");
    }
}

#[test]
fn every_input_is_survived_and_golden_ones_are_read() {
    for (name, input) in corpus("pcap") {
        pcap(&input);
        assert!(!name.starts_with("golden-") || Capture::read(&input[..]).is_ok(), "{name}");
    }
    for (name, input) in corpus("receiver") {
        let is_test_packet = receiver(&input);
        assert!(!name.starts_with("golden-") || is_test_packet, "{name}");
    }
}

#[test]
fn every_change_to_an_input_is_survived() {
    survive_changes("pcap", pcap);
    survive_changes("receiver", |input| _ = receiver(input));
}

fn survive_changes(target: &str, run: impl Fn(&[u8])) {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let inputs: Vec<_> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let changed = (prop::sample::select(inputs), changes).prop_map(|(mut input, changes)| {
        for (at, byte) in changes {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = byte;
            }
        }
        input
    });
    TestRunner::deterministic()
        .run(&changed, |input| {
            run(&input);
            Ok(())
        })
        .unwrap();
}
