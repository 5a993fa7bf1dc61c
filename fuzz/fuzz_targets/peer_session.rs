#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster::session::fuzz::peer_session(data));
