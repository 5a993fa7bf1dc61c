//! Two gateways of a cluster, each a process in a namespace of its own. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::{
    Attach, Family, Gateway, Lab, Namespace, ROUTER_MAC, Scene, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(60);

struct Member {
    id: u8,
    gateway: Gateway,
    files: PathBuf,
    pin: String,
}

struct Stage {
    members: [Member; 2],
    family: Family,
    _topology: Topology,
}

impl Stage {
    fn new(family: Family) -> Self {
        let lab = Lab::new().unwrap();
        let topology = Topology::build(&lab, &TopologyOptions::new(&Scene::blocks())).unwrap();
        let second = lab.namespace("gw2").unwrap();
        for (segment, interface, subnets) in [
            (&topology.underlay, "underlay0", Topology::UNDERLAY),
            (&topology.uplink, "uplink0", Topology::UPLINK),
        ] {
            let attach = Attach { addresses: subnets.addresses(2), ..Attach::default() };
            segment.attach(&second, interface, attach).unwrap();
        }
        let routers = Family::BOTH.map(|family| Topology::UPLINK.address(family, Topology::ROUTER));
        second.ip(&routers.map(|router| format!("route add default via {router}\n")).concat()).unwrap();
        let member = |id: u8, namespace: &Namespace| {
            let files = lab.directory().join(format!("keys{id}"));
            let output =
                Command::new(VXGATE).args(["cluster", "keygen", "--out"]).arg(&files).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let pin = text.split("pin = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            let shown = Command::new(VXGATE)
                .args(["cluster", "fingerprint"])
                .arg(files.join("cluster.crt"))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), pin);
            Member { id, gateway: Gateway::new(namespace, Path::new(VXGATE)), files, pin: pin.into() }
        };
        let members = [member(1, &topology.gateway), member(2, &second)];
        Self { members, family, _topology: topology }
    }

    fn configure(&self, n: usize, overlays: &str) {
        let (own, other) = (&self.members[n], &self.members[1 - n]);
        let session = Topology::UNDERLAY.address(self.family, other.id);
        let config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             {overlays}\n\n\
             [cluster]\nnumber = 7\nid = {}\nmode = \"announce\"\nweight = {}\nkey = {:?}\ncertificate = {:?}\n\n\
             [[cluster.gateway]]\nid = {}\nsession = \"{session}\"\npin = \"{}\"\n",
            Scene::BLOCKS,
            own.gateway.socket().display(),
            own.id,
            u32::from(own.id) * 10,
            own.files.join("cluster.key"),
            own.files.join("cluster.crt"),
            other.id,
            other.pin,
        );
        own.gateway.configure(&config).unwrap();
    }

    /// What a gateway shows of the other one.
    fn other(&self, n: usize) -> Value {
        let rows = self.members[n].gateway.show("cluster").unwrap();
        assert_eq!((&rows[0]["session"], &rows[0]["id"]), (&"self".into(), &self.members[n].id.into()));
        rows[1].clone()
    }

    /// Waits until a gateway has this session with the other: the row that shows it.
    fn wait(&self, n: usize, session: &str) -> Value {
        wait_until(&format!("gateway {} to show {session}", n + 1), PATIENCE, || {
            let row = self.other(n);
            if row["session"] == session { Ok(row) } else { Err(row.to_string()) }
        })
        .unwrap()
    }

    fn events(&self, n: usize) -> Vec<Value> {
        self.members[n].gateway.events().unwrap()
    }
}

const OVERLAYS: &str = "[[overlay-block]]\nvnis = \"1-4\"\nipv4 = { range = \"10.1.0.0/16\", length = 24 }";

fn sessions(family: Family) {
    let mut stage = Stage::new(family);
    for n in [0, 1] {
        stage.configure(n, OVERLAYS);
        stage.members[n].gateway.start().unwrap();
    }
    let rows = [0, 1].map(|n| stage.wait(n, "up"));
    assert_eq!([&rows[0]["weight"], &rows[1]["weight"]], [20, 10], "as the other says");
    let address = Topology::UNDERLAY.address(family, 2).to_string();
    assert!(rows[0]["address"].as_str().unwrap().contains(&address), "{}", rows[0]);
    let table = stage.members[0].gateway.show_table("cluster").unwrap();
    assert!(table.contains("SESSION") && table.contains(" up "), "{table}");

    // It dies, and another incarnation comes.
    stage.members[1].gateway.kill9().unwrap();
    let row = stage.wait(0, "connecting");
    assert!(row["incarnation"].is_null() && row["why"].is_string(), "{row}");
    stage.members[1].gateway.start().unwrap();
    let again = stage.wait(0, "up");
    assert!(again["incarnation"].as_u64() > rows[0]["incarnation"].as_u64(), "{again}, after {}", rows[0]);

    // It comes with other settings: both say what differs.
    stage.members[1].gateway.stop().unwrap();
    stage.configure(1, &OVERLAYS.replace("1-4", "1-5"));
    stage.members[1].gateway.start().unwrap();
    for n in [0, 1] {
        let row = stage.wait(n, "refused");
        let why = row["why"].as_str().unwrap();
        assert!(why.contains("settings differ: overlays;"), "{row}");
        let events = stage.events(n);
        let refused = events.iter().filter(|event| event["event"] == "cluster-refused");
        assert_eq!(refused.clone().count(), 1, "told once: {events:?}");
        assert!(
            refused.clone().all(|event| event["gateway"] == 2 - n && event["detail"] == why),
            "{events:?}"
        );
    }
    let told: Vec<Value> = stage.events(0).into_iter().map(|mut event| event["event"].take()).collect();
    let of_session =
        |name: &&Value| ["cluster-up", "cluster-down", "cluster-refused"].iter().any(|of| *name == of);
    let told: Vec<&Value> = told.iter().filter(of_session).collect();
    assert_eq!(told, ["cluster-up", "cluster-down", "cluster-up", "cluster-down", "cluster-refused"]);

    // Corrected, they are one cluster again.
    stage.members[1].gateway.stop().unwrap();
    stage.configure(1, OVERLAYS);
    stage.members[1].gateway.start().unwrap();
    for n in [0, 1] {
        stage.wait(n, "up");
    }
}

#[test]
fn gateways_have_a_session_over_ipv4() {
    sessions(Family::V4);
}

#[test]
fn gateways_have_a_session_over_ipv6() {
    sessions(Family::V6);
}
