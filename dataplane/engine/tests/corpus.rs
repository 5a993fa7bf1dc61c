//! The corpus of the pipeline's fuzz target, replayed.

use std::fs;
use std::path::Path;

#[test]
fn every_input_is_survived_and_the_golden_ones_are_forwarded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/pipeline");
    let mut golden = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let forwarded = engine::offline::fuzz::pipeline(&fs::read(&path).unwrap());
        if path.file_name().unwrap().to_string_lossy().starts_with("golden-") {
            assert!(forwarded, "{}", path.display());
            golden += 1;
        }
    }
    assert!(golden >= 6, "{golden} golden frames");
}
