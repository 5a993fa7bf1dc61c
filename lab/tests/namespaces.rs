//! Namespaces, links and clean-up. Needs root.

use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Lab, Signal, VethEnd, VethOptions, veth, wait_until};

/// Set in the process that plays the lab that crashes.
const CRASH: &str = "VXGATE_LAB_CRASH";

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn everything_is_gone_after_drop() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("drop").unwrap();
    let directory = lab.directory().to_owned();
    let process = namespace.spawn("sleep", &["1000"]).unwrap();
    let pid = process.pid();
    assert!(exists("vxg-drop"));
    assert!(directory.is_dir());

    drop(lab);
    assert!(exists("vxg-drop"), "what was made in a lab keeps it");
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // The lock is held until the last handle is gone, so that no other test can have made it again.
    assert!(exists("vxg-drop"));
    drop(namespace);
    let lab = Lab::new().unwrap();
    assert!(!exists("vxg-drop"));
    drop(lab);
}

#[test]
fn what_a_crashed_lab_left_is_removed() {
    if let Some(report) = std::env::var_os(CRASH) {
        let lab = Lab::new().unwrap();
        let process = lab.namespace("crash").unwrap().spawn("sleep", &["1000"]).unwrap();
        assert!(exists("vxg-crash"));
        std::fs::write(report, process.pid().to_string()).unwrap();
        std::process::abort();
    }
    let by_the_next = || drop(Lab::new().unwrap());
    let by_hand = || lab::clean().unwrap();
    for remove in [&by_the_next as &dyn Fn(), &by_hand] {
        let pid = crash();
        remove();
        assert!(!exists("vxg-crash"));
        // Its parent is gone too: whoever inherited it takes a moment to collect it.
        let path = format!("/proc/{pid}/stat");
        wait_until("the end of the orphan", Duration::from_secs(5), || {
            match std::fs::read_to_string(&path) {
                Ok(stat) if !stat.contains(") Z ") => Err(stat),
                _ => Ok(()),
            }
        })
        .unwrap();
    }
}

/// Lets another process make a lab and crash: the number of the process that it left behind.
fn crash() -> String {
    let report = std::env::temp_dir().join(format!("vxgate-lab-crash-{}", std::process::id()));
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_crashed_lab_left_is_removed"])
        .env(CRASH, &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    let pid = std::fs::read_to_string(&report).unwrap();
    std::fs::remove_file(&report).unwrap();
    pid
}

#[test]
fn a_failed_command_tells_why() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("fail").unwrap();
    let error = namespace.ip("link set nowhere up").unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
    let error = namespace.run("ethtool", &["nowhere"]).unwrap_err().to_string();
    assert!(error.contains("ethtool nowhere") && error.contains("No such device"), "{error}");
}

#[test]
fn a_process_that_ends_early_is_noticed() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("early").unwrap();
    let mut process = namespace.spawn("sh", &["-c", "echo broken >&2; exit 3"]).unwrap();
    let error = process.wait_until("a miracle", Duration::from_secs(10), || false).unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("broken"), "{error}");
}

#[test]
fn sockets_opened_inside_stay_inside() {
    let lab = Lab::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| lab.namespace(name).unwrap());
    let open = || UdpSocket::bind("127.0.0.1:4789").unwrap();
    let (first, second) = (one.enter(open).unwrap(), other.enter(open).unwrap());
    first.send_to(b"to myself", "127.0.0.1:4789").unwrap();
    second.set_nonblocking(true).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(first.recv(&mut buffer).unwrap(), 9);
    assert!(second.recv(&mut buffer).is_err());
    assert_eq!(one.interfaces().unwrap(), ["lo"]);
}

#[test]
fn frames_cross_a_veth_as_they_are() {
    let lab = Lab::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| lab.namespace(name).unwrap());
    let options = VethOptions { mtu: 1600, queues: 2, ..VethOptions::default() };
    veth(VethEnd::new(&one, "left"), VethEnd::new(&other, "right"), options).unwrap();
    let (left, right) = (one.packet_socket("left").unwrap(), other.packet_socket("right").unwrap());

    let mut plain = vec![0x5a; 1614];
    plain[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    // VLAN 7, which the kernel takes out of the frame on its way to the socket.
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
    for frame in [&plain, &tagged] {
        left.send(frame).unwrap();
        assert_eq!(next_test_frame(&right), *frame);
    }
    assert_eq!(right.lost().unwrap(), 0);

    left.send(&plain).unwrap();
    let error = right.receive(&mut [0; 20], Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "no frame may be cut off in silence");

    let mut buffer = [0; 2048];
    let received = left.receive(&mut buffer, Duration::ZERO).unwrap();
    assert!(
        received.is_none_or(|length| buffer[..length] != plain),
        "a socket must not receive what is sent on its own netdev"
    );
}

/// The next frame that is not one of the kernel's own (multicast listener reports).
fn next_test_frame(socket: &lab::PacketSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    loop {
        let length = socket.receive(&mut buffer, Duration::from_secs(5)).unwrap().expect("a frame");
        if buffer[0] == 0x5a {
            buffer.truncate(length);
            return buffer;
        }
    }
}
