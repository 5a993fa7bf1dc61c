//! Each rule, broken once in a file that is right but for that.

use std::path::Path;
use std::time::Instant;

use engine::{MAX_PORTS, PacketRate};

use super::*;

mod bgp;
mod cluster;
mod policy;
mod rules;
mod station_blocks;

const GOOD: &str = r#"
[gateway]
router-mac = "02:00:5e:00:00:01"
blocks = ["10.0.0.0/8", "fd00::/16"]
polling = "adaptive"
cores = [1]

[[port]]
interface = "underlay0"
role = "underlay"
addresses = ["198.18.0.1", "2001:db8:0:1::1"]

[[port]]
interface = "uplink0"
role = "uplink"
addresses = ["198.19.0.1"]
xdp = "generic"
bind = "zero-copy"

[[overlay]]
vni = 100
subnets = ["10.200.1.0/24", { prefix = "fd00:0:1:1::/64", router = "fd00:0:1:1::ff" }]
endpoints = ["198.18.0.11", "2001:db8:0:1::12"]
mtu = 1400

[[overlay-block]]
vnis = "1-4"
ipv4 = { range = "10.0.0.0/22", length = 24 }
ipv6 = { range = "fd00::/48", length = 64 }
endpoints = ["198.18.0.11"]

[[station]]
vni = 100
mac = "02:00:00:00:01:01"
endpoint = "198.18.0.11"
addresses = ["10.200.1.10", "fd00:0:1:1::10"]
"#;

fn parse(text: &str) -> Result<Settings, ConfigError> {
    Settings::parse(Path::new("gw.toml"), text)
}

/// The good file with one text replaced (it must be there), parsed.
#[track_caller]
fn with(old: &str, new: &str) -> Result<Settings, ConfigError> {
    assert!(GOOD.contains(old), "{old}");
    parse(&GOOD.replacen(old, new, 1))
}

/// Expects a fault in the good file with one text replaced, as [`fault`] does.
#[track_caller]
fn refused(old: &str, new: &str, at: &str, words: &[&str]) {
    let text = GOOD.replacen(old, new, 1);
    assert_ne!(text, GOOD, "nothing was replaced");
    fault(&text, at, words);
}

/// Expects a fault on the line that holds `at` (its last occurrence) in this file, with a message that holds each of
/// `words`.
#[track_caller]
fn fault(text: &str, at: &str, words: &[&str]) {
    let message = parse(text).expect_err("refused").to_string();
    let offset = text.rfind(at).expect("the place is in the file");
    let line = text[..offset].matches('\n').count() + 1;
    assert!(message.starts_with(&format!("gw.toml:{line}:")), "line {line} expected: {message}");
    for word in words {
        assert!(message.contains(word), "{word:?} expected: {message}");
    }
}

const STATION: &str = "[[station]]\nvni = 100\n";

