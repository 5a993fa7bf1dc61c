#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster::fuzz::peer_message(data));
