#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pktgen::receive::fuzz::receiver(data);
});
