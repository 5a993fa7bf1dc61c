//! The corpora of the fuzz targets, for ordinary tests: replayed, and mutated at random from a fixed start.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// The package of the fuzz targets.
pub fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A target's inputs with the names of their files, in the order of these.
///
/// # Panics
/// If there are none.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = package().join("corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// Fuzzes a target without libFuzzer: that its door calls `body` (`bfd::fuzz::bfd`, as text), which is `run`; that `run`
/// survives the corpus; and that it survives so many `mutations` of it: some bytes changed, the end cut off.
///
/// # Panics
/// If not; it names the input.
pub fn fuzz(target: &str, body: &str, mutations: u32, run: impl Fn(&[u8])) {
    let door = package().join("fuzz_targets").join(target).with_extension("rs");
    let source = fs::read_to_string(&door).unwrap_or_else(|error| panic!("{}: {error}", door.display()));
    assert!(source.contains(&format!("{body}(data)")), "{source}");

    let inputs = corpus(target);
    for (name, input) in &inputs {
        catch_unwind(AssertUnwindSafe(|| run(input))).unwrap_or_else(|panic| {
            eprintln!("the input was fuzz/corpus/{target}/{name}");
            resume_unwind(panic)
        });
    }

    let inputs: Vec<_> = inputs.into_iter().map(|(_, input)| input).collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let cut = prop::option::of(any::<prop::sample::Index>());
    let mutated = (prop::sample::select(inputs), changes, cut).prop_map(|(mut input, changes, cut)| {
        for (at, byte) in changes {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = byte;
            }
        }
        if let Some(cut) = cut {
            input.truncate(cut.index(input.len() + 1));
        }
        input
    });
    let start = TestRng::deterministic_rng(RngAlgorithm::default());
    let mut runner = TestRunner::new_with_rng(ProptestConfig::with_cases(mutations), start);
    let result = runner.run(&mutated, |input| {
        run(&input);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_corpus_is_replayed_and_mutated() {
        let (inputs, calls, seen) = (corpus("bfd"), Cell::new(0), RefCell::new(HashSet::new()));
        fuzz("bfd", "bfd::fuzz::bfd", 1000, |input| {
            calls.set(calls.get() + 1);
            seen.borrow_mut().insert(input.to_vec());
        });
        assert_eq!(calls.get(), inputs.len() + 1000);
        let seen = seen.into_inner();
        assert!(inputs.iter().all(|(_, input)| seen.contains(input)));
        assert!(seen.len() > calls.get() / 2, "{} different ones", seen.len());
    }

    #[test]
    fn what_is_not_survived_is_told() {
        let fails = |body: &str, run: &dyn Fn(&[u8])| {
            catch_unwind(AssertUnwindSafe(|| fuzz("bfd", body, 1000, run))).is_err()
        };
        assert!(fails("bfd::fuzz::other", &|_| {}), "another body than the target's");
        let inputs = corpus("bfd");
        let known = |input: &[u8]| inputs.iter().any(|(_, known)| known == input);
        assert!(fails("bfd::fuzz::bfd", &|input| assert!(!known(input))), "an input of the corpus");
        assert!(fails("bfd::fuzz::bfd", &|input| assert!(known(input))), "a mutation");
        assert!(!fails("bfd::fuzz::bfd", &|_| {}));
    }
}
