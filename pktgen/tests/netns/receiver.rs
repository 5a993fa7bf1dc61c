use std::time::Duration;

use lab::{Lab, Namespace, wait_until};
use pktgen::receive::{MeterOptions, Receiver, ReceiverOptions};
use port::Polling;

use crate::frames::{PATIENCE, row, test_packet, wait_for_frames};

fn options(interface: &str) -> ReceiverOptions {
    ReceiverOptions {
        polling: Polling::Adaptive,
        slice: Duration::from_millis(20),
        ..ReceiverOptions::new(interface, MeterOptions::default())
    }
}

fn start(namespace: &Namespace) -> Receiver {
    namespace.enter(|| Receiver::start(options("left"))).unwrap().unwrap()
}

#[test]
fn what_is_sent_is_received_and_the_kernel_keeps_arp() {
    let lab = Lab::new().unwrap();
    let [from, to] = row(&lab, ["from", "to"]);
    let receiver = start(&to);
    assert_eq!((receiver.facts().driver.as_str(), receiver.facts().xdp.as_str()), ("veth", "native"));
    from.ip("address add 198.18.0.1/24 dev right\n").unwrap();
    to.ip("address add 198.18.0.2/24 dev left\n").unwrap();
    let socket = from.packet_socket("right").unwrap();
    for sequence in 0..500 {
        socket.send(&test_packet(3, sequence)).unwrap();
    }
    wait_for_frames(&receiver, 500);
    // Resolved by the kernel; the echo request itself is the receiver's.
    let arping = from.run("arping", &["-c", "1", "-w", "10", "-I", "right", "198.18.0.2"]);
    arping.unwrap();
    let (meter, _, losses) = receiver.stop();
    assert!(losses.to_kernel > 0 && losses.overrun == 0, "{losses:?}");
    let measured = meter.finish(None);
    let [(3, counts, Some(latency))] = &measured.streams[..] else { panic!("{measured:?}") };
    assert_eq!((counts.received, counts.lost, counts.duplicates, counts.reordered), (500, 0, 0, 0));
    assert_eq!((latency.packets, measured.totals.backward), (500, 0));
    assert_eq!(measured.totals.other.sum(), 0);
}

#[test]
fn a_netdev_that_dies_leaves_what_was_measured() {
    let lab = Lab::new().unwrap();
    let [from, to] = row(&lab, ["from", "to"]);
    let socket = from.packet_socket("right").unwrap();
    let receiver = start(&to);
    for sequence in 0..100 {
        socket.send(&test_packet(0, sequence)).unwrap();
    }
    wait_for_frames(&receiver, 100);
    assert!(!to.enter(|| receiver.port_is_gone()).unwrap());
    to.ip("link delete left\n").unwrap();
    wait_until("the end of the netdev", PATIENCE, || to.enter(|| receiver.port_is_gone()).unwrap()).unwrap();
    let (meter, slices, _) = receiver.stop();
    assert!(!slices.is_empty());
    assert_eq!(meter.finish(Some(&[100])).totals.received, 100);
}

#[test]
fn refusals_say_what_to_do() {
    let lab = Lab::new().unwrap();
    let [_from, to] = row(&lab, ["from", "to"]);
    let refusal = |interface: &str| {
        let refused = to.enter(|| Receiver::start(options(interface)).err().map(|error| error.to_string()));
        refused.unwrap().unwrap()
    };
    assert!(refusal("nosuch0").contains("ip link"));
    let receiver = start(&to);
    assert!(refusal("left").contains("left"), "{}", refusal("left"));
    drop(receiver);
    to.ip("link set left down\n").unwrap();
    assert!(refusal("left").contains("link set dev left up"));
    let core = to.enter(|| Receiver::start(ReceiverOptions { core: Some(4096), ..options("left") }).err());
    assert!(core.unwrap().unwrap().to_string().contains("taskset"));
}
