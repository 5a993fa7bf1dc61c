use super::*;

fn frame(number: u8) -> Vec<u8> {
    vec![number; 60 + usize::from(number)]
}

fn pcap(times: &[u64]) -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&mut file).unwrap();
    for (number, &time) in times.iter().enumerate() {
        write_packet(&mut file, time, &frame(number as u8)).unwrap();
    }
    file
}

/// A block of pcapng.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = body.len().next_multiple_of(4);
    let total = (len as u32 + 12).to_le_bytes();
    let mut block = [&kind.to_le_bytes(), &total[..], body].concat();
    block.resize(8 + len, 0);
    block.extend(total);
    block
}

/// A section with one interface, whose clock has this resolution.
fn pcapng(resolution: u8) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let section = words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]);
    let interface = [words(&[1, 0, 1 << 16 | 9]), vec![resolution, 0, 0, 0], words(&[0])].concat();
    let enhanced = |time: u64, data: &[u8]| {
        let len = data.len() as u32;
        [words(&[0, (time >> 32) as u32, time as u32, len, len]), data.to_vec()].concat()
    };
    let simple = |data: &[u8]| [words(&[data.len() as u32]), data.to_vec()].concat();
    [
        block(0x0a0d_0d0a, &section),
        block(1, &interface),
        block(6, &enhanced(5 << 32, &frame(0))),
        block(0x0bad, &[1, 2, 3]),
        block(6, &enhanced((5 << 32) + 1000, &frame(1))),
        block(3, &simple(&frame(2))),
    ]
    .concat()
}

fn frames(capture: &Capture) -> Vec<(u64, Vec<u8>)> {
    capture.packets().iter().map(|&packet| (packet.time, capture.frame(packet).to_vec())).collect()
}

#[test]
fn what_was_written_is_read() {
    let capture = Capture::read(&pcap(&[7_000_000_001, 7_000_000_005, 9_000_000_001])[..]).unwrap();
    assert_eq!(frames(&capture), [(0, frame(0)), (4, frame(1)), (2_000_000_000, frame(2))]);
    assert_eq!((capture.skipped, capture.max_len()), (Skipped::default(), 62));
}

#[test]
fn pcapng_with_clocks_of_powers_of_ten_and_of_two() {
    for (resolution, unit) in [(6, 1_000_000), (9, 1000), (0x80 | 10, 976_562_500)] {
        let capture = Capture::read(&pcapng(resolution)[..]).unwrap();
        assert_eq!(frames(&capture), [(0, frame(0)), (unit, frame(1)), (unit, frame(2))], "{resolution}");
    }
    assert!(Capture::read(&pcapng(0x7f)[..]).unwrap_err().to_string().contains("no clock"));
}

#[test]
fn time_never_falls() {
    let capture = Capture::read(&pcap(&[50, 20, 70])[..]).unwrap();
    assert_eq!(capture.packets().iter().map(|packet| packet.time).collect::<Vec<_>>(), [0, 0, 20]);
}

#[test]
fn frames_that_cannot_be_sent_are_skipped_and_counted() {
    let mut file = pcap(&[1]);
    write_packet(&mut file, 2, &[1; 13]).unwrap();
    write_packet(&mut file, 2, &vec![1; 5000]).unwrap();
    write_packet(&mut file, 3, &[1; 60]).unwrap();
    // On the wire it was longer.
    let at = file.len() - 64;
    file[at..at + 2].copy_from_slice(&1500_u16.to_le_bytes());
    let capture = Capture::read(&file[..]).unwrap();
    assert_eq!(capture.skipped, Skipped { truncated: 1, too_long: 1, too_short: 1 });
    assert_eq!(capture.packets().len(), 1);
}

#[test]
fn lies_are_found_out() {
    let message = |file: &[u8]| Capture::read(file).unwrap_err().to_string();
    assert!(message(b"").contains("neither"));
    assert!(message(&[7; 100]).contains("neither"));
    assert!(message(&pcap(&[])).contains("no frame"));
    let whole = pcap(&[1, 2]);
    assert!(message(&whole[..whole.len() - 1]).contains("behind byte 100: it ends within a block"));
    let mut lying = whole.clone();
    lying[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(message(&lying).contains("longer than any frame"), "{}", message(&lying));
    let mut other = whole;
    other[20] = 113;
    assert!(message(&other).contains("link type 113"));
    for len in [0, 8, 11] {
        let short = [pcapng(6), block(0x0bad, &[])].concat();
        let at = short.len() - 8;
        let short = [&short[..at], &[len, 0, 0, 0], &short[at + 4..]].concat();
        assert!(message(&short).contains("shorter than a block"), "{}", message(&short));
    }
    let mut nobody = pcapng(6);
    let at = nobody.len() - 2 * 92;
    let enhanced = nobody.windows(4).rposition(|word| word == [6, 0, 0, 0]).unwrap_or(at);
    nobody[enhanced + 8] = 1;
    assert!(message(&nobody).contains("not described"), "{}", message(&nobody));
}
