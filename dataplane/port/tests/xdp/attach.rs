//! Attaching the classifier to netdevs, in network namespaces that end with the thread that they are made for.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;
use sys::packet::{PacketSocket, Watch};
use vxgate_port::xdp::{Classifier, ClassifierConfig, PortRole, Verdict, XdpError};
use vxgate_port::{XdpMode, XdpRequest};

use crate::frames::*;

/// The port.
pub(crate) const PORT: &str = "vxg-port";
/// What it is connected to.
pub(crate) const PEER: &str = "vxg-peer";

/// Runs `test` in a network namespace of its own, with [`PORT`] and [`PEER`], ends of a veth pair, up.
pub(crate) fn with_veth(test: impl FnOnce() + Send + 'static) {
    let _alone = crate::alone();
    let thread = std::thread::spawn(move || {
        // SAFETY: unsharing the file table could pull descriptors away from under other threads; the network
        // namespace has nothing to do with it.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("tests of attachment need root, for a network namespace");
        let mac = MAC.to_string();
        ip(&["link", "add", PORT, "address", &mac, "type", "veth", "peer", "name", PEER]);
        // The kernel's own neighbour discovery would disturb the counters.
        for interface in [PORT, PEER] {
            ip(&["link", "set", "dev", interface, "addrgenmode", "none", "up"]);
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs ip(8) in the calling thread's namespace.
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip(8) is installed (package iproute2)");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `ip` shows of XDP: `xdp`, `xdpgeneric` or nothing.
fn shown(interface: &str) -> Option<String> {
    let text = ip(&["-d", "link", "show", "dev", interface]);
    text.split_whitespace().find(|word| word.contains("xdp")).map(str::to_owned)
}

pub(crate) fn index(interface: &str) -> u32 {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    rustix::net::netdevice::name_to_index(&socket, interface).unwrap()
}

fn load() -> Classifier {
    let config = ClassifierConfig {
        role: PortRole::Underlay,
        mac: MAC,
        vteps: vec![VTEP4.into()],
        answered: Vec::new(),
        blocks: vec![],
        queues: 1,
        frame_limit: 1700,
    };
    Classifier::load(&config).unwrap_or_else(|error| panic!("{error}"))
}

/// Attaches a new classifier to `interface`.
fn attach(interface: &str, request: XdpRequest) -> Result<(Classifier, XdpMode), XdpError> {
    let mut classifier = load();
    let mode = classifier.attach(index(interface), interface, request)?;
    Ok((classifier, mode))
}

#[test]
fn each_mode_is_got_and_given_back() {
    with_veth(|| {
        for (request, mode, word) in [
            (XdpRequest::Native, XdpMode::Native, "xdp"),
            (XdpRequest::Generic, XdpMode::Generic, "xdpgeneric"),
            (XdpRequest::Auto, XdpMode::Native, "xdp"),
        ] {
            let loaded = load();
            assert_eq!(shown(PORT), None, "loading changes nothing on the netdev");
            drop(loaded);
            let (classifier, got) = attach(PORT, request).unwrap();
            assert_eq!(got, mode);
            assert!(classifier.native_refusal().is_none());
            assert_eq!(shown(PORT).as_deref(), Some(word));
            drop(classifier);
            assert_eq!(shown(PORT), None, "dropping takes the program off");
        }
    });
}

#[test]
fn a_hook_in_use_is_an_error_that_says_so() {
    with_veth(|| {
        let all = [XdpRequest::Auto, XdpRequest::Native, XdpRequest::Generic];
        for first in [XdpRequest::Native, XdpRequest::Generic] {
            let (mut holder, _) = attach(PORT, first).unwrap();
            for second in all {
                let error = attach(PORT, second).unwrap_err();
                assert!(matches!(error, XdpError::HookInUse { .. }), "{first:?}, {second:?}: {error}");
                assert!(error.to_string().contains("ip link set dev vxg-port xdp off"), "{error}");
            }
            let error = holder.attach(index(PEER), PEER, first).unwrap_err();
            assert!(matches!(error, XdpError::AttachedAlready), "{error}");
            assert_eq!(shown(PEER), None);
            drop(holder);
            attach(PORT, first).unwrap();
        }
    });
}

#[test]
fn auto_ends_in_generic_mode_where_the_driver_has_none() {
    with_veth(|| {
        let error = attach("lo", XdpRequest::Native).unwrap_err();
        assert!(matches!(error, XdpError::Attach { mode: XdpMode::Native, .. }), "{error}");
        assert!(error.to_string().contains("`generic` works on every netdev"), "{error}");
        let (classifier, mode) = attach("lo", XdpRequest::Auto).unwrap();
        assert_eq!(mode, XdpMode::Generic);
        let refusal = classifier.native_refusal().unwrap().to_string();
        assert!(refusal.starts_with("lo takes no XDP program in native mode"), "{refusal}");
    });
}

#[test]
fn a_missing_interface_is_named() {
    with_veth(|| {
        let error = load().attach(4711, "vxg-nobody", XdpRequest::Auto).unwrap_err();
        assert!(error.to_string().contains("vxg-nobody"), "{error}");
        assert!(error.to_string().contains("the interface is gone"), "{error}");
    });
}

/// Live frames: the program stands before the kernel's stack, sees tags, and fails closed without a socket.
#[test]
fn frames_on_the_link_are_classified() {
    with_veth(|| {
        for request in [XdpRequest::Native, XdpRequest::Generic] {
            let (classifier, _) = attach(PORT, request).unwrap();
            let peer = PacketSocket::open(PEER, Watch::Incoming).unwrap();
            let packet = ipv4(UDP, VTEP4, &vxlan());
            let tagged = ethernet(MAC, CUSTOMER_TAG, &tag(10, IPV4, &packet));
            for (frame, verdict) in [
                (to_port(&packet), Verdict::NoSocket),
                (ethernet(NEIGHBOUR, IPV4, &packet), Verdict::ForeignMac),
                (tagged, Verdict::Vlan),
                (udp_to(VTEP4, &udp(53, &[])), Verdict::Pass),
            ] {
                peer.send(&frame).unwrap();
                wait_for_one(&classifier, verdict);
            }
        }
    });
}

/// Waits until `verdict` was counted, just once.
fn wait_for_one(classifier: &Classifier, verdict: Verdict) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let counters = classifier.counters().unwrap();
        match counters.iter().find(|(name, _)| *name == verdict) {
            Some((_, 1)) => return,
            Some((_, 0)) if Instant::now() < deadline => std::thread::yield_now(),
            _ => panic!("{verdict} expected, counters are {counters:?}"),
        }
    }
}
