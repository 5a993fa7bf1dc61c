//! The fuzz targets, without libFuzzer.

use proptest::prelude::*;

#[test]
fn corpora_and_what_is_near_them_are_survived() {
    for (target, run) in wire::fuzz::TARGETS {
        replay::fuzz(target, &format!("wire::fuzz::{target}"), 2000, run);
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
