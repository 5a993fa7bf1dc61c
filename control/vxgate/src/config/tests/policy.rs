//! How stations are treated: defaults, what wins over them, and what cannot be.

use std::net::Ipv6Addr;
use std::time::Duration;

use engine::{Admission, Dscp, Proxy, RateLimit};

use super::*;

const OVERLAY: &str = "vni = 100\n";

fn group_of(settings: &Settings, vni: u32) -> &OverlayGroup {
    let overlay = settings.overlays.iter().find(|overlay| overlay.vni.value() == vni).unwrap();
    &settings.groups[overlay.group as usize]
}

/// The good file with `[defaults]`, and with keys in the overlay 100.
fn with_policies(defaults: &str, own: &str) -> Settings {
    let text =
        GOOD.replace("[[overlay]]\nvni = 100\n", &format!("{defaults}\n[[overlay]]\nvni = 100\n{own}\n"));
    parse(&text).unwrap()
}

/// Expects a fault where `keys`, in the table of overlay 100, has `at`.
#[track_caller]
fn refused_keys(keys: &str, at: &str, words: &[&str]) {
    refused(OVERLAY, &format!("{OVERLAY}{keys}\n"), at, words);
}

#[test]
fn without_keys_all_is_as_the_engine_has_it() {
    let settings = parse(GOOD).unwrap();
    let group = group_of(&settings, 100);
    assert_eq!(*group.policy, OverlayPolicy::default());
    assert_eq!((group.owner, group.own_mac), (true, None));
}

#[test]
fn a_table_wins_over_the_defaults_key_by_key() {
    let defaults = r#"
        [defaults]
        admission = "strict"
        proxy = "known"
        addresses-per-station = 4
        dhcp-servers = ["198.19.0.5", "2001:db8:0:2::5"]
        dscp = 46
        egress-limit = { bits = "100M", packets = 20_000 }
        ingress-limit = { packets = "5k" }
        owner = false
        own-mac = "02:00:5e:00:00:02"
    "#;
    let own = r#"
        admission = "loose"
        proxy = "isolate"
        dhcp-servers = []
        dscp = "copy"
        ingress-limit = "none"
        egress-limit = { bits = 64_000 }
        owner = true
    "#;
    let settings = with_policies(defaults, own);
    let (by_defaults, by_own) = (group_of(&settings, 1), group_of(&settings, 100));
    let expected = OverlayPolicy {
        admission: Admission::Strict,
        proxy: Proxy::Known,
        addresses_per_station: 4,
        dhcp_servers: vec!["198.19.0.5".parse().unwrap(), "2001:db8:0:2::5".parse().unwrap()],
        dscp: Dscp::Set(46),
        egress_limit: RateLimit { bits: Some(100_000_000), packets: Some(20_000) },
        ingress_limit: RateLimit { bits: None, packets: Some(5_000) },
        advertisement: None,
    };
    assert_eq!(*by_defaults.policy, expected);
    let own_mac = Some(MacAddr([2, 0, 0x5e, 0, 0, 2]));
    assert_eq!((by_defaults.owner, by_defaults.own_mac), (false, own_mac));
    let expected = OverlayPolicy {
        addresses_per_station: 4,
        admission: Admission::Loose,
        proxy: Proxy::Isolate,
        egress_limit: RateLimit { bits: Some(64_000), packets: None },
        ..OverlayPolicy::default()
    };
    assert_eq!(*by_own.policy, expected);
    assert_eq!((by_own.owner, by_own.own_mac), (true, own_mac));
}

#[test]
fn tables_that_say_nothing_share_one_policy() {
    let more: String = (0..50)
        .map(|n| {
            format!(
                "[[overlay]]\nvni = {}\nsubnets = [\"10.201.{n}.0/24\", \"fd00:0:2:{n}::/64\"]\n",
                1000 + n
            )
        })
        .collect();
    let settings = parse(&GOOD.replace("[[station]]", &format!("{more}[[station]]"))).unwrap();
    let first = &settings.groups[0].policy;
    assert_eq!(settings.groups.len(), 52);
    assert!(settings.groups.iter().all(|group| Arc::ptr_eq(first, &group.policy)));
}

