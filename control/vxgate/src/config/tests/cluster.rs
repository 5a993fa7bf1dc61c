//! `[cluster]`: what it says, and each rule broken once.

use std::time::Duration;

use super::*;

const CLUSTER: &str = r#"
[cluster]
number = 7
id = 1
mode = "floating"
weight = 50
key = "keys/cluster.key"
certificate = "/etc/vxgate/cluster.crt"

[[cluster.gateway]]
id = 2
session = "198.18.0.2"
pin = "sha256:0202020202020202020202020202020202020202020202020202020202020202"
underlay = ["198.18.0.2", "2001:db8:0:1::2"]
uplink = ["198.19.0.2"]

[[cluster.gateway]]
id = 3
session = "[2001:db8:0:1::3]:5000"
pin = "sha256:0303030303030303030303030303030303030303030303030303030303030303"
weight = 200

[cluster.floating]
shards = 16
vtep = ["198.18.1.0/28", "2001:db8:0:5::10-2001:db8:0:5::1f"]
uplink = ["198.19.1.1-198.19.1.15", "198.19.1.32"]
"#;

fn with_cluster(old: &str, new: &str) -> String {
    assert!(CLUSTER.contains(old), "{old}");
    format!("{GOOD}{}", CLUSTER.replacen(old, new, 1))
}

#[test]
fn a_dead_gateway_is_not_kept_by_graceful_restart() {
    let text = with_cluster("[cluster]", "[cluster]");
    let peer = "[[bgp.peer]]\naddress = \"192.0.2.9\"\nremote-asn = 65000\n";
    let text = format!("{text}\n[bgp]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n{peer}");
    assert!(parse(&text).is_ok());
    let message = parse(&format!("{text}graceful-restart = 120\n")).unwrap_err().to_string();
    let line = text.matches('\n').count() + 1;
    assert!(message.starts_with(&format!("gw.toml:{line}:")), "line {line} expected: {message}");
    assert!(message.contains("192.0.2.9") && message.contains("remove graceful-restart"), "{message}");
}

/// As [`super::refused`], for a change in the part above.
#[track_caller]
fn bad(old: &str, new: &str, at: &str, words: &[&str]) {
    fault(&with_cluster(old, new), at, words);
}

#[test]
fn all_of_it_is_read() {
    assert!(parse(GOOD).unwrap().cluster.is_none());
    let text = with_cluster("[cluster]", "[cluster]");
    let cluster = Settings::parse(Path::new("/etc/gw.toml"), &text).unwrap().cluster.unwrap();
    assert_eq!((cluster.number, cluster.id, cluster.mode, cluster.weight), (7, 1, Mode::Floating, 50));
    assert_eq!(cluster.key, Path::new("/etc/keys/cluster.key"));
    assert_eq!(cluster.certificate, Path::new("/etc/vxgate/cluster.crt"));
    let listen = ["0.0.0.0:4795", "[::]:4795"].map(|text| text.parse().unwrap());
    assert_eq!(cluster.listen, listen);
    let seconds = |time: Duration| time.as_secs();
    assert_eq!((seconds(cluster.keepalive), seconds(cluster.hold_time)), (1, 3));
    let [two, three] = &cluster.gateways[..] else { panic!() };
    assert_eq!((two.id, two.session, two.weight), (2, "198.18.0.2:4795".parse().unwrap(), 100));
    assert_eq!((two.underlay.len(), two.uplink.len(), two.pin), (2, 1, crate::cluster::Pin([2; 32])));
    assert_eq!((three.session, three.weight), ("[2001:db8:0:1::3]:5000".parse().unwrap(), 200));
    let member = three.member().unwrap();
    assert_eq!((member.id.value(), member.weight.0), (3, 200), "as the assignment has it");
    let floating = cluster.floating.unwrap();
    assert_eq!((floating.shards, floating.vtep.len(), floating.uplink.len()), (16, 2, 2));
    assert_eq!(floating.vtep[0].to_string(), "198.18.1.0-198.18.1.15");

    let text = with_cluster("id = 1\n", "id = 1\nlisten = \"198.18.0.1\"\nkeepalive = 5\n");
    let cluster = parse(&text).unwrap().cluster.unwrap();
    assert_eq!(cluster.listen, ["198.18.0.1:4795".parse().unwrap()]);
    assert_eq!(seconds(cluster.hold_time), 15);
}

