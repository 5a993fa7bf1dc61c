//! Many stations at once.

use super::*;

const BLOCK: &str = r#"
[[station-block]]
vnis = "2-4"
per-overlay = 3
first-mac = "02:00:00:01:00:fe"
first-address = 10
endpoints = "198.18.0.11"
"#;

fn with_block(block: &str) -> Settings {
    parse(&format!("{GOOD}{block}")).unwrap()
}

/// Expects a fault where the changed block has `at`.
#[track_caller]
fn refused_block(old: &str, new: &str, at: &str, words: &[&str]) {
    let block = BLOCK.replacen(old, new, 1);
    assert_ne!(block, BLOCK, "nothing was replaced");
    refused(STATION, &format!("{block}{STATION}"), at, words);
}

#[test]
fn stations_are_numbered_through_all_overlays() {
    let settings = with_block(BLOCK);
    let stations = settings.stations.list(&settings.overlays);
    assert_eq!((stations.len(), settings.stations.len()), (10, 10));
    let told = |n: usize| {
        let station = &stations[n];
        let addresses: Vec<String> = station.addresses.iter().map(IpAddr::to_string).collect();
        format!("{} {} {}", station.vni, station.mac, addresses.join(" "))
    };
    assert_eq!(told(0), "100 02:00:00:00:01:01 10.200.1.10 fd00:0:1:1::10");
    assert_eq!(told(1), "2 02:00:00:01:00:fe 10.0.1.10 fd00:0:0:1::a");
    assert_eq!(told(3), "2 02:00:00:01:01:00 10.0.1.12 fd00:0:0:1::c");
    assert_eq!(told(4), "3 02:00:00:01:01:01 10.0.2.10 fd00:0:0:2::a");
    assert_eq!(told(9), "4 02:00:00:01:01:06 10.0.3.12 fd00:0:0:3::c");
}

#[test]
fn endpoints_take_turns() {
    let text =
        format!("{GOOD}{}", BLOCK.replace("\"198.18.0.11\"", "[\"198.18.0.11\", \"2001:db8:0:1::12\"]"));
    let text =
        text.replace("endpoints = [\"198.18.0.11\"]", "endpoints = [\"198.18.0.11\", \"2001:db8:0:1::12\"]");
    let settings = parse(&text).unwrap();
    let stations = settings.stations.list(&settings.overlays);
    let ipv6: Vec<bool> = stations[1..].iter().map(|station| station.endpoint.is_ipv6()).collect();
    assert_eq!(ipv6, [false, true, false, true, false, true, false, true, false]);
}

#[test]
fn blocks_are_checked() {
    refused_block("\"2-4\"", "\"2-5\"", "\"2-5\"", &["VNI 5 is no configured overlay"]);
    refused_block("\"2-4\"", "\"50-60\"", "\"50-60\"", &["VNI 50 is no configured overlay"]);
    refused_block("per-overlay = 3", "per-overlay = 0", "per-overlay", &["nonzero"]);
    refused_block("02:00:00:01", "03:00:00:01", "03:00:00:01", &["unicast"]);
    refused_block("02:00:00:01:00:fe", "02:ff:ff:ff:ff:f8", "02:ff", &["9 stations", "there are 8"]);
    refused_block(
        "02:00:00:01:00:fe",
        "02:00:5d:ff:ff:ff",
        "02:00:5d",
        &["02:00:5e:00:00:01 is the router's"],
    );
    refused_block("= 10", "= 0", "first-address", &["nonzero"]);
    refused_block("= 10", "= 253", "first-address", &["number 255", "10.0.1.0/24 of VNI 2", "ends at 254"]);
    refused_block("= 10", "= 1", "first-address", &["10.0.1.1 is the router's in VNI 2"]);
    refused_block("\"198.18.0.11\"", "\"198.18.0.12\"", "198.18.0.12", &["no endpoint of VNI 2"]);
    refused_block("\"198.18.0.11\"", "[]", "endpoints = []", &["empty list"]);
    // The last addresses before the broadcast address are free for use.
    with_block(&BLOCK.replace("= 10", "= 252"));
}