#[test]
fn router_advertisements() {
    let own = r#"
        [overlay.advertise]
        managed = true
        other = true
        interval = 30
        router-lifetime = 0
        preferred-lifetime = 600
        valid-lifetime = 1200
        dns-servers = ["2001:db8::53"]
        dns-search = ["Lab.example.net"]
    "#;
    // The keys of the overlay itself come before its sub-table.
    let text = GOOD.replace("mtu = 1400\n", &format!("mtu = 1400\n{own}\n"));
    let settings = parse(&text).unwrap();
    let seconds = Duration::from_secs;
    let expected = engine::RouterAdvertisement {
        managed: true,
        other: true,
        autonomous: true,
        router_lifetime: seconds(0),
        preferred_lifetime: seconds(600),
        valid_lifetime: seconds(1200),
        interval: seconds(30),
        dns_servers: vec!["2001:db8::53".parse::<Ipv6Addr>().unwrap()],
        dns_search: vec!["lab.example.net".into()],
    };
    assert_eq!(group_of(&settings, 100).policy.advertisement, Some(expected));
    assert_eq!(group_of(&settings, 1).policy.advertisement, None, "only where asked");

    let settings = with_policies("[defaults]\nadvertise = true\n", "advertise = false");
    assert_eq!(group_of(&settings, 100).policy.advertisement, None);
    let standard = group_of(&settings, 1).policy.advertisement.clone().unwrap();
    let times =
        [standard.interval, standard.router_lifetime, standard.preferred_lifetime, standard.valid_lifetime];
    assert_eq!(times, [600, 1800, 604_800, 2_592_000].map(seconds), "RFC 4861 §6.2.1");
    assert!(!standard.managed && !standard.other && standard.autonomous);
    // A short validity takes what is preferred along.
    let settings = with_policies("", "advertise = { valid-lifetime = 60 }");
    let short = group_of(&settings, 100).policy.advertisement.clone().unwrap();
    assert_eq!(short.preferred_lifetime, seconds(60));
}

#[test]
fn addresses_are_made_where_all_prefixes_are_of_64_bits() {
    let long =
        GOOD.replace("{ prefix = \"fd00:0:1:1::/64\"", "\"fd00:0:1:2::/64\", { prefix = \"fd00:0:1:1::/80\"");
    let text = long.replace("[[overlay]]", "[defaults]\nadvertise = true\n[[overlay]]");
    let settings = parse(&text).unwrap();
    let autonomous = |vni| group_of(&settings, vni).policy.advertisement.as_ref().unwrap().autonomous;
    assert_eq!((autonomous(100), autonomous(1)), (false, true));

    let forced = long.replace("mtu = 1400", "mtu = 1400\nadvertise = { autonomous = true }");
    let error = parse(&forced).unwrap_err().to_string();
    assert!(error.starts_with("gw.toml:25:13: autonomous = true is for prefixes of length 64"), "{error}");
    assert!(error.contains("one of length 80"), "{error}");
    let by_default = text.replace("advertise = true", "advertise = { autonomous = true }");
    let error = parse(&by_default).unwrap_err().to_string();
    assert!(error.starts_with("gw.toml:22:1: autonomous"), "the overlay: {error}");
}

#[test]
fn advertisements_need_ipv6() {
    let v4 = "subnets = [\"10.200.1.0/24\"]\nendpoints";
    let subnets = "subnets = [\"10.200.1.0/24\", { prefix = \"fd00:0:1:1::/64\", router = \"fd00:0:1:1::ff\" }]\nendpoints";
    let text = GOOD.replace(subnets, v4).replace(", \"fd00:0:1:1::10\"]", "]");
    let defaults = text.replace("[[overlay]]", "[defaults]\nadvertise = true\n[[overlay]]");
    assert_eq!(group_of(&parse(&defaults).unwrap(), 100).policy.advertisement, None);
    let error = parse(&text.replace("mtu = 1400", "mtu = 1400\nadvertise = true")).unwrap_err().to_string();
    assert!(error.starts_with("gw.toml:25:13: advertise is set, and there is no IPv6 subnet"), "{error}");
}

