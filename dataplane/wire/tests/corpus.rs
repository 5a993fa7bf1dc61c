//! The corpora of the fuzz targets, replayed, and mutated at random from a fixed start.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The package of the fuzz targets.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The inputs of a target. There must be some.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = package().join("corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_can_be_fuzzed() {
    for (target, _) in wire::fuzz::TARGETS {
        let source = package().join("fuzz_targets").join(target).with_extension("rs");
        let source =
            fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        assert!(source.contains(&format!("wire::fuzz::{target}(data)")), "{source}");
    }
}

#[test]
fn every_input_is_survived() {
    for (target, run) in wire::fuzz::TARGETS {
        corpus(target).iter().for_each(|input| run(input));
    }
}

#[test]
fn every_change_to_an_input_is_survived() {
    for (target, run) in wire::fuzz::TARGETS {
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
        let input =
            (prop::sample::select(corpus(target)), changes, any::<prop::sample::Index>(), any::<bool>());
        let changed = input.prop_map(|(mut input, changes, end, whole)| {
            for (at, byte) in changes {
                if let Some(place) = input.len().checked_sub(1).map(|last| at.index(last + 1)) {
                    input[place] = byte;
                }
            }
            if !whole {
                input.truncate(end.index(input.len() + 1));
            }
            input
        });
        let mut runner = TestRunner::deterministic();
        let result = runner.run(&changed, |input| {
            run(&input);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..256)) {
        for (_, run) in wire::fuzz::TARGETS {
            run(&data);
        }
    }
}