#[test]
fn a_good_file_says_all() {
    let settings = parse(GOOD).unwrap();
    assert_eq!(settings.router_mac.to_string(), "02:00:5e:00:00:01");
    assert_eq!(settings.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!((settings.polling, &settings.workers[..]), (Polling::Adaptive, &[Some(1)][..]));
    assert_eq!(settings.ports[1].xdp, XdpRequest::Generic);
    assert_eq!(settings.ports[1].bind, BindRequest::ZeroCopy);
    let vnis: Vec<u32> = settings.overlays.iter().map(|overlay| overlay.vni.value()).collect();
    assert_eq!(vnis, [1, 2, 3, 4, 100]);
    let subnets: Vec<String> = settings
        .overlays
        .iter()
        .flat_map(|overlay| &overlay.subnets)
        .map(|subnet| format!("{} {}", subnet.prefix, subnet.router))
        .collect();
    assert_eq!(subnets[6], "10.0.3.0/24 10.0.3.1");
    assert_eq!(subnets[7], "fd00:0:0:3::/64 fd00:0:0:3::1");
    assert_eq!(subnets[8], "10.200.1.0/24 10.200.1.1");
    assert_eq!(subnets[9], "fd00:0:1:1::/64 fd00:0:1:1::ff");
    let group = &settings.groups[settings.overlays[4].group as usize];
    assert_eq!((group.mtu, group.endpoints.len(), group.ipv6), (Some(1400), 2, true));
    let [station] = &settings.stations.list(&settings.overlays)[..] else { panic!() };
    assert_eq!(station.addresses.len(), 2);
}

#[test]
fn overlays_without_endpoints_and_stations_without_addresses_are_allowed() {
    with("endpoints = [\"198.18.0.11\"]\n", "").unwrap();
    with("addresses = [\"10.200.1.10\", \"fd00:0:1:1::10\"]", "").unwrap();
}

#[test]
fn texts_and_keys() {
    refused("polling =", "poling =", "poling", &["unknown field `poling`", "`polling`"]);
    refused("\"adaptive\"", "\"spin\"", "\"spin\"", &["`busy` or `adaptive`"]);
    refused("role = \"uplink\"", "role = \"core\"", "\"core\"", &["`underlay` or `uplink`"]);
    refused("[gateway]", "[gateway", "[gateway", &["expected"]);
    refused("02:00:5e:00:00:01", "02-00-5e-00-00-01", "02-00", &["six pairs"]);
    refused("vni = 100", "vni = 0", "vni = 0", &["VNI 0", "16777215"]);
    refused("vni = 100", "vni = 16777216", "16777216", &["out of range"]);
    refused("\"1-4\"", "\"4-1\"", "4-1", &["first and the last"]);
    refused("\"1-4\"", "\"0-4\"", "0-4", &["first and the last"]);
    refused("\"10.200.1.0/24\"", "\"10.200.1.5/24\"", "10.200.1.5", &["write 10.200.1.0/24"]);
    refused("\"10.200.1.0/24\"", "\"10.200.1.0\"", "\"10.200.1.0\"", &["an address and a length"]);
    refused("\"10.200.1.0/24\"", "\"10.200.1.0/33\"", "/33", &["an address and a length"]);
    refused("\"uplink0\"", "\"a-very-long-name-for-a-netdev\"", "a-very", &["ip link"]);
}

#[test]
fn workers() {
    let workers = |new: &str| with("cores = [1]", new).unwrap().workers;
    assert_eq!(workers(""), [None]);
    assert_eq!(workers("workers = 3"), [None; 3]);
    assert_eq!(workers("cores = [5, 2]"), [Some(5), Some(2)]);
    assert_eq!(workers("workers = 2\ncores = [0, 1]"), [Some(0), Some(1)]);
    refused("cores = [1]", "workers = 0", "workers", &["nonzero"]);
    refused("cores = [1]", "workers = 4000000000", "workers", &["4000000000 workers", "1024"]);
    refused("cores = [1]", "cores = []", "cores", &["name one for each worker"]);
    refused("cores = [1]", "cores = [1,\n2,\n1]", "1]\n\n[[port]]", &["core 1 is named twice"]);
    refused("cores = [1]", "cores = [-1]", "-1", &["-1"]);
    refused(
        "cores = [1]",
        "workers = 3\ncores = [0, 1]",
        "cores",
        &["names 2", "line 6", "says 3", "leave workers out"],
    );
}

#[test]
fn gateway() {
    refused("\"02:00:5e", "\"03:00:5e", "03:00:5e", &["unicast"]);
    refused("\"02:00:5e:00:00:01\"", "\"00:00:00:00:00:00\"", "00:00:00:00:00:00", &["unicast"]);
    refused("[\"10.0.0.0/8\", \"fd00::/16\"]", "[]", "blocks", &["blocks is empty"]);
    refused("\"fd00::/16\"]", "\"10.1.0.0/16\"]", "10.1.0.0", &["overlaps block 10.0.0.0/8"]);
    refused("\"fd00::/16\"]", "\"::/0\"]", "::/0", &["never routed"]);
    refused("\"fd00::/16\"]", "\"fe80::/64\"]", "fe80::", &["never routed"]);
    refused("\"10.0.0.0/8\"", "\"224.0.0.0/8\"", "224.0.0.0", &["224.0.0.0/4"]);
}

#[test]
fn ports() {
    refused("\"uplink0\"", "\"underlay0\"", "[[port]]", &["underlay0", "line 8", "of its own"]);
    let copy = "role = \"underlay\"\nbind = \"copy\"";
    refused("role = \"underlay\"", copy, "[[port]]", &["bind = \"zero-copy\"", "line 8", "\"copy\""]);
    let (start, end) = (GOOD.rfind("[[port]]").unwrap(), GOOD.find("[[overlay]]").unwrap());
    let error = parse(&format!("{}{}", &GOOD[..start], &GOOD[end..])).unwrap_err().to_string();
    assert!(error.contains("no port has the role uplink: add"), "{error}");
    refused("\"198.18.0.1\"", "\"224.0.0.1\"", "224.0.0.1", &["must be unicast"]);
    refused("\"198.18.0.1\"", "\"fe80::1\"", "fe80::1", &["link-local"]);
    refused("\"198.18.0.1\"", "\"10.1.2.3\"", "10.1.2.3", &["lies in block 10.0.0.0/8"]);
    refused("\"198.18.0.1\"", "\"2001:db8:0:1::1\"", "\"2001:db8:0:1::1\"]", &["named twice"]);
    refused("\"198.18.0.1\"", "\"2001:db8:0:1::2\"", "2001:db8:0:1::2", &["at most one IPv4 and one IPv6"]);
}

#[test]
fn several_ports_of_a_role() {
    let port = |n: usize, role: &str, keys: &str| {
        format!("[[port]]\ninterface = \"eth{n}\"\nrole = \"{role}\"\n{keys}\n")
    };
    let more = |count| (0..count).map(|n| port(n, ["underlay", "uplink"][n % 2], "")).collect::<String>();
    let before = |text: String| format!("{text}[[overlay]]");
    let settings = with("[[overlay]]", &before(more(MAX_PORTS - 2))).unwrap();
    assert_eq!(settings.ports.len(), MAX_PORTS);
    assert_eq!(settings.named_vteps(), settings.ports[0].addresses);
    refused("[[overlay]]", &before(more(MAX_PORTS - 1)), "[[port]]", &["17 ports are more than 16", "bond"]);

    // The VTEP's addresses are one a family over all ports.
    let second = before(port(1, "underlay", "addresses = [\"198.18.1.1\"]"));
    refused("[[overlay]]", &second, "198.18.1.1", &["at most one IPv4 and one IPv6", "all underlay ports"]);
    let same = before(port(1, "uplink", "addresses = [\"198.18.0.1\"]"));
    refused("[[overlay]]", &same, "[\"198.18.0.1\"]", &["named twice"]);
    let v4_alone = GOOD.replace("\"198.18.0.1\", \"2001:db8:0:1::1\"", "\"198.18.0.1\"");
    let v6_on_second = before(port(1, "underlay", "addresses = [\"2001:db8:0:1::1\"]"));
    let settings = parse(&v4_alone.replacen("[[overlay]]", &v6_on_second, 1)).unwrap();
    assert_eq!(settings.named_vteps().len(), 2);
    // Those of an uplink are no VTEP's, however many.
    let uplink = before(port(1, "uplink", "addresses = [\"198.19.0.2\", \"198.19.0.3\"]"));
    with("[[overlay]]", &uplink).unwrap();
}

#[test]
fn vtep_addresses_of_the_gateway() {
    let named = "addresses = [\"198.18.0.1\", \"2001:db8:0:1::1\"]\n";
    let vtep = |value: &str| format!("cores = [1]\nvtep = {value}");
    let good = GOOD.replace(named, "");
    let parsed = |value: &str| parse(&good.replace("cores = [1]", &vtep(value)));
    let settings = parsed("[\"198.18.255.1\", \"2001:db8:ff::1\"]").unwrap();
    assert_eq!(settings.vteps, settings.named_vteps());
    assert_eq!(settings.vteps.len(), 2);
    for (value, words) in [
        ("[]", "vtep is empty"),
        ("[\"198.18.255.1\", \"198.18.255.2\"]", "198.18.255.2: name at most one"),
        ("[\"fe80::1\"]", "must be unicast"),
        ("[\"10.1.2.3\"]", "lies in block 10.0.0.0/8"),
        ("[\"198.18.255.1\"]", "no IPv6 VTEP address"),
        ("[\"198.18.0.11\", \"2001:db8:ff::1\"]", "own VTEP address"),
    ] {
        let error = parsed(value).unwrap_err().to_string();
        assert!(error.contains(words), "{value}: {error}");
    }
    let both = vtep("[\"198.18.255.1\", \"2001:db8:ff::1\"]");
    refused("cores = [1]", &both, "\"198.18.0.1\"", &["vtep (line 7)", "remove the addresses"]);
    // A port with both roles has addresses of its own beside.
    let stick = GOOD.replace("\"underlay\"", "[\"underlay\", \"uplink\"]").replace("cores = [1]", &both);
    assert_eq!(parse(&stick).unwrap().ports[0].addresses.len(), 2);
}

#[test]
fn a_port_may_have_both_roles() {
    let (start, end) = (GOOD.rfind("[[port]]").unwrap(), GOOD.find("[[overlay]]").unwrap());
    let one_port = format!("{}{}", &GOOD[..start], &GOOD[end..]);
    for roles in ["[\"underlay\", \"uplink\"]", "[\"uplink\", \"underlay\"]"] {
        let settings = parse(&one_port.replace("\"underlay\"", roles)).unwrap();
        assert_eq!((settings.ports.len(), settings.ports[0].role), (1, Role::Both));
    }
    assert_eq!(with("\"uplink\"", "[\"uplink\"]").unwrap().ports[1].role, Role::Uplink);
    let both = "[\"underlay\", \"uplink\"]";
    assert_eq!(with("\"underlay\"", both).unwrap().ports[0].role, Role::Both, "beside an uplink");
    refused("\"uplink\"", "[]", "role = []", &["empty list"]);
    refused("\"uplink\"", "[\"uplink\", \"uplink\"]", "\"uplink\",", &["name each once"]);
    // VTEP addresses: one a family.
    let error = parse(
        &one_port.replace("\"underlay\"", both).replace("\"198.18.0.1\"", "\"198.18.0.1\", \"198.18.0.2\""),
    );
    assert!(error.unwrap_err().to_string().contains("at most one IPv4 and one IPv6"));
}

#[test]
fn limits_of_what_the_slow_path_is_given() {
    let defaults = parse(GOOD).unwrap().punt_limits;
    assert_eq!(defaults, PuntLimits::default());
    let punts = "cores = [1]\n[gateway.punts]\nstranger = { overlay = { rate = 7 }, total = { rate = 70, burst = 9 } }\n\
                 error.overlay.burst = 3\n";
    let limits = with("cores = [1]\n", punts).unwrap().punt_limits;
    let mut expected = defaults;
    expected.overlay[2].rate = 7;
    expected.total[2] = PacketRate { rate: 70, burst: 9 };
    expected.overlay[4].burst = 3;
    assert_eq!(limits, expected);
    let wrong = |keys: &str| format!("cores = [1]\n[gateway.punts]\n{keys}\n");
    refused("cores = [1]\n", &wrong("host.total.rate = 0"), "host", &["nonzero"]);
    refused("cores = [1]\n", &wrong("hosts.total.rate = 1"), "hosts", &["unknown field `hosts`", "`host`"]);
    refused("cores = [1]\n", &wrong("host.each.rate = 1"), "host", &["unknown field `each`"]);
    refused("cores = [1]\n", &wrong("host.total.rat = 1"), "host", &["unknown field `rat`"]);
}

#[test]
fn overlays() {
    refused("vni = 100", "vni = 3", "[[overlay-block]]", &["VNI 3 is configured twice", "line 20"]);
    refused(
        "[[station]]",
        "[[overlay]]\nvni = 100\nsubnets = [\"10.9.0.0/24\"]\n[[station]]",
        "[[overlay]]",
        &["VNI 100 is configured twice"],
    );
    refused(
        "[\"10.200.1.0/24\", { prefix = \"fd00:0:1:1::/64\", router = \"fd00:0:1:1::ff\" }]",
        "[]",
        "[[overlay]]",
        &["needs a subnet"],
    );
    refused("10.200.1.0/24", "10.200.1.0/31", "10.200.1.0/31", &["no room", "/30"]);
    refused("10.200.1.0/24", "10.200.1.0/32", "10.200.1.0/32", &["no room"]);
    refused("fd00:0:1:1::/64", "fd00:0:1:1::/127", "fd00:0:1:1::/127", &["no room", "/126"]);
    refused("10.200.1.0/24", "172.16.1.0/24", "[[overlay]]", &["172.16.1.0/24 of VNI 100 lies in no block"]);
    refused("10.200.1.0/24", "10.0.3.128/25", "[[overlay]]", &["overlaps 10.0.3.0/24 of VNI 4", "line 26"]);
    refused(
        "fd00:0:1:1::/64",
        "fd00:0:1::/48\", router = \"fd00:0:1::1\" }, { prefix = \"fd00:0:1:1::/64",
        "[[overlay]]",
        &["overlaps fd00:0:1::/48 of VNI 100"],
    );
    refused("\"fd00:0:1:1::ff\"", "\"fd00:0:1:2::1\"", "fd00:0:1:2::1", &["not a host address"]);
    refused(
        "\"10.200.1.0/24\"",
        "{ prefix = \"10.200.1.0/24\", router = \"10.200.1.0\" }",
        "10.200.1.0/24",
        &["not a host address"],
    );
    refused(
        "\"10.200.1.0/24\"",
        "{ prefix = \"10.200.1.0/24\", router = \"10.200.1.255\" }",
        "10.200.1.0/24",
        &["not a host address"],
    );
    refused(
        "\"10.200.1.0/24\"",
        "{ prefix = \"10.200.1.0/24\", routr = \"10.200.1.1\" }",
        "routr",
        &["unknown"],
    );
    refused("mtu = 1400", "mtu = 1279", "[[overlay]]", &["1280", "IPv6"]);
    refused("mtu = 1400", "mtu = 70000", "70000", &["70000"]);
}

#[test]
fn overlay_blocks() {
    refused("10.0.0.0/22", "10.0.0.0/23", "10.0.0.0/23", &["holds 2 subnets", "too few for 4 VNIs"]);
    refused("length = 24", "length = 21", "length = 21", &["from 22 to 30"]);
    refused("length = 24", "length = 31", "length = 31", &["from 22 to 30"]);
    refused("length = 64", "length = 129", "length = 129", &["from 48 to 126"]);
    refused("ipv4 = {", "ipv6 = {", "ipv6", &["duplicate key"]);
    refused("\"10.0.0.0/22\"", "\"fd00:0:2::/48\"", "fd00:0:2::/48", &["no IPv4 prefix"]);
    refused("10.0.0.0/22", "11.0.0.0/22", "[[overlay-block]]", &["11.0.0.0/24 of VNI 1 lies in no block"]);
}

#[test]
fn endpoints() {
    refused("[\"198.18.0.11\"]", "[\"224.0.0.5\"]", "224.0.0.5", &["must be unicast"]);
    refused("[\"198.18.0.11\"]", "[\"0.0.0.0\"]", "0.0.0.0", &["must be unicast"]);
    refused("[\"198.18.0.11\"]", "[\"::1\"]", "\"::1\"", &["loopback"]);
    refused("[\"198.18.0.11\"]", "[\"198.18.0.11\", \"198.18.0.11\"]", "198.18.0.11\", \"198", &["twice"]);
    refused("[\"198.18.0.11\"]", "[\"10.4.4.4\"]", "10.4.4.4", &["lies in block"]);
    refused("[\"198.18.0.11\"]", "[\"198.18.0.1\"]", "[\"198.18.0.1\"]", &["own VTEP address"]);
    refused(", \"2001:db8:0:1::1\"]", "]", "2001:db8:0:1::12", &["no IPv6 VTEP address"]);
    refused("[\"198.18.0.11\"]", "[\"198.18.0.1100\"]", "198.18.0.1100", &["IP address"]);
}

#[test]
fn stations() {
    refused(STATION, "[[station]]\nvni = 99\n", "vni = 99", &["VNI 99 is no configured overlay"]);
    refused("02:00:00:00:01:01", "01:00:5e:00:00:01", "01:00:5e", &["unicast"]);
    refused("\"02:00:00:00:01:01\"", "\"02:00:5e:00:00:01\"", "02:00:5e", &["is the router's"]);
    refused(
        "endpoint = \"198.18.0.11\"",
        "endpoint = \"198.18.0.12\"",
        "198.18.0.12",
        &["no endpoint of VNI 100"],
    );
    refused("10.200.1.10", "10.0.1.10", "10.0.1.10", &["no subnet of VNI 100"]);
    refused("10.200.1.10", "10.200.1.255", "10.200.1.255", &["no subnet of VNI 100"]);
    refused("10.200.1.10", "10.200.1.1", "10.200.1.1", &["is the router's"]);
    refused("\"10.200.1.10\"", "\"fd00:0:1:1::10\"", "fd00:0:1:1::10", &["twice", "line 36"]);

    let second = "[[station]]\nvni = 100\nmac = \"02:00:00:00:01:02\"\nendpoint = \"198.18.0.11\"\n";
    let station = GOOD.find("[[station]]").unwrap();
    let before = |text: &str| format!("{}{text}{}", &GOOD[..station], &GOOD[station..]);
    parse(&before(second)).unwrap();
    let error = parse(&before(&second.replace(":02\"", ":01\""))).unwrap_err().to_string();
    assert!(error.contains("02:00:00:00:01:01 is in VNI 100 twice"), "{error}");
    // The same MAC and address in another overlay are another station.
    let other = second.replace("vni = 100", "vni = 1").replace(":02\"", ":01\"");
    parse(&before(&other)).unwrap();
}

#[test]
fn vteps_of_the_machine_are_checked_too() {
    let settings = with("addresses = [\"198.18.0.1\", \"2001:db8:0:1::1\"]\n", "").unwrap();
    let vteps = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
    settings.check_endpoints(&vteps(&["198.18.0.1", "2001:db8:0:1::1"])).unwrap();
    let error = settings.check_endpoints(&vteps(&["198.18.0.1"])).unwrap_err().to_string();
    assert!(error.contains("no IPv6 VTEP address"), "{error}");
    let error =
        settings.check_endpoints(&vteps(&["198.18.0.11", "2001:db8:0:1::1"])).unwrap_err().to_string();
    assert!(error.contains("own VTEP address"), "{error}");
}

#[test]
fn sixty_five_thousand_overlays_take_a_moment() {
    let text = GOOD
        .replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"172.16.0.0/12\"")
        .replace("10.200.1.", "172.16.1.")
        .replace("\"1-4\"", "\"101-65636\"")
        .replace("10.0.0.0/22", "10.0.0.0/8");
    let start = Instant::now();
    let settings = parse(&text).unwrap();
    // Quadratic work would take minutes.
    eprintln!("=== 65 536 overlays in one block are parsed in {} ms ===", start.elapsed().as_millis());
    assert_eq!(settings.overlays.len(), 65_536 + 1);
    let last = settings.overlays.last().unwrap();
    assert_eq!(last.subnets[0].prefix.to_string(), "10.255.255.0/24");
    assert_eq!(last.subnets[1].prefix.to_string(), "fd00:0:0:ffff::/64");
}

/// The examples of the book: the first is a whole file, as is any that has a `[gateway]`; the others are added to it.
#[test]
fn the_documented_files_are_right() {
    let book = include_str!("../../../../docs/configuration.md");
    let blocks = book.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let blocks: Vec<&str> = blocks.collect();
    let settings = parse(blocks[0]).unwrap();
    assert_eq!((settings.overlays.len(), settings.stations.len()), (60_001, 1));
    settings.check_endpoints(&settings.ports[0].addresses).unwrap();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for block in &blocks[1..] {
        let text = match block.contains("[gateway]\n") {
            true => (*block).to_owned(),
            false => format!("{}\n{block}", blocks[0]),
        };
        parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
fn places_are_counted_from_one() {
    let lines = Lines::new("ab\ncd\n");
    let place = |line, column| Place { line, column };
    assert_eq!(
        [0, 1, 3, 4, 6].map(|at| lines.place(at)),
        [place(1, 1), place(1, 2), place(2, 1), place(2, 2), place(3, 1)]
    );
}
