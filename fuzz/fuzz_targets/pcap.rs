#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pktgen::pcap::fuzz::pcap(data));
