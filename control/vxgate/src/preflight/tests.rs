//! A machine that is right, spoilt in one way at a time.

use super::*;
use crate::mirror::kernel::{Address, Hop, KernelRoute};
use wire::MacAddr;

const CONFIG: &str = r#"
[gateway]
router-mac = "02:00:5e:00:00:01"
blocks = ["10.0.0.0/8", "fd00::/16"]
cores = [1]

[[port]]
interface = "underlay0"
role = "underlay"

[[port]]
interface = "uplink0"
role = "uplink"
addresses = ["198.18.128.1"]

[[overlay]]
vni = 1
subnets = ["10.0.0.0/24"]
endpoints = ["198.18.0.11"]

[[overlay]]
vni = 2
subnets = ["fd00::/64"]
endpoints = ["2001:db8::12"]
"#;

fn settings(text: &str) -> Settings {
    Settings::parse(Path::new("gw.toml"), text).unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        up: true,
        carrier: true,
        mac: Some(MacAddr([2, 0, 0, 0, 0, index as u8])),
        mtu: 1600,
        rx_queues: 1,
        xdp_program: None,
    }
}

fn address(link: u32, text: &str, global: bool) -> Address {
    Address { link, address: text.parse().unwrap(), global, tentative: false }
}

fn route(prefix: &str, metric: u32, kind: RouteKind) -> KernelRoute {
    KernelRoute { prefix: prefix.parse().unwrap(), metric, protocol: 3, kind }
}

fn out_of(link: u32) -> RouteKind {
    RouteKind::Unicast(vec![Hop { link, gateway: None, usable: true, weight: 1 }])
}

fn machine() -> Machine {
    Machine {
        tables: Tables {
            links: vec![link(1, "lo"), link(2, "underlay0"), link(3, "uplink0")],
            addresses: vec![
                address(1, "127.0.0.1", false),
                address(2, "198.18.0.1", true),
                address(2, "2001:db8::1", true),
                address(2, "fe80::2", false),
                address(3, "198.18.128.1", true),
            ],
            routes: vec![route("0.0.0.0/0", 0, out_of(3))],
        },
        capabilities: u64::MAX,
        cores: "0-1".into(),
        forwards_ipv4: true,
        forwards_ipv6: true,
        queues: [1, 2, 3].map(|link| (link, Queues { rx: 1, tx: 1 })).into(),
    }
}

/// Expects one obstacle whose message holds each of `words`.
#[track_caller]
fn refused(text: &str, spoil: impl FnOnce(&mut Machine), words: &[&str]) {
    let mut machine = machine();
    spoil(&mut machine);
    let obstacles = prepare(&settings(text), &machine).expect_err("refused");
    let message = obstacles.to_string();
    assert_eq!(obstacles.0.len(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} expected: {message}");
    }
}

#[test]
fn the_configuration_is_completed() {
    let config = prepare(&settings(CONFIG), &machine()).unwrap();
    let [underlay, uplink] = &config.ports[..] else { panic!() };
    assert_eq!((underlay.ifindex, underlay.mtu, underlay.role), (2, 1600, Role::Underlay));
    assert_eq!(list(&underlay.addresses), "198.18.0.1, 2001:db8::1", "not the link-local one");
    assert_eq!((uplink.ifindex, uplink.mac), (3, MacAddr([2, 0, 0, 0, 0, 3])));
    assert_eq!(config.overlays.iter().map(|overlay| overlay.mtu).collect::<Vec<_>>(), [1500, 1500]);
}

#[test]
fn a_small_underlay_makes_small_overlays() {
    let mut machine = machine();
    machine.tables.links[1].mtu = 1500;
    let config = prepare(&settings(CONFIG), &machine).unwrap();
    assert_eq!(config.overlays.iter().map(|overlay| overlay.mtu).collect::<Vec<_>>(), [1450, 1430]);
}

#[test]
fn mtus() {
    refused(CONFIG, |m| m.tables.links[1].mtu = 1349, &["underlay0", "line 21", "mtu 1350"]);
    let explicit = CONFIG.replace("vni = 2", "vni = 2\nmtu = 1540");
    refused(&explicit, |_| {}, &["MTU 1600", "mtu 1610", "lower the overlays' mtu"]);
    let max = port::MAX_MTU;
    prepare(&settings(CONFIG), &{
        let mut machine = machine();
        machine.tables.links[2].mtu = max.into();
        machine
    })
    .unwrap();
    let remedy = format!("ip link set dev uplink0 mtu {max}");
    refused(CONFIG, |m| m.tables.links[2].mtu = u32::from(max) + 1, &[&remedy]);
    refused(CONFIG, |m| m.tables.links[2].mtu = 65_536, &[&remedy]);
}