#[test]
fn what_stations_have_they_have_alone() {
    let other = |mac: &str, first: u32| {
        let block = BLOCK.replace("\"2-4\"", "\"4\"").replace("02:00:00:01:00:fe", mac);
        block.replace("= 10", &format!("= {first}"))
    };
    let both = |second: &str| parse(&format!("{GOOD}{BLOCK}{second}"));
    both(&other("02:00:00:02:00:00", 13)).unwrap();
    both(&other("02:00:00:01:01:07", 13)).unwrap();
    // The same MAC addresses in other overlays are other stations.
    both(&other("02:00:00:01:00:fe", 13)).unwrap();
    let error = both(&other("02:00:00:01:01:06", 13)).unwrap_err().to_string();
    assert!(
        error.starts_with("gw.toml:48:13: station MAC 02:00:00:01:01:06 is in VNI 4 twice, also on line 41"),
        "{error}"
    );
    let error = both(&other("02:00:00:02:00:00", 12)).unwrap_err().to_string();
    assert!(
        error.starts_with("gw.toml:49:17: station address 10.0.3.12 is in VNI 4 twice, also on line 42"),
        "{error}"
    );

    let single = "[[station]]\nvni = 3\nmac = \"02:00:00:00:00:09\"\nendpoint = \"198.18.0.11\"\naddresses = [\"fd00:0:0:2::b\"]\n";
    let error = both(single).unwrap_err().to_string();
    assert!(error.contains("fd00:0:0:2::b is in VNI 3 twice"), "{error}");
    let error =
        both(&single.replace("::b", "::b0").replace("00:00:00:09", "00:01:01:02")).unwrap_err().to_string();
    assert!(error.contains("02:00:00:01:01:02 is in VNI 3 twice"), "{error}");
    both(&single.replace("::b", "::b0")).unwrap();
}

#[test]
fn the_flow_table_bounds_them() {
    let with_max = |max: u32| GOOD.replace("cores = [1]", &format!("cores = [1]\nmax-flows = {max}"));
    // Ten stations, two addresses each.
    parse(&format!("{}{BLOCK}", with_max(30))).unwrap();
    let error = parse(&format!("{}{BLOCK}", with_max(29))).unwrap_err().to_string();
    assert!(error.starts_with("gw.toml:39:1:") && error.contains("29 entries: raise max-flows"), "{error}");
    let error = parse(&with_max(2)).unwrap_err().to_string();
    assert!(error.starts_with("gw.toml:33:1:") && error.contains("2 entries"), "{error}");
    // Nothing is listed before that is known.
    let endless =
        BLOCK.replace("per-overlay = 3", "per-overlay = 4294967295").replace("02:00:00:01", "06:00:00:01");
    let v6_only = GOOD.replace("ipv4 = { range = \"10.0.0.0/22\", length = 24 }\n", "");
    let error = parse(&format!("{v6_only}{endless}")).unwrap_err().to_string();
    assert!(error.contains("6000000 entries"), "{error}");
}

#[test]
fn a_million_stations_take_a_moment() {
    let text = GOOD
        .replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"172.16.0.0/12\"")
        .replace("10.200.1.", "172.16.1.")
        .replace("vni = 100", "vni = 70000")
        .replace("\"1-4\"", "\"1-65536\"")
        .replace("10.0.0.0/22", "10.0.0.0/8");
    let block = BLOCK.replace("2-4", "1-65536").replace("per-overlay = 3", "per-overlay = 16");
    let start = Instant::now();
    let settings = parse(&format!("{text}{block}")).unwrap();
    let checked = start.elapsed().as_millis();
    let stations = settings.stations.list(&settings.overlays);
    eprintln!(
        "=== 1 048 576 stations in one block are checked in {checked} ms and listed after {} ms ===",
        start.elapsed().as_millis()
    );
    assert_eq!(stations.len(), 1_048_576 + 1);
    let last = stations.last().unwrap();
    assert_eq!((last.vni.value(), last.mac.to_string().as_str()), (65_536, "02:00:00:11:00:fd"));
    assert_eq!(last.addresses[0].to_string(), "10.255.255.25");
}
