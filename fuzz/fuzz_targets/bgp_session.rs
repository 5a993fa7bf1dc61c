#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evpn::fuzz::bgp_session(data));