#[test]
fn interfaces() {
    refused(
        CONFIG,
        |m| m.tables.links[2].name = "eth7".into(),
        &["no interface uplink0", "lo, underlay0, eth7"],
    );
    refused(CONFIG, |m| m.tables.links[1].up = false, &["ip link set dev underlay0 up"]);
    refused(CONFIG, |m| m.tables.links[1].mac = None, &["underlay0 is not Ethernet"]);
    refused(
        CONFIG,
        |m| m.tables.links[1].xdp_program = Some(42),
        &["in use by program 42", "underlay0 xdp off"],
    );
    refused(
        CONFIG,
        |m| {
            m.queues.insert(2, Queues { rx: 4, tx: 3 });
        },
        &[
            "on 4 queues",
            "on 3,",
            "workers = 4",
            "ethtool -L underlay0 combined 1",
            "ethtool -L underlay0 rx 1 tx 1",
        ],
    );
    let with_queues =
        |queues: Queues| move |m: &mut Machine| m.queues = [2, 3].map(|link| (link, queues)).into();
    let two = CONFIG.replace("cores = [1]", "workers = 2");
    let mut right = machine();
    with_queues(Queues { rx: 2, tx: 4 })(&mut right);
    assert_eq!(prepare(&settings(&two), &right).unwrap().workers, [None; 2]);
    for queues in [Queues { rx: 1, tx: 2 }, Queues { rx: 3, tx: 3 }, Queues { rx: 2, tx: 1 }] {
        let mut machine = machine();
        with_queues(queues)(&mut machine);
        let obstacles = prepare(&settings(&two), &machine).unwrap_err();
        assert!(matches!(obstacles.0[..], [Obstacle::Queues { .. }, Obstacle::Queues { .. }]), "{obstacles}");
    }
    refused(
        CONFIG,
        |m| {
            m.queues.remove(&2);
        },
        &["ip netns exec"],
    );
}

#[test]
fn processes() {
    refused(CONFIG, |m| m.capabilities &= !(1 << 12), &["lacks CAP_NET_ADMIN:", "run as root"]);
    refused(CONFIG, |m| m.capabilities = 0, &["CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON"]);
    refused(CONFIG, |m| m.cores = "0,2-3".into(), &["core 1", "0,2-3"]);
    let mut machine = machine();
    machine.capabilities &= !(1 << 39);
    prepare(&settings(CONFIG), &machine).expect("CAP_SYS_ADMIN stands in for CAP_BPF");
}

#[test]
fn addresses() {
    refused(
        CONFIG,
        |m| {
            m.tables.addresses.pop();
        },
        &["uplink0 has no address 198.18.128.1", "ip address add"],
    );
    let second = |text: &'static str| move |m: &mut Machine| m.tables.addresses.push(address(2, text, true));
    refused(CONFIG, second("198.18.0.2"), &["198.18.0.1, 2001:db8::1, 198.18.0.2", "name the VTEP's"]);
    let none = |m: &mut Machine| m.tables.addresses.retain(|there| there.link != 2 || !there.global);
    let without_endpoints = CONFIG.replace("endpoints", "#");
    refused(&without_endpoints, none, &["no underlay interface (underlay0) has a global address", "vtep = "]);
    let no_ipv6 = |m: &mut Machine| {
        m.tables.addresses.remove(2);
    };
    refused(CONFIG, no_ipv6, &["gw.toml:24", "no IPv6 VTEP address"]);
}

/// With another port of each role; the VTEP's addresses are on lo, those of the links on all ports.
const SEVERAL: &str = r#"
[[port]]
interface = "underlay1"
role = "underlay"

[[port]]
interface = "uplink1"
role = ["uplink", "underlay"]
"#;

fn with_several_ports() -> Machine {
    let mut machine = machine();
    for (index, name) in [(4, "underlay1"), (5, "uplink1")] {
        machine.tables.links.push(link(index, name));
        machine.queues.insert(index, Queues { rx: 1, tx: 1 });
    }
    machine.tables.addresses.extend([
        address(1, "198.18.255.1", true),
        address(1, "2001:db8:ff::1", true),
        address(4, "198.18.4.1", true),
        address(5, "198.18.5.1", true),
    ]);
    machine
}

