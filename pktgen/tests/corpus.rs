//! The fuzz targets, without libFuzzer.

use pktgen::pcap::Capture;
use pktgen::pcap::fuzz::pcap;
use pktgen::receive::fuzz::receiver;

#[test]
fn any_capture_is_survived_and_golden_ones_are_read() {
    replay::fuzz("pcap", "pktgen::pcap::fuzz::pcap", 256, pcap);
    for (name, input) in replay::corpus("pcap") {
        assert!(!name.starts_with("golden-") || Capture::read(&input[..]).is_ok(), "{name}");
    }
}

#[test]
fn any_frames_are_survived_and_golden_ones_are_test_packets() {
    replay::fuzz("receiver", "pktgen::receive::fuzz::receiver", 256, |input| _ = receiver(input));
    for (name, input) in replay::corpus("receiver") {
        assert!(!name.starts_with("golden-") || receiver(&input), "{name}");
    }
}
