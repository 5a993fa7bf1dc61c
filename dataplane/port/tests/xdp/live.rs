//! Frames made in the kernel, and the sink that counts them, over a veth pair.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sys::packet::{PacketSocket, Watch};
use vxgate_port::xdp::{Counts, Expected, LiveFrames, LiveSource, Order, Sink, VariedField, Width, XdpError};

use crate::attach::{PEER, PORT, index, with_veth};
use crate::frames::*;

/// An IPv4 packet whose identification is the variant.
const IDENT: usize = 14 + 4;

fn numbered(variants: u32, order: Order) -> LiveFrames {
    LiveFrames {
        variants,
        order,
        fields: vec![VariedField { offset: IDENT, width: Width::Two, base: 0, step: 1 }],
        ipv4_headers: vec![14],
        ..LiveFrames::same(udp_to(VTEP4, &udp(9, &[0xa5; 100])))
    }
}

fn source(frames: LiveFrames) -> LiveSource {
    LiveSource::new(frames, index(PORT), PORT).unwrap_or_else(|error| panic!("{error}"))
}

fn sink(length: usize, bytes: &[(u16, u8)]) -> Sink {
    let expected = Expected { length: length as u16, bytes: bytes.to_vec(), stamp: None };
    Sink::attach(index(PEER), PEER, &expected).unwrap()
}

/// As many frames as a veth has room for, whenever its far end gets to run.
const ROOM: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// What `count` frames were when they came.
fn received(frames: LiveFrames, count: usize) -> Vec<Vec<u8>> {
    // Expects nothing, so that everything goes on to the kernel and the socket.
    let _sink = sink(60, &[(0, 0xff)]);
    let peer = PacketSocket::open(PEER, Watch::Incoming).unwrap();
    let mut source = source(frames);
    let mut buffer = [0; 2048];
    let mut frames = vec![];
    while frames.len() < count {
        let some = ROOM.min(count - frames.len());
        source.run(some as u32).unwrap();
        for _ in 0..some {
            let length = peer.receive(&mut buffer, PATIENCE).unwrap().expect("all frames come");
            frames.push(buffer[..length].to_vec());
        }
    }
    assert_eq!((source.sent().unwrap(), source.dropped().unwrap()), (count as u64, 0));
    frames
}

#[test]
fn fields_of_all_widths_count_together_and_the_checksum_is_right() {
    with_veth(|| {
        let template = numbered(3, Order::Counting);
        // In the payload, one field after the other.
        let field = |offset: usize, width, base, step| VariedField { offset: 60 + offset, width, base, step };
        let fields = [
            field(0, Width::One, 0xfe, 1),
            field(1, Width::Two, 0x1234, 0x100),
            field(3, Width::Three, 0xff_fffe, 2),
            field(6, Width::Four, 0x8000_0000, 0x1_0001),
        ];
        let varied = LiveFrames { fields: [&template.fields[..], &fields].concat(), ..template.clone() };
        for (place, frame) in received(varied, 7).into_iter().enumerate() {
            let variant = place as u32 % 3;
            let mut expected = template.template.clone();
            expected[IDENT..IDENT + 2].copy_from_slice(&[0, variant as u8]);
            expected[60] = (0xfe + variant) as u8;
            expected[61..63].copy_from_slice(&(0x1234 + 0x100 * variant as u16).to_be_bytes());
            expected[63..66].copy_from_slice(&(0xff_fffe + 2 * variant).to_be_bytes()[1..]);
            expected[66..70].copy_from_slice(&(0x8000_0000 + 0x1_0001 * variant).to_be_bytes());
            let words = frame[14..34].as_chunks().0.iter().map(|&word| u32::from(u16::from_be_bytes(word)));
            let sum: u32 = words.sum();
            assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff, "checksum of frame {place}");
            expected[24..26].copy_from_slice(&frame[24..26]);
            assert_eq!(frame, expected, "frame {place}");
        }
    });
}

#[test]
fn all_variants_are_drawn() {
    with_veth(|| {
        let frames = received(numbered(4, Order::Random), 200);
        let idents: Vec<u8> = frames.iter().map(|frame| frame[IDENT + 1]).collect();
        assert_eq!(BTreeSet::from_iter(&idents), BTreeSet::from([&0, &1, &2, &3]));
        assert!(!idents.windows(5).all(|five| five[0] == five[4]), "not in turn");
    });
}

#[test]
fn the_sink_tells_what_is_expected_from_what_is_not() {
    with_veth(|| {
        let frames = numbered(4, Order::Counting);
        let length = frames.template.len() as u64;
        let sink = sink(frames.template.len(), &[(12, 0x08), (13, 0x00), (IDENT as u16 + 1, 2)]);
        let mut source = source(frames);
        let counts = |frames| Counts { frames, bytes: frames * length };
        for run in 1..=10 {
            source.run(100).unwrap();
            wait_until("all frames to be counted", || {
                (sink.expected().unwrap(), sink.other().unwrap()) == (counts(25 * run), counts(75 * run))
            });
        }
        source.run(0).unwrap();
        assert_eq!((source.sent().unwrap(), source.dropped().unwrap()), (1000, 0));
    });
}

#[test]
fn a_frame_of_another_length_is_not_expected() {
    with_veth(|| {
        let frames = LiveFrames::same(vec![0; 61]);
        let sinks = [60, 62].map(|length| {
            let sink = sink(length, &[]);
            let mut source = source(frames.clone());
            source.run(10).unwrap();
            wait_until("all frames to be counted", || sink.other().unwrap().frames == 10);
            sink.expected().unwrap()
        });
        assert_eq!(sinks, [Counts::default(); 2]);
    });
}

/// Ten milliseconds apart and with the time of sending: as long on the way as it took until they were counted.
#[test]
fn frames_are_paced_and_timed() {
    with_veth(|| {
        const INTERVAL: u32 = 10_000_000;
        let template = numbered(1, Order::Counting);
        let stamp = 60;
        let frames = LiveFrames { stamp: Some(stamp), interval: INTERVAL, batch: 1, ..template };
        let expected = Expected {
            length: frames.template.len() as u16,
            bytes: vec![(12, 0x08), (13, 0)],
            stamp: Some(stamp as u16),
        };
        let sink = Sink::attach(index(PEER), PEER, &expected).unwrap();
        assert_eq!(sink.latency(&[0.5]).unwrap(), None);
        let mut source = source(frames);
        let start = Instant::now();
        while source.sent().unwrap() < 5 {
            source.run(1000).unwrap();
        }
        let took = start.elapsed();
        assert!(took >= 4 * Duration::from_nanos(INTERVAL.into()), "the fifth frame was sent after {took:?}");
        wait_until("all frames to be counted", || sink.expected().unwrap().frames == 5);
        let all = Duration::from_nanos(sink.latency(&[1.0]).unwrap().unwrap()[0]);
        assert!(all < start.elapsed() + Duration::from_micros(1), "{all:?} on the way");
    });
}

#[test]
fn errors_say_what_to_change() {
    with_veth(|| {
        let error = LiveSource::new(LiveFrames::same(vec![0; 13]), index(PORT), PORT).unwrap_err();
        assert!(error.to_string().contains("14 to 3072 bytes"), "{error}");
        let _first = sink(60, &[]);
        let error = Sink::attach(index(PEER), PEER, &Expected::default()).unwrap_err();
        assert!(matches!(error, XdpError::HookInUse { .. }), "{error}");
    });
}
