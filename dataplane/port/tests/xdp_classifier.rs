//! The classifier in the real kernel, frame by frame.

use vxgate_port::xdp::*;
#[test]
fn loads() {
    for role in [PortRole::Underlay, PortRole::Uplink] {
        let c = Classifier::load(&ClassifierConfig {
            role,
            mac: wire::MacAddr([2, 0, 0, 0, 0, 1]),
            vteps: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            blocks: vec!["10.0.0.0/8".parse().unwrap()],
            queues: 2,
            frame_limit: 1700,
        })
        .unwrap_or_else(|e| panic!("{e}"));
        println!("{:?} {:?}", c.run(&[0; 14]).unwrap(), c.counters().unwrap());
    }
}
