use super::*;

const STREAM: &str = r#"
[[stream]]
name = "egress"
size = 64
ethernet = { src = "02:00:00:00:01:0a", dst = "02:00:00:00:00:fe" }
ipv4 = { src = "10.0.0.10", dst = "192.0.2.1" }
udp = {}
"#;

const VXLAN: &str = r#"
[stream.vxlan]
vni = "1-3"
ethernet = { src = "02:00:00:00:00:01", dst = "02:00:00:00:00:02" }
ipv4 = { src = "198.18.0.1", dst = "198.18.0.2" }
"#;

fn parse(text: &str) -> Result<Profile, String> {
    Profile::parse("p.toml", text).map_err(|error| error.to_string())
}

fn wrong(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn a_stream_with_and_without_vxlan() {
    let profile = parse(STREAM).unwrap();
    let stream = &profile.streams[0];
    assert_eq!(
        (stream.name.as_str(), stream.len(0), stream.vni(0), stream.overlay(0)),
        ("egress", 60, None, None)
    );
    let profile = parse(&format!("{STREAM}{VXLAN}")).unwrap();
    let stream = &profile.streams[0];
    assert_eq!((stream.len(0), stream.vni(1).map(Vni::value), stream.overlay(3)), (110, Some(2), Some(1)));
}

#[test]
fn an_overlay_can_be_named_where_there_is_no_vni() {
    let profile = parse(&STREAM.replace("size = 64", "size = 64\noverlay = \"7-8\"")).unwrap();
    assert_eq!([0, 1, 2].map(|sequence| profile.streams[0].overlay(sequence)), [Some(7), Some(8), Some(7)]);
}

#[test]
fn lanes_share_the_values() {
    let whole = parse(&format!("{STREAM}{VXLAN}")).unwrap();
    let cut = whole.clone().split(2).unwrap();
    assert_eq!(cut.streams.iter().map(|stream| stream.number).collect::<Vec<_>>(), [0, 1]);
    for sequence in 0..10 {
        for lane in 0..2 {
            let vni = whole.streams[0].vni(sequence * 2 + lane);
            assert_eq!(cut.streams[lane as usize].vni(sequence), vni);
        }
    }
}

#[test]
fn faults_name_their_line_and_the_remedy() {
    assert!(wrong("rate = \"1Mpps\"\n").starts_with("p.toml:1:1: a profile needs a stream"));
    let unknown = wrong(&STREAM.replace("udp", "upd"));
    assert!(unknown.starts_with("p.toml:7:") && unknown.contains("upd"), "{unknown}");
    let ttl = wrong(&STREAM.replace("\"192.0.2.1\" }", "\"192.0.2.1\", ttl = 256 }"));
    assert!(ttl.starts_with("p.toml:6:") && ttl.contains("from 0 to 255"), "{ttl}");
    let small = wrong(&STREAM.replace("64", "61"));
    assert!(small.starts_with("p.toml:4:8: size 61 is too small") && small.contains("64"), "{small}");
    let large = wrong(&STREAM.replace("64", "9000"));
    assert!(large.contains("9000 is too large"), "{large}");
    assert!(wrong(&STREAM.replace("udp", "tcp = {}\nudp")).contains("keep one"));
    assert!(wrong(&STREAM.replace("ipv4 = ", "ipv6 = ")).contains("not an IPv6 address"));
    assert!(wrong(&STREAM.replace("ipv4", "#")).contains("add ipv4"));
    assert!(wrong(&format!("{STREAM}{STREAM}")).contains("name of its own"));
    assert!(wrong(&format!("{STREAM}{}", VXLAN.replace("ipv4", "#"))).contains("outer"));
    assert!(wrong(&format!("{STREAM}{}", VXLAN.replace("1-3", "0-3"))).contains("VNI 0 is out of range"));
    let rate = wrong(&format!("\nrate = \"50%\"\n{STREAM}"));
    assert!(rate.starts_with("p.toml:2:8:") && rate.contains("link-speed"), "{rate}");
    let both = format!("rate = \"1pps\"\nburst = {{ packets = 2, every = \"1ms\" }}\n{STREAM}");
    assert!(wrong(&both).starts_with("p.toml:2:9: burst"));
}

#[test]
fn sizes() {
    let sizes = |size: &str| {
        let profile = parse(&STREAM.replace("= 64", &format!("= {size}"))).unwrap();
        (0..4).map(|sequence| profile.streams[0].len(sequence) + FCS_LEN).collect::<Vec<_>>()
    };
    assert_eq!(sizes("\"64-66\""), [64, 65, 66, 64]);
    assert_eq!(sizes("[64, 128]"), [64, 128, 64, 128]);
    assert_eq!(sizes("{ from = 64, to = 1518, step = 727 }"), [64, 791, 1518, 64]);
    assert_eq!(sizes("\"imix\""), [64, 594, 64, 64]);
}

#[test]
fn weights_are_kept_and_spread() {
    let text = format!(
        "{STREAM}weight = 3\n{}weight = 1\n{}weight = 2\n",
        STREAM.replace("egress", "b"),
        STREAM.replace("egress", "c")
    );
    let mut schedule = Schedule::new(&parse(&text).unwrap().streams);
    let turns: Vec<usize> = (0..12).map(|_| schedule.turn()).collect();
    assert_eq!([0, 1, 2].map(|stream| turns.iter().filter(|&&turn| turn == stream).count()), [6, 2, 4]);
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1] || pair[0] == 0), "{turns:?}");
    assert!(wrong(&text.replace("= 3", "= 70001")).contains("65536 at most"));
}

#[test]
fn fields_of_the_payload() {
    let with = |field: &str| parse(&format!("{}payload.field = [{field}]\n", STREAM.replace("64", "80")));
    assert!(with("{ at = 0, bytes = 2, value = \"1-9\" }").is_ok());
    assert!(with("{ at = 0, bytes = 5, value = 1 }").unwrap_err().contains("1 to 4"));
    assert!(with("{ at = 0, bytes = 1, value = 256 }").unwrap_err().contains("does not fit"));
    let two = "{ at = 0, bytes = 3, value = 1 }, { at = 2, bytes = 1, value = 1 }";
    assert!(with(two).unwrap_err().contains("share byte 2"));
    assert!(with("{ at = 17, bytes = 2, value = 1 }").unwrap_err().contains("too small"));
}
