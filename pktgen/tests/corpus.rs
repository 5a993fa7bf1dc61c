//! The corpus of the fuzz target, replayed, and mutated at random from a fixed start.

use std::fs;
use std::path::{Path, PathBuf};

use pktgen::pcap::Capture;
use pktgen::pcap::fuzz::pcap;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The package of the fuzz targets.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Its inputs, with their names. There must be some.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(package().join("corpus/pcap")).unwrap().map(|entry| entry.unwrap());
    let inputs: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(!inputs.is_empty());
    inputs
}

#[test]
fn it_can_be_fuzzed() {
    let source = fs::read_to_string(package().join("fuzz_targets/pcap.rs")).unwrap();
    assert!(source.contains("pktgen::pcap::fuzz::pcap(data)"), "{source}");
}

#[test]
fn every_input_is_survived_and_golden_ones_are_read() {
    for (name, input) in corpus() {
        pcap(&input);
        assert!(!name.starts_with("golden-") || Capture::read(&input[..]).is_ok(), "{name}");
    }
}

#[test]
fn every_change_to_an_input_is_survived() {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let inputs: Vec<_> = corpus().into_iter().map(|(_, input)| input).collect();
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
            pcap(&input);
            Ok(())
        })
        .unwrap();
}
