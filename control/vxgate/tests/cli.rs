//! The binary as an operator meets it, as far as no network namespace is needed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn vxgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vxgate")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file that is removed with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vxgate-cli-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a temporary file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const CONFIG: &str = r#"
[gateway]
router-mac = "02:00:5e:00:00:01"
blocks = ["10.0.0.0/8"]
socket = "/nonexistent/vxgate.sock"

[[port]]
interface = "no-such-port-0"
role = "underlay"
addresses = ["198.18.0.1"]

[[port]]
interface = "no-such-port-1"
role = "uplink"

[[overlay]]
vni = 1
subnets = ["10.0.0.0/24"]
endpoints = ["198.18.0.11"]
"#;

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let file = File::new("wrong.toml", &CONFIG.replace("vni = 1", "vni = 1\nvlan = 7"));
    for command in ["check", "run", "cleanup"] {
        let output = vxgate(&[command, "--config", file.path()]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with(&format!("error: {}:18:1: unknown field `vlan`", file.path())),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_machine_without_the_ports_is_told_from_a_wrong_configuration() {
    let file = File::new("right.toml", CONFIG);
    let output = vxgate(&["check", "--config", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("valid: 2 ports, 1 overlays, 0 stations"));
    let errors = text(&output.stderr);
    assert!(errors.contains("error: there is no interface no-such-port-0:"), "{errors}");
    assert!(errors.contains("error: there is no interface no-such-port-1:"), "{errors}");

    let output = vxgate(&["run", "--config", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no-such-port-0"));
}

#[test]
fn a_missing_file_and_a_missing_gateway_are_named() {
    let output = vxgate(&["check", "--config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read the configuration /nonexistent.toml: No such file"));
    let output = vxgate(&["show", "ports", "--socket", "/nonexistent.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no gateway answers at /nonexistent.sock"));
    let output = vxgate(&["bindings", "export", "--socket", "/nonexistent.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no gateway answers at /nonexistent.sock"));
}

#[test]
fn bindings_that_are_none_are_refused_before_a_gateway_is_asked() {
    let import = |path: &str| {
        let output = vxgate(&["bindings", "import", path, "--socket", "/nonexistent.sock"]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    assert!(
        import("/nonexistent.json").contains("cannot read bindings from /nonexistent.json: No such file")
    );
    let row = r#"{"vni": 7, "address": "10.0.0.9", "mac": "02:00:00:00:00:09", "age_ms": 5}"#;
    for (wrong, reason) in [
        (row.replace("\"vni\": 7", "\"vni\": 0"), "10.0.0.9: 0 is no VNI"),
        (row.replace("00:09", "00:9"), "10.0.0.9: \"02:00:00:00:00:9\" is not a MAC address"),
        (row.replace("age_ms", "age"), "unknown field `age`"),
        (row.replace("10.0.0.9", "10.0.0.999"), "IP address"),
    ] {
        let file = File::new("bindings.json", &format!("[{row}, {wrong}]"));
        let errors = import(file.path());
        assert!(errors.contains(reason) && errors.contains("vxgate bindings export"), "{errors}");
    }
    let file = File::new("good.json", &format!("[{row}]"));
    assert!(import(file.path()).contains("no gateway answers"));
}

#[test]
fn wrong_usage_is_status_two_and_help_is_there() {
    assert_eq!(vxgate(&["run"]).status.code(), Some(2));
    assert_eq!(vxgate(&["show", "overlays", "--vni", "0"]).status.code(), Some(2));
    for command in ["run", "check", "cleanup", "show", "bindings"] {
        let output = vxgate(&[command, "--help"]);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("Usage: vxgate"));
    }
}

#[test]
fn a_capture_without_a_gateway_leaves_the_file_of_before() {
    let file = File::new("before.pcapng", "of before");
    let output = vxgate(&["capture", "-w", file.path(), "--socket", "/nonexistent/vxgate.sock"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("no gateway answers at /nonexistent/vxgate.sock"));
    assert_eq!(fs::read_to_string(&file.0).expect("the file"), "of before");
}

#[test]
fn a_plan_says_who_gets_what_and_what_moves() {
    let plan = |line: &str| {
        let output = vxgate(&line.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let json = |line: &str| -> serde_json::Value { serde_json::from_str(&plan(line)).expect("JSON") };

    // Of three, one fails: what it had moves, and nothing else.
    let announce = json("plan --gateways 1-3 --after 1,3 --vnis 1-3000 -o json");
    let had = &announce["before"][1];
    assert_eq!((&had["gateway"], &had["weight"]), (&2.into(), &100.into()));
    assert!((had["overlays"].as_u64().unwrap()).abs_diff(1000) < 150, "{had}");
    assert_eq!(announce["moves"]["overlays"], had["overlays"]);
    assert_eq!(announce["moves"]["least"], had["overlays"]);
    let ways = announce["moves"]["ways"].as_array().unwrap();
    assert!(ways.len() == 2 && ways.iter().all(|way| way["from"] == 2), "{ways:?}");
    assert_eq!(announce["after"].as_array().unwrap().len(), 2);

    // Shards by weight, to one of them.
    let floating =
        json("plan -m floating -g 1=100,2=50,3=0 -a 1=100,2=50 --shards 12 --vnis 1-1200 --each -o json");
    let shards: Vec<_> = floating["before"].as_array().unwrap().iter().map(|row| &row["shards"]).collect();
    assert_eq!(shards, [&8, &4, &0]);
    assert_eq!(floating["moves"]["shards"], 0);
    let each = floating["each"].as_array().unwrap();
    assert!(each.len() == 12 && each.iter().all(|row| row["overlays"].as_u64().unwrap().abs_diff(100) <= 1));

    let table = plan("plan -g 1,2 -a 1 --vnis 5,7 --each");
    assert!(table.contains("After the change:") && table.contains(" 0 more than must"), "{table}");
    assert!(table.contains("\nVNI  BEFORE  AFTER  ORDER\n"), "{table}");

    let file = File::new("plan.toml", CONFIG);
    assert_eq!(json(&format!("plan -g 1 -c {} -o json", file.path()))["overlays"], 1);
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    for (line, remedy) in [
        ("plan", "--gateways"),
        ("plan -g 1,2,1", "gateway 1 is there twice"),
        ("plan -g 1-129", "at most 128"),
        ("plan -g 1=0", "give a gateway a weight above zero"),
        ("plan -g 1 -a 2=0 -m floating", "nobody serves after"),
        ("plan -g 0", "1 to 65535"),
        ("plan -g 3-1", "lower number first"),
        ("plan -g 1=65536", "0 to 65535"),
        ("plan -g 1 --shards 4097", "1 to 4096"),
        ("plan -g 1 --vnis 0-7", "a VNI is"),
        ("plan -g 1 --vnis 7 --config x", "cannot be used with"),
        ("plan study --samples 1 --svg /nonexistent/x.svg", "a directory that exists"),
    ] {
        let output = vxgate(&line.split(' ').collect::<Vec<_>>());
        let errors = text(&output.stderr);
        assert!(!output.status.success() && errors.contains(remedy), "{line}: {errors}");
    }
}

#[test]
fn the_study_is_printed_and_drawn() {
    let picture = std::env::temp_dir().join(format!("vxgate-cli-{}-study.svg", std::process::id()));
    let svg = picture.to_str().expect("UTF-8");
    let output = vxgate(&["plan", "study", "--samples", "20", "--svg", svg, "-o", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let study: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(study["shares"].as_array().unwrap().len(), 9);
    let drawn = fs::read_to_string(&picture).expect("a picture");
    fs::remove_file(&picture).expect("it is ours");
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    // A frame and nine boxes; a point for each number of cost levels.
    assert_eq!((drawn.matches("<rect").count(), drawn.matches("<circle").count()), (10, 9));
}
