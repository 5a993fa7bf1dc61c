//! What a running gateway tells of its configuration, and takes over from another. Needs root.

use std::path::{Path, PathBuf};

use lab::{Scene, Site, TopologyOptions};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_vxgate");

const POLICIES: &str = r#"
[defaults]
admission = "strict"
proxy = "known"
egress-limit = { bits = "100M", packets = 1500 }

[gateway.punts]
host = { overlay = { rate = 7, burst = 3 } }

[[rule]]
action = "allow"
from-vnis = "101"
to-vnis = "102"
protocol = "tcp"
port = 80

"#;

fn scene() -> Scene {
    let options = TopologyOptions::new(&Scene::blocks());
    let mut scene =
        Scene::build(Path::new(BINARY), &options, &[1, 2].map(Site::numbered)).expect("the scene");
    let own = "advertise = true\nowner = false\nown-mac = \"02:00:5e:00:00:02\"\n";
    let overlays = scene.overlays().replacen("vni = 102\n", &format!("vni = 102\n{own}"), 1);
    let config = scene.config(&format!("{POLICIES}{overlays}"));
    // Their addresses are to be learned.
    let mut config: String =
        config.lines().filter(|line| !line.starts_with("addresses")).collect::<Vec<_>>().join("\n");
    config.push('\n');
    scene.gateway.configure(&config).expect("a configuration");
    scene.gateway.start().expect("a gateway");
    scene
}

fn row<'a>(rows: &'a Value, key: &str, value: &Value) -> &'a Value {
    rows.as_array().expect("rows").iter().find(|row| row[key] == *value).expect("the row")
}

/// A file that is removed with the test.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn policies_rules_limits_and_bindings() {
    let scene = scene();

    let overlays = scene.gateway.show("overlays").expect("overlays");
    let (first, second) = (row(&overlays, "vni", &json!(101)), row(&overlays, "vni", &json!(102)));
    assert_eq!((&first["owner"], &first["own_mac"]), (&json!(true), &Value::Null));
    assert_eq!((&second["owner"], &second["own_mac"]), (&json!(false), &json!("02:00:5e:00:00:02")));
    for overlay in [first, second] {
        assert_eq!((&overlay["admission"], &overlay["proxy"]), (&json!("strict"), &json!("known")));
        assert_eq!(overlay["egress_limit"], json!({ "bits": 100_000_000, "packets": 1500 }));
        assert_eq!(overlay["ingress_limit"], json!({ "bits": null, "packets": null }));
    }
    assert_eq!((&first["advertise"], &second["advertise"]), (&json!(false), &json!(true)));

    let rules = scene.gateway.show("rules").expect("rules");
    let (rule, reply) = (row(&rules, "number", &json!(1)), row(&rules, "number", &json!(2)));
    assert_eq!((&rule["from"], &rule["to"]), (&json!(["VNI 101"]), &json!(["VNI 102"])));
    assert_eq!((&rule["destination_ports"], &reply["source_ports"]), (&json!("80"), &json!("80")));
    assert_eq!((&rule["reply"], &reply["reply"]), (&json!(false), &json!(true)));

    let punts = scene.gateway.show("punts").expect("punts");
    assert_eq!(punts.as_array().map(Vec::len), Some(5));
    let host = row(&punts, "class", &json!("host"));
    assert_eq!((&host["overlay_rate"], &host["overlay_burst"]), (&json!(7), &json!(3)));

    let counters = scene.gateway.show("counters").expect("counters");
    assert_eq!(row(&counters, "name", &json!("learned"))["outcome"], "slow_path");

    bindings(&scene);
}

fn bindings(scene: &Scene) {
    let station = &scene.stations[0];
    let (vni, mac) = (station.site.vni.value(), station.host.nic.mac.to_string());
    let binding = |mac: &str, last: u8| json!({ "vni": vni, "address": format!("10.0.1.{last}"), "mac": mac, "age_ms": 0 });
    let file = File(std::env::temp_dir().join(format!("vxgate-show-{}.json", std::process::id())));
    let given = json!([binding(&mac, 77), binding("02:99:00:00:00:01", 78)]);
    std::fs::write(&file.0, given.to_string()).expect("a file");
    let socket = scene.gateway.socket().to_string_lossy().into_owned();
    let run = |arguments: &[&str]| {
        let arguments = [&["bindings"], arguments, &["--socket", &socket]].concat();
        scene.topology.gateway.run(BINARY, &arguments).expect("vxgate bindings")
    };
    let imported = run(&["import", &file.0.to_string_lossy()]);
    assert!(String::from_utf8_lossy(&imported.stdout).starts_with("2 bindings given to the gateway"));

    let known = scene.gateway.show("neighbours").expect("neighbours");
    let taken = row(&known, "address", &json!("10.0.1.77"));
    assert_eq!((&taken["vni"], &taken["mac"]), (&json!(vni), &json!(mac)));
    let addresses: Vec<_> = known.as_array().expect("rows").iter().map(|row| &row["address"]).collect();
    assert!(!addresses.contains(&&json!("10.0.1.78")), "of no known station: {known}");
    let figures = scene.gateway.show("resolution").expect("resolution");
    let states = ["incomplete", "reachable", "stale", "probe", "failed"]
        .map(|state| row(&figures, "name", &json!(state))["value"].as_u64());
    assert!(states.iter().flatten().sum::<u64>() >= 1, "{states:?}");

    let number = vni.to_string();
    let exported: Value = serde_json::from_slice(&run(&["export", "--vni", &number]).stdout).expect("JSON");
    assert_eq!(row(&exported, "address", &json!("10.0.1.77"))["mac"], json!(mac));
    let other: Value = serde_json::from_slice(&run(&["export", "--vni", "102"]).stdout).expect("JSON");
    assert!(other.as_array().expect("rows").iter().all(|row| row["vni"] == 102), "{other}");
}
