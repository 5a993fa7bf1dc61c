#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::fuzz::dhcpv6(data));
