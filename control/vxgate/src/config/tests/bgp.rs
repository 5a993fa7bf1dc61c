//! `[bgp]`: what it says, and each rule broken once.

use std::net::Ipv4Addr;
use std::time::Duration;

use evpn::{Family, RouteTargets};

use super::*;

const BGP: &str = r#"
[bgp]
asn = 65000
router-id = "192.0.2.1"
cluster-number = 7

[[bgp.peer]]
address = "192.0.2.9"
remote-asn = 65000

[[bgp.peer]]
address = "2001:db8::9"
remote-asn = "external"
local-address = "2001:db8::1"
password = "secret"
ttl-security = 2
passive = true
hold-time = 9
connect-retry = 1
families = ["evpn", "ipv6"]
announce-ipv6-vtep = true
maximum-prefixes = 1000
maximum-prefixes-restart = 60
graceful-restart = 120
"#;

fn with_bgp(old: &str, new: &str) -> String {
    assert!(BGP.contains(old), "{old}");
    format!("{GOOD}{}", BGP.replacen(old, new, 1))
}

/// As [`super::refused`], for a change in the part above.
#[track_caller]
fn bad(old: &str, new: &str, at: &str, words: &[&str]) {
    fault(&with_bgp(old, new), at, words);
}

#[test]
fn all_of_it_is_read() {
    assert!(parse(GOOD).unwrap().bgp.is_none());
    let bgp = parse(&with_bgp("[bgp]", "[bgp]")).unwrap().bgp.unwrap();
    assert_eq!((bgp.local.asn, bgp.local.cluster), (65000, 7));
    assert_eq!(bgp.local.router_id, Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(bgp.targets(Vni::new(100).unwrap()), RouteTargets::Frr);
    let peers = bgp.peer_configs().unwrap();
    assert_eq!((peers[0].asn, &peers[0].families[..]), (Some(65000), &[Family::Evpn][..]));
    let peer = &peers[1];
    assert_eq!((peer.asn, peer.passive, peer.hold_time), (None, true, 9));
    assert_eq!((&peer.families[..], peer.announce_ipv6_vtep), (&[Family::Evpn, Family::Ipv6][..], true));
    assert_eq!((peer.max_routes, peer.max_routes_restart), (1000, Some(Duration::from_secs(60))));
    assert_eq!((peer.connect_retry, peer.graceful_restart), (Duration::from_secs(1), Some(120)));
    let transport = &peer.transport;
    assert_eq!((transport.password.as_deref(), transport.ttl_security), (Some("secret"), Some(2)));
    assert_eq!(transport.local, Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn duplicates_have_their_defaults_one_by_one() {
    let bgp = |text: &str| parse(&with_bgp("cluster-number = 7", text)).unwrap().bgp.unwrap();
    let default = evpn::DuplicatePolicy::default();
    assert_eq!(bgp("cluster-number = 7").duplicates, default);
    let changed = bgp("cluster-number = 7\nduplicates = { moves = 3, recovery = \"never\" }").duplicates;
    assert_eq!((changed.moves, changed.window, changed.recovery), (3, default.window, None));
}

#[test]
fn an_overlay_may_name_its_route_targets() {
    let named = "mtu = 1400\nroute-targets = { import = [\"1:1\", \"65001:7\"], export = \"65001:7\" }";
    let text = with_bgp("[bgp]", "[bgp]\nroute-target = \"rfc8365\"").replacen("mtu = 1400", named, 1);
    let bgp = parse(&text).unwrap().bgp.unwrap();
    assert_eq!(bgp.targets(Vni::new(1).unwrap()), RouteTargets::Rfc8365);
    let RouteTargets::Explicit { import, export } = bgp.targets(Vni::new(100).unwrap()) else { panic!() };
    assert_eq!((import.len(), export.len(), export[0].to_string()), (2, 1, "65001:7".into()));
}

#[test]
fn a_password_may_be_in_a_file_beside_the_configuration() {
    let directory = std::env::temp_dir().join(format!("vxgate-passwords-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let text = with_bgp("password = \"secret\"", "password-file = \"peer.key\"");
    let settings = Settings::parse(&directory.join("gw.toml"), &text).unwrap().bgp.unwrap();
    let missing = settings.peer_configs().unwrap_err().to_string();
    assert!(missing.contains("peer.key") && missing.starts_with("line "), "{missing}");
    fs::write(directory.join("peer.key"), "\n").unwrap();
    assert!(settings.peer_configs().unwrap_err().to_string().contains("1 to 80 bytes"));
    fs::write(directory.join("peer.key"), "from a file\n").unwrap();
    let peers = settings.peer_configs().unwrap();
    assert_eq!(peers[1].transport.password.as_deref(), Some("from a file"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn who_we_are_must_be_possible() {
    bad("asn = 65000", "asn = 0", "asn = 0", &["reserved", "AS number"]);
    bad("\"192.0.2.1\"", "\"0.0.0.0\"", "router-id", &["0.0.0.0", "IPv4 address"]);
    bad("cluster-number = 7", "cluster-number = 70000", "70000", &[]);
    bad("cluster-number = 7\n", "", "[bgp]", &["no cluster-number"]);
    let alone = BGP.find("[[bgp.peer]]").unwrap();
    let message = parse(&format!("{GOOD}{}", &BGP[..alone])).unwrap_err().to_string();
    assert!(message.contains("no peer") && message.contains("[[bgp.peer]]"), "{message}");
}

#[test]
fn a_peer_must_be_one_that_can_be_spoken_with() {
    bad("2001:db8::9", "192.0.2.9", "[[bgp.peer]]", &["192.0.2.9", "twice", "keep one"]);
    bad("2001:db8::9", "192.0.2.9", "[[bgp.peer]]", &["also on line 43"]);
    bad("2001:db8::9", "::ffff:192.0.2.9", "[[bgp.peer]]", &["::ffff:192.0.2.9", "write 192.0.2.9"]);
    bad("2001:db8::9", "fe80::9", "[[bgp.peer]]", &["fe80::9", "link-local", "global address"]);
    bad("2001:db8::9", "255.255.255.255", "[[bgp.peer]]", &["255.255.255.255", "unicast"]);
    bad("connect-retry = 1", "connect-retry = 0", "[[bgp.peer]]", &["0 s", "1 s or more"]);
    bad("= 120", "= 5000", "[[bgp.peer]]", &["4095"]);
    bad("ttl-security = 2", "ttl-security = 0", "[[bgp.peer]]", &["TTL of 0", "1 to 255"]);
    bad("2001:db8::9", "198.18.0.1", "\"198.18.0.1\"", &["own VTEP"]);
    bad("2001:db8::9", "ff02::1", "[[bgp.peer]]", &["ff02::1", "unicast"]);
    bad("hold-time = 9", "hold-time = 1", "[[bgp.peer]]", &["hold time", "3 s"]);
    bad("\"2001:db8::1\"", "\"192.0.2.1\"", "[[bgp.peer]]", &["local address"]);
    bad("\"external\"", "0", "[[bgp.peer]]", &["AS 0"]);
    bad("\"external\"", "\"internal\"", "\"internal\"", &["external"]);
    bad("[\"evpn\", \"ipv6\"]", "[\"evpn\", \"evpn\"]", "families", &["evpn twice"]);
    bad("[\"evpn\", \"ipv6\"]", "[\"vpnv4\"]", "families", &["vpnv4", "evpn"]);
    bad("[\"evpn\", \"ipv6\"]", "[]", "families", &["empty list"]);
    bad("passive = true", "multihop = 3", "ttl-security", &["multihop", "remove"]);
    bad("passive = true", "password-file = \"x\"", "password-file", &["keep one"]);
    bad("\"secret\"", "\"\"", "[[bgp.peer]]", &["1 to 80 bytes"]);
    bad("passive = true", "passiv = true", "passiv", &["passiv"]);
}

#[test]
fn route_targets_must_not_clash() {
    let clash = |derived: &str, target: &str| {
        let named = format!("mtu = 1400\nroute-targets = {{ import = \"{target}\", export = \"{target}\" }}");
        let text = with_bgp("[bgp]", &format!("[bgp]\nroute-target = \"{derived}\""));
        parse(&text.replacen("mtu = 1400", &named, 1)).map(|_| ()).map_err(|error| error.to_string())
    };
    let message = clash("frr", "65001:3").unwrap_err();
    assert!(
        message.contains("VNI 100") && message.contains("VNI 3") && message.contains("65001:3"),
        "{message}"
    );
    assert!(message.starts_with("gw.toml:25:") && message.contains("(line 27)"), "{message}");
    // Two that are both named.
    let named = "route-targets = { import = [\"1:1001\", \"1:1002\"], export = \"1:1001\" }";
    let other = named.replace("1:1001", "1:1003");
    let text = with_bgp("[bgp]", "[bgp]").replacen("mtu = 1400", named, 1);
    let text = format!("{text}\n[[overlay]]\nvni = 200\nsubnets = [\"10.200.2.0/24\"]\n{other}\n");
    let message = parse(&text).unwrap_err().to_string();
    let line = |text: &str, part: &str| text[..text.rfind(part).unwrap()].matches('\n').count() + 1;
    assert!(message.starts_with(&format!("gw.toml:{}:", line(&text, &other))), "{message}");
    for word in ["1:1002", "VNI 200", "VNI 100", &format!("(line {})", line(&text, named)), "of its own"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    clash("frr", "65001:5").unwrap();
    // Of a four-octet AS: no derived target.
    clash("frr", "4200000000:3").unwrap();
    clash("frr", "65001:100").unwrap();
    clash("rfc8365", "65001:3").unwrap();
    clash("rfc8365", "65001:268435459").unwrap_err();
    let text = GOOD.replacen("mtu = 1400", "route-targets = { import = \"1:1\", export = \"1:1\" }", 1);
    assert!(parse(&text).unwrap_err().to_string().contains("no [bgp]"));
    assert!(parse(&text.replace("\"1:1\"", "\"1\"")).unwrap_err().to_string().contains("AS:NUMBER"));
}

#[test]
fn bfd_is_plain_or_a_table() {
    let of = |keys: &str| {
        let text = with_bgp("remote-asn = 65000\n", &format!("remote-asn = 65000\n{keys}\n"));
        parse(&text).unwrap().bgp.unwrap().peers[0].bfd()
    };
    assert_eq!((of(""), of("bfd = false")), (None, None));
    let plain = of("bfd = true").unwrap();
    assert_eq!(plain.timing, bfd::Timing::symmetric(Duration::from_millis(50), 3));
    assert_eq!((plain.multihop, plain.min_ttl), (None, 254));
    let table = of("bfd = { interval = 10, multiplier = 5, multihop = true, minimum-ttl = 250 }").unwrap();
    assert_eq!(table.timing, bfd::Timing::symmetric(Duration::from_millis(10), 5));
    assert_eq!((table.multihop, table.min_ttl), (Some(true), 250));
}

#[test]
fn bfd_that_cannot_be() {
    let bad = |keys: &str, words: &[&str]| {
        bad("remote-asn = 65000\n", &format!("remote-asn = 65000\n{keys}\n"), "bfd", words);
    };
    bad("bfd = { interval = 0 }", &["interval", "60s"]);
    bad("bfd = { interval = 60001 }", &["interval"]);
    bad("bfd = { multiplier = 0 }", &["multiplier"]);
    bad("bfd = { multihop = false, minimum-ttl = 250 }", &["192.0.2.9", "minimum-ttl", "multihop"]);
    bad("bfd = 50", &["interval, multiplier"]);
}

#[test]
fn ingress_is_for_peers_with_unicast_routes() {
    let peers = |old: &str, new: &str| {
        let bgp = parse(&with_bgp(old, new)).unwrap().bgp.unwrap();
        bgp.peers.iter().map(|peer| (peer.is_told_prefixes(), peer.is_told_host_routes())).collect::<Vec<_>>()
    };
    assert_eq!(peers("[bgp]", "[bgp]"), [(false, false), (true, false)]);
    assert_eq!(peers("passive = true", "ingress = false"), [(false, false), (false, false)]);
    let ingress = |table: &str| {
        let text = with_bgp("cluster-number = 7", &format!("cluster-number = 7\ningress = {table}"));
        parse(&text).unwrap().bgp.unwrap().ingress
    };
    let default = ingress("{}");
    assert_eq!((default.next_hops.len(), default.communities.len()), (0, 0));
    assert_eq!((default.med.of(0), default.med.of(2)), (100, 120));
    let said = ingress(
        "{ next-hop = [\"198.18.128.7\"], communities = [\"65000:7\", \"no-export\", \"no-advertise\"], \
         med = { base = 4294967295, step = 7 } }",
    );
    assert_eq!(said.next_hops, ["198.18.128.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(said.communities, [65000 << 16 | 7, 0xffff_ff01, 0xffff_ff02]);
    assert_eq!((said.med.of(0), said.med.of(1)), (u32::MAX, u32::MAX));

    let bad_table = |table: &str, words: &[&str]| {
        let line = format!("cluster-number = 7\ningress = {table}");
        bad(
            "cluster-number = 7",
            &line,
            table.split(' ').nth(3).unwrap().trim_matches(['[', ']', ',']),
            words,
        );
    };
    bad_table("{ next-hop = [\"127.0.0.1\"] }", &["127.0.0.1", "unicast"]);
    bad_table("{ next-hop = [\"10.1.0.1\"] }", &["10.0.0.0/8", "on the uplink"]);
    bad_table("{ communities = [\"65536:1\"] }", &["65536:1", "65000:7"]);
    let two = "cluster-number = 7\ningress = { next-hop = [\"192.0.2.3\", \"192.0.2.4\"] }";
    bad("cluster-number = 7", two, "\"192.0.2.4\"", &["second", "at most one"]);
    bad(
        "[\"evpn\", \"ipv6\"]",
        "\"evpn\"\ningress = true",
        "ingress = true",
        &["ingress = true", "families"],
    );
    bad(
        "[\"evpn\", \"ipv6\"]",
        "\"evpn\"\nhost-routes = true",
        "host-routes = true",
        &["host-routes = true", "families"],
    );
    bad("passive = true", "host-routes = true", "host-routes = true", &["host-routes", "floating"]);
}
