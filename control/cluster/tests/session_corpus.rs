//! The corpus of the fuzz target `peer_session`, replayed, and mutated at random from a fixed start.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use cluster::session::fuzz::peer_session;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus() -> Vec<Vec<u8>> {
    let entries = fs::read_dir(package().join("corpus/peer_session")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus is empty");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_target_can_be_fuzzed() {
    let source = fs::read_to_string(package().join("fuzz_targets/peer_session.rs")).unwrap();
    assert!(source.contains("cluster::session::fuzz::peer_session(data)"), "{source}");
}

#[test]
fn every_input_is_survived() {
    corpus().iter().for_each(|input| peer_session(input));
}

#[test]
fn every_change_to_an_input_is_survived() {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let changed = (prop::sample::select(corpus()), changes).prop_map(|(mut input, changes)| {
        for (at, byte) in changes {
            let place = at.index(input.len());
            input[place] = byte;
        }
        input
    });
    let config = ProptestConfig::with_cases(2000);
    let mut runner =
        TestRunner::new_with_rng(config, prop::test_runner::TestRng::deterministic_rng(Default::default()));
    let result = runner.run(&changed, |input| {
        peer_session(&input);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
