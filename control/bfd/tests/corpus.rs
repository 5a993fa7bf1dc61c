//! The fuzz target, without libFuzzer.

#[test]
fn whatever_the_peer_sends_is_survived() {
    replay::fuzz("bfd", "bfd::fuzz::bfd", 2000, bfd::fuzz::bfd);
}