#[test]
fn advertisements_are_checked() {
    let keys = |keys: &str| format!("advertise = {{ {keys} }}");
    for (wrong, words) in [
        ("interval = 3", ["interval 3", "4 to 1800"]),
        ("interval = 1801", ["interval 1801", "4 to 1800"]),
        ("router-lifetime = 599", ["router-lifetime 599", "(600) to 9000"]),
        ("router-lifetime = 9001", ["router-lifetime 9001", "9000"]),
        ("preferred-lifetime = 10, valid-lifetime = 9", ["preferred-lifetime 10", "valid-lifetime 9"]),
        ("valid-lifetime = 4294967296", ["4294967296", "u32"]),
        ("dns-servers = [\"ff02::1\"]", ["ff02::1", "unicast"]),
        ("dns-servers = [\"192.0.2.1\"]", ["invalid IPv6", ""]),
        ("dns-search = [\"a..b\"]", ["\"a..b\"", "between dots"]),
        ("managd = true", ["unknown field `managd`", "`managed`"]),
    ] {
        refused_keys(&keys(wrong), "advertise", &words);
    }
    let many: Vec<String> = (0..80).map(|n| format!("\"2001:db8::{n:x}\"")).collect();
    let at = "advertise";
    refused_keys(&keys(&format!("dns-servers = [{}]", many.join(", "))), at, &["1240 fit every link"]);
    refused_keys("advertise = 1", "advertise", &["true, false, or a table"]);
}

#[test]
fn policies_are_checked() {
    refused_keys("admission = \"lose\"", "lose\"", &["`loose` or `strict`"]);
    refused_keys("proxy = \"all\"", "\"all\"", &["`own`, `known`, `isolate`"]);
    refused_keys("addresses-per-station = 0", "addresses-per-station", &["1 to 4096"]);
    refused_keys("addresses-per-station = 4097", "addresses-per-station", &["1 to 4096"]);
    refused_keys("dhcp-servers = [\"224.0.0.1\"]", "224.0.0.1", &["must be unicast"]);
    refused_keys("dhcp-servers = [\"10.9.9.9\"]", "10.9.9.9", &["lies in block 10.0.0.0/8", "outer network"]);
    refused_keys("dscp = 64", "dscp", &["0 to 63"]);
    refused_keys("dscp = -1", "dscp", &["0 to 63"]);
    refused_keys("dscp = \"ef\"", "dscp", &["\"copy\""]);
    refused_keys("egress-limit = {}", "egress-limit", &["limits nothing"]);
    refused_keys("egress-limit = \"some\"", "egress-limit", &["\"none\""]);
    refused_keys("egress-limit = { bits = 0 }", "egress-limit", &["above zero"]);
    refused_keys("egress-limit = { packets = \"10m\" }", "egress-limit", &["k, M or G"]);
    refused_keys("egress-limit = { bits = \"99999999999999G\" }", "egress-limit", &["no rate"]);
    refused_keys("ingress-limit = { bites = 1 }", "ingress-limit", &["unknown field `bites`"]);
    refused_keys("own-mac = \"03:00:5e:00:00:02\"", "own-mac", &["unicast"]);
    refused_keys("own-mac = \"02:00:5e:00:00:01\"", "own-mac", &["other than router-mac"]);
    refused_keys("owner = false", "[[overlay]]", &["needs own-mac"]);
    refused_keys("own-mac = \"02:00:00:00:01:01\"", "mac = \"02:00:00:00:01:01\"", &["is the router's"]);
    refused("[[overlay]]", "[defaults]\ndscp = 64\n[[overlay]]", "dscp", &["0 to 63"]);
    refused("[[overlay]]", "[defaults]\nmtu = 64\n[[overlay]]", "mtu = 64", &["unknown field `mtu`"]);
    refused("[[overlay]]", "[defaults]\nowner = false\n[[overlay]]", "[[overlay]]", &["needs own-mac"]);
}
