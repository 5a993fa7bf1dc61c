//! The corpus of the pipeline's fuzz target, replayed.

#[test]
fn every_input_is_survived_and_the_golden_ones_are_forwarded() {
    let mut golden = 0;
    for (name, input) in replay::corpus("pipeline") {
        let forwarded = engine::offline::fuzz::pipeline(&input);
        if name.starts_with("golden-") {
            assert!(forwarded, "{name}");
            golden += 1;
        }
    }
    assert!(golden >= 6, "{golden} golden frames");
}
