//! The fuzz target, without libFuzzer.

#[test]
fn whatever_the_peer_sends_is_survived() {
    replay::fuzz("bgp_session", "evpn::fuzz::bgp_session", 2000, evpn::fuzz::bgp_session);
}
