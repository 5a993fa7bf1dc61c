#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    engine::offline::fuzz::pipeline(data);
});
