//! What the fuzz target does, in reach of ordinary tests.

use super::Capture;

/// Reads any bytes as a capture; all that it says of itself must hold.
pub fn pcap(data: &[u8]) {
    let Ok(capture) = Capture::read(data) else { return };
    let mut last = 0;
    let mut bytes = 0;
    for &packet in capture.packets() {
        let frame = capture.frame(packet);
        assert!((14..=port::MAX_FRAME).contains(&frame.len()) && frame.len() <= capture.max_len());
        assert!(packet.time >= last);
        last = packet.time;
        bytes += frame.len();
    }
    assert!(!capture.packets().is_empty() && bytes <= data.len(), "there is no more than there was");
}