#[test]
fn the_gateway_itself() {
    bad("number = 7", "number = 0", "number = 0", &["nonzero"]);
    bad("id = 1", "id = 65536", "id = 65536", &["65536"]);
    bad("\"floating\"", "\"vrrp\"", "\"vrrp\"", &["announce", "floating"]);
    bad("weight = 50", "weight = 0", "weight = 0", &["nonzero"]);
    bad("weight = 50", "discover = true", "discover = true", &["by EVPN", "[bgp]"]);
    bad("weight = 50", "wait = 50", "wait", &["unknown field `wait`"]);
    bad("weight = 50", "hold-time = 1", "hold-time = 1", &["hold-time 1 s", "2 × keepalive"]);
    bad("weight = 50", "listen = \"here\"", "listen", &["\"here\" is no address", "4795"]);
    bad("weight = 50", "listen = \"198.18.0.1:0\"", "listen", &["is no address"]);
    let alone = &CLUSTER[..CLUSTER.find("[[cluster.gateway]]").unwrap()];
    let message = parse(&format!("{GOOD}{}", alone.replace("floating", "announce"))).unwrap_err().to_string();
    assert!(message.contains("no other gateway") && message.contains("[[cluster.gateway]]"), "{message}");
}

#[test]
fn the_other_gateways() {
    bad("id = 2", "id = 1", "[[cluster.gateway]]\nid = 1", &["gateway 1 is this gateway", "list the others"]);
    bad("id = 3", "id = 2", "[[cluster.gateway]]", &["gateway 2 is there twice", "line 46"]);
    bad("0303", "030", "pin = \"sha256:030", &["is no pin", "keygen"]);
    let pin = |digits: &str| format!("sha256:{}", digits.repeat(32));
    bad(&pin("03"), &pin("02"), "pin", &["gateway 3 has the pin of gateway 2", "line 46"]);
    bad("session = \"198.18.0.2\"", "session = \"198.18.0.2:x\"", "198.18.0.2:x", &["is no address"]);
    bad("session = \"198.18.0.2\"", "session = \"127.0.0.1\"", "127.0.0.1", &["loopback"]);
    bad("session = \"198.18.0.2\"", "session = \"10.0.0.1\"", "session = \"10.0.0.1", &["block 10.0.0.0/8"]);
    bad("\"198.18.0.2\", ", "\"198.18.0.1\", ", "underlay = [", &["own address"]);
    bad("[2001:db8:0:1::3]:5000", "198.19.0.2", "session", &["198.19.0.2", "gateway 2", "line 46"]);
}

#[test]
fn gateways_have_macs_of_their_own() {
    let of = |text: &str| parse(text).unwrap().groups[0].own_mac;
    let text = with_cluster("[cluster]", "[cluster]");
    let own = own_mac(1);
    assert_eq!(of(&text), Some(own));
    assert_eq!(of(&text.replacen("mtu = 1400", "mtu = 1400\nowner = false", 1)), Some(own));
    let named = text.replacen("mtu = 1400", "mtu = 1400\nown-mac = \"02:00:5e:00:00:02\"", 1);
    assert_eq!(of(&named), Some(MacAddr([2, 0, 0x5e, 0, 0, 2])));
    let alone = &text[..text.find("[cluster.floating]").unwrap()];
    assert_eq!(of(&alone.replace("floating", "announce")), Some(own));

    let router = |id: u16| text.replacen("02:00:5e:00:00:01", &own_mac(id).to_string(), 1);
    fault(&router(1), "[cluster]", &["router-mac 02:76:78:67:00:01", "gateway 1", "take another"]);
    fault(&router(3), "[[cluster.gateway]]", &["router-mac 02:76:78:67:00:03", "gateway 3"]);
    parse(&router(4)).unwrap();
    let station = text.replacen("02:00:00:00:01:01", &own.to_string(), 1);
    fault(&station, "mac = \"02:76", &["02:76:78:67:00:01"]);
}

