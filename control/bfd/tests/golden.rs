//! What an engine sends, read by an independent decoder: tshark.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use bfd::{Engine, Key, Output, Packet, Path, SINGLE_HOP_PORT, SessionConfig, State, Timing};
use serde_json::Value;

const MS: Duration = Duration::from_millis(1);

/// The first packets of a session that its peer brings up, and then holds down.
fn conversation(key: Option<Key>) -> Vec<Vec<u8>> {
    let (mut engine, now) = (Engine::new(7), Instant::now());
    let config = SessionConfig {
        peer: "192.0.2.2".parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        path: Path::SingleHop { interface: 1 },
        timing: Timing { desired_min_tx: 10 * MS, required_min_rx: 20 * MS, detect_multiplier: 3 },
        keys: key.into_iter().collect(),
    };
    let session = engine.add(config, now).unwrap();
    let mut sent = Vec::new();
    let mut turn = |engine: &mut Engine| {
        engine.handle_timeout(now);
        while let Some(output) = engine.poll() {
            if let Output::Send { payload, .. } = output {
                sent.push(payload.to_vec());
            }
        }
    };
    turn(&mut engine);
    engine.set_admin_down(session, true, now).unwrap();
    turn(&mut engine);
    sent
}

/// A capture file (pcap, raw IPv4) of these payloads.
fn pcap(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 101] {
        file.extend(word.to_le_bytes());
    }
    for payload in payloads {
        let length = 28 + payload.len();
        for word in [0, 0, length as u32, length as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0xc0, 0, length as u8, 0, 0, 0, 0, 255, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        for half in [50_000, SINGLE_HOP_PORT, 8 + payload.len() as u16, 0] {
            file.extend(half.to_be_bytes());
        }
        file.extend(payload);
    }
    file
}

fn decoded(name: &str, payloads: &[Vec<u8>]) -> Vec<Value> {
    let path = std::env::temp_dir().join(format!("vxgate-bfd-{}-{name}.pcap", std::process::id()));
    fs::write(&path, pcap(payloads)).unwrap();
    let output = Command::new("tshark").args(["-T", "json", "-r"]).arg(&path).output();
    let _ = fs::remove_file(&path);
    let output = output.expect("tshark (package tshark) is needed");
    let frames: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    frames.iter().map(|frame| frame["_source"]["layers"]["bfd"].clone()).collect()
}

#[test]
fn tshark_reads_what_is_sent() {
    let sent = conversation(None);
    let read = decoded("plain", &sent);
    assert_eq!(read.len(), 2);
    for (bytes, bfd) in sent.iter().zip(&read) {
        let (packet, _) = Packet::parse(bytes).unwrap();
        let number = |field: &str| {
            let text = bfd[field].as_str().unwrap_or_else(|| panic!("{field} in {bfd:#}"));
            match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
                None => text.parse().unwrap(),
            }
        };
        assert_eq!(number("bfd.version"), 1);
        assert_eq!(number("bfd.sta"), packet.state as u32);
        assert_eq!(number("bfd.diag"), if packet.state == State::AdminDown { 7 } else { 0 });
        assert_eq!((number("bfd.detect_time_multiplier"), number("bfd.message_length")), (3, 24));
        assert_eq!(number("bfd.my_discriminator"), packet.my_discriminator);
        assert_eq!(number("bfd.your_discriminator"), 0);
        assert_eq!(number("bfd.desired_min_tx_interval"), 1_000_000);
        assert_eq!(number("bfd.required_min_rx_interval"), 20_000);
        assert_eq!(number("bfd.required_min_echo_interval"), 0);
    }
}

#[test]
fn tshark_reads_the_authentication_section() {
    let sent = conversation(Key::new(42, b"secret"));
    let read = decoded("signed", &sent);
    for (bytes, bfd) in sent.iter().zip(&read) {
        assert_eq!(bfd["bfd.message_length"], "52", "{bfd:#}");
        let text = bfd.to_string();
        let hash: Vec<String> = bytes[32..].iter().map(|byte| format!("{byte:02x}")).collect();
        let sequence = u32::from_be_bytes(bytes[28..32].try_into().unwrap());
        for part in [
            r#""bfd.auth.type":"5""#.to_owned(),
            r#""bfd.auth.len":"28""#.to_owned(),
            r#""bfd.auth.key":"42""#.to_owned(),
            format!(r#""bfd.auth.seq_num":"0x{sequence:08x}""#),
            format!(r#""bfd.checksum":"{}""#, hash.join(":")),
        ] {
            assert!(text.contains(&part), "{part} in {bfd:#}");
        }
        assert!(!text.contains("malformed"), "{bfd:#}");
    }
}