#[test]
fn several_ports_and_their_vtep_addresses() {
    let vtep = "vtep = [\"198.18.255.1\", \"2001:db8:ff::1\"]\ncores";
    let text = CONFIG.replace("cores", vtep) + SEVERAL;
    let mut machine = with_several_ports();
    let config = prepare(&settings(&text), &machine).unwrap();
    assert_eq!(list(&config.vteps), "198.18.255.1, 2001:db8:ff::1");
    let addresses: Vec<String> = config.ports.iter().map(|port| list(&port.addresses)).collect();
    assert_eq!(addresses, ["", "198.18.128.1", "", "198.18.5.1"], "errors may come from those of uplinks");

    // What fits all ports of the underlay.
    machine.tables.links[4].mtu = 1400;
    let config = prepare(&settings(&text), &machine).unwrap();
    assert_eq!(config.overlays.iter().map(|overlay| overlay.mtu).collect::<Vec<_>>(), [1350, 1330]);
    machine.tables.links[4].mtu = 1600;

    machine.tables.addresses.retain(|there| there.address.to_string() != "2001:db8:ff::1");
    let message = prepare(&settings(&text), &machine).unwrap_err().to_string();
    assert!(message.contains("no netdev has the VTEP address 2001:db8:ff::1"), "{message}");
    assert!(message.contains("`ip address add 2001:db8:ff::1 dev lo`"), "{message}");
}

#[test]
fn without_vtep_the_addresses_of_underlay_ports_are_the_choice() {
    let text = CONFIG.to_owned() + SEVERAL;
    let mut machine = with_several_ports();
    let message = prepare(&settings(&text), &machine).unwrap_err().to_string();
    assert!(message.contains("(198.18.0.1, 2001:db8::1, 198.18.4.1, 198.18.5.1)"), "{message}");
    assert!(message.contains("name the VTEP's in [gateway]"), "{message}");
    // Named by a port.
    let named = text.replacen(
        "role = \"underlay\"",
        "role = \"underlay\"\naddresses = [\"198.18.0.1\", \"2001:db8::1\"]",
        1,
    );
    let config = prepare(&settings(&named), &machine).unwrap();
    assert_eq!(list(&config.vteps), "198.18.0.1, 2001:db8::1");
    // The only ones that there are.
    machine.tables.addresses.retain(|there| there.link < 4);
    assert_eq!(list(&prepare(&settings(&text), &machine).unwrap().vteps), "198.18.0.1, 2001:db8::1");
    machine.tables.addresses.retain(|there| there.link != 2);
    let obstacles = prepare(&settings(&text), &machine).unwrap_err().to_string();
    assert!(obstacles.contains("no underlay interface (underlay0, underlay1, uplink1) has"), "{obstacles}");
}

#[test]
fn hosts_in_blocks() {
    let inside = |m: &mut Machine| m.tables.addresses.push(address(1, "10.3.0.1", true));
    refused(CONFIG, inside, &["block 10.0.0.0/8 holds the host's own address 10.3.0.1"]);
}

#[test]
fn kernel_routes_into_blocks() {
    let with = |prefix: &'static str, metric: u32, kind: fn(u32) -> RouteKind| {
        move |m: &mut Machine| m.tables.routes.push(route(prefix, metric, kind(3)))
    };
    refused(
        CONFIG,
        with("10.9.0.0/16", 700, out_of),
        &["10.9.0.0/16 in block 10.0.0.0/8", "net.ipv4.ip_forward=0"],
    );
    refused(CONFIG, with("fd00:9::/32", 1024, out_of), &["fd00:9::/32", "net.ipv6.conf.all.forwarding=0"]);
    refused(CONFIG, with("10.0.0.0/8", 0, out_of), &["comes before", "ip route del 10.0.0.0/8 metric 0"]);
    refused(CONFIG, with("fd00::/16", 1, out_of), &["comes before"]);
    let accepted = |spoil: &dyn Fn(&mut Machine)| {
        let mut machine = machine();
        spoil(&mut machine);
        prepare(&settings(CONFIG), &machine).unwrap();
    };
    // The blackhole route comes first, or the other drops as well, or the kernel does not forward.
    accepted(&with("10.0.0.0/8", 1, out_of));
    accepted(&with("fd00::/16", 2, out_of));
    accepted(&with("10.0.0.0/8", 0, |_| RouteKind::Blackhole));
    accepted(&with("10.9.0.0/16", 0, |_| RouteKind::Blackhole));
    accepted(&|m| {
        m.forwards_ipv4 = false;
        with("10.9.0.0/16", 0, out_of)(m);
    });
    // A shorter one is beaten by the blackhole route.
    accepted(&with("0.0.0.0/1", 0, out_of));
}

#[test]
fn all_obstacles_are_said_at_once() {
    let mut machine = machine();
    machine.capabilities = 0;
    machine.tables.links[1].up = false;
    machine.tables.links[2].up = false;
    let message = prepare(&settings(CONFIG), &machine).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn lists_of_cores() {
    assert!(is_in_list(3, "0-3,7") && is_in_list(7, "0-3,7") && is_in_list(0, "0"));
    assert!(!is_in_list(4, "0-3,7") && !is_in_list(0, ""));
}

#[test]
fn a_kernel_that_does_not_say_forwards() {
    assert!(forwards("/proc/sys/net/no-such-family/conf"));
}