#[test]
fn how_often_an_overlay_may_move() {
    let alone = CLUSTER[..CLUSTER.find("[cluster.floating]").unwrap()].replace("floating", "announce");
    let of = |keys: &str| {
        let text = format!("{GOOD}{}", alone.replacen("weight = 50", keys, 1));
        let limit = parse(&text).unwrap().cluster.unwrap().move_limit;
        (limit.moves, limit.window.as_secs())
    };
    assert_eq!(of("weight = 50"), (3, 180));
    assert_eq!(of("move-limit = { moves = 5 }"), (5, 180));
    assert_eq!(of("move-limit = { window = 60 }"), (3, 60));
    bad("weight = 50", "move-limit = { moves = 0 }", "move-limit", &["nonzero"]);
    bad("weight = 50", "move-limit = { moves = 5 }", "move-limit", &["mode = \"announce\"", "line 41"]);
}

#[test]
fn the_shards() {
    bad("\"floating\"", "\"announce\"", "[cluster.floating]", &["mode = \"floating\"", "line 41"]);
    let without = &CLUSTER[..CLUSTER.find("[cluster.floating]").unwrap()];
    let message = parse(&format!("{GOOD}{without}")).unwrap_err().to_string();
    assert!(message.contains("add [cluster.floating]"), "{message}");
    parse(&format!("{GOOD}{}", without.replace("floating", "announce"))).unwrap();

    bad("shards = 16", "shards = 0", "shards = 0", &["1 to 4096"]);
    bad("shards = 16", "shards = 4097", "shards = 4097", &["1 to 4096"]);
    bad("shards = 16\n", "", "vtep = [", &["vtep has 16 IPv4 addresses", "256 shards"]);
    bad("0:5::1f", "0:5::1e", "vtep = [", &["15 IPv6 addresses"]);
    bad(", \"198.19.1.32\"", "", "uplink = [", &["uplink has 15 IPv4 addresses"]);
    bad("[\"198.19.1.1-198.19.1.15\", \"198.19.1.32\"]", "[]", "uplink = []", &["uplink is empty"]);
    bad("198.18.1.0/28", "198.18.1.1/28", "198.18.1.1/28", &["198.18.1.0/28"]);
    bad("198.19.1.1-", "198.19.1.99-", "198.19.1.99", &["is no range"]);
    bad("198.18.1.0/28", "10.1.0.0/28", "vtep = [", &["overlaps block 10.0.0.0/8"]);
    bad("198.18.1.0/28", "9.0.0.0-11.0.0.0", "vtep = [", &["overlaps block 10.0.0.0/8"]);
    bad("198.18.1.0/28", "198.18.0.0/28", "vtep = [", &["holds 198.18.0.1", "own"]);
    bad("198.19.1.32", "198.18.0.2", "uplink = [", &["holds 198.18.0.2"]);
    bad("198.19.1.32", "198.18.1.8", "uplink = [", &["overlaps 198.18.1.0-198.18.1.15", "line 61"]);
    bad("198.18.1.0/28", "223.255.255.0-240.0.0.1", "vtep = [", &["never routed"]);
    bad("198.18.1.0/28", "127.0.0.0/28", "vtep = [", &["never routed"]);
}

#[test]
fn the_number_of_the_cluster_is_said_once() {
    let bgp = |number: &str| {
        let text = with_cluster("[cluster]", "[cluster]");
        let bgp = "[[bgp.peer]]\naddress = \"192.0.2.9\"\nremote-asn = 65000\n";
        parse(&format!("{text}\n[bgp]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n{number}\n{bgp}"))
    };
    assert_eq!(bgp("").unwrap().bgp.unwrap().local.cluster, 7);
    assert_eq!(bgp("cluster-number = 7").unwrap().bgp.unwrap().local.cluster, 7);
    let message = bgp("cluster-number = 8").unwrap_err().to_string();
    assert!(message.contains("cluster-number 8") && message.contains("remove cluster-number"), "{message}");
}

const ROUTERS: &str = r#"
[[cluster.uplink-router]]
address = "198.19.0.254"

[[cluster.uplink-router]]
address = "2001:db8:0:2::254"
by = "neighbour"

[[cluster.uplink-router]]
address = "192.0.2.9"
by = "bgp"

[bgp]
asn = 65000
router-id = "192.0.2.1"

[[bgp.peer]]
address = "192.0.2.8"
remote-asn = 65000
bfd = true

[[bgp.peer]]
address = "192.0.2.9"
remote-asn = 65001
"#;

#[test]
fn health_is_read() {
    let tracks =
        "id = 1\ntracks = [{ interface = \"eth3\" }, { route = \"0.0.0.0/0\" }, { file = \"ok\" }]\n";
    let text = with_cluster("id = 1\n", tracks) + ROUTERS;
    let settings = Settings::parse(Path::new("/etc/gw.toml"), &text).unwrap();
    let health = settings.cluster.unwrap().health;
    let evidence: Vec<Evidence> = health.routers.iter().map(|router| router.evidence).collect();
    let timing = bfd::Timing::symmetric(Duration::from_millis(50), 3);
    assert_eq!(evidence, [Evidence::Bfd(timing), Evidence::Neighbour, Evidence::Bgp(evpn::PeerId(1))]);
    let names: Vec<String> = health.tracks.iter().map(Track::name).collect();
    assert_eq!(names, ["interface eth3", "route 0.0.0.0/0", "file /etc/ok"]);
    let long = Track::File(Path::new("/run").join("ö".repeat(99))).name();
    assert!(long.len() <= 64 && long.ends_with("öö"), "{long}");
}

#[test]
fn routers_that_cannot_be_watched_are_refused() {
    let bad = |old: &str, new: &str, words: &[&str]| {
        assert!(ROUTERS.contains(old), "{old}");
        let text = with_cluster("[cluster]", "[cluster]") + &ROUTERS.replacen(old, new, 1);
        let message = parse(&text).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    bad("2001:db8:0:2::254", "198.19.0.254", &["198.19.0.254 is there twice", "keep one"]);
    bad("by = \"neighbour\"", "by = \"neighbour\"\ninterval = 20", &["remove them"]);
    bad("\"198.19.0.254\"", "\"198.19.0.254\"\ninterval = 0", &["interval"]);
    bad(
        "address = \"192.0.2.9\"\nby",
        "address = \"192.0.2.7\"\nby",
        &["192.0.2.7 is no peer", "[[bgp.peer]]"],
    );
    bad("198.19.0.254", "192.0.2.8", &["has a BFD session", "by = \"bgp\""]);
    bad("198.19.0.254", "198.19.0.2", &["198.19.0.2 is an address of gateway 2"]);
    bad("198.19.0.254", "127.0.0.1", &["must be unicast"]);
}

#[test]
fn bfd_keys_are_read_and_shown_nowhere() {
    let with = |keys: &str| {
        with_cluster("[cluster.floating]", &format!("[cluster.bfd]\nkeys = [{keys}]\n\n[cluster.floating]"))
    };
    let text = with("{ id = 1, secret = \"hush-hush\" }, { id = 2, file = \"bfd.key\" }");
    let cluster = Settings::parse(Path::new("/etc/gw.toml"), &text).unwrap().cluster.unwrap();
    let given = BfdKey::Given(bfd::Key::new(1, b"hush-hush").unwrap());
    assert_eq!(cluster.bfd_keys, [given, BfdKey::File { id: 2, path: "/etc/bfd.key".into() }]);
    assert!(!format!("{cluster:?}").contains("hush-hush"));
    let refused = |keys: &str, words: &str| {
        let message = parse(&with(keys)).unwrap_err().to_string();
        assert!(message.contains(words) && !message.contains("hush-hush"), "{message}");
    };
    refused("{ id = 1, secret = \"a\" }, { id = 1, secret = \"b\" }", "BFD key 1 is there twice");
    refused("{ id = 1 }", "needs a secret or a file");
    refused("{ id = 1, secret = \"a\", file = \"b\" }", "needs a secret or a file");
    refused("{ id = 7, secret = \"hush-hush-hush-hush-hush\" }", "1 to 20 bytes");
}
