//! Open vSwitch's userspace datapath over AF_XDP: tunnel and rewrite for one overlay and IPv4, as flows.
//!
//! `br-under` has the underlay netdev and, as its own address, the VTEP's; `br-over` has the tunnel and the uplink.
//! Both daemons run in the stage's namespace with all their files in the lab's directory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lab::{Namespace, Process, Signal, wait_until};
use vxgate_bench::population::{Family, ROUTER_MAC};

use super::stage::{INSIDE, Stage, Task, endpoint, vtep};
use super::traffic::{FIRST_STATION, FIRST_VNI, address, station_mac};
use crate::Error;

const PATIENCE: Duration = Duration::from_secs(20);
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Both daemons at work.
#[derive(Debug)]
pub(crate) struct Ovs {
    namespace: Namespace,
    directory: PathBuf,
    switch: Process,
    _database: Process,
}

/// Its version, if it is installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("ovs-vswitchd").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.to_owned())
}

impl Ovs {
    /// Makes the stage's namespace a gateway of one overlay.
    pub(crate) fn start(stage: &Stage) -> Result<Self, Error> {
        let namespace = stage.gateway.clone();
        let directory = namespace.lab().directory().join("ovs");
        std::fs::create_dir(&directory)?;
        let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (database, socket) = (file("conf.db"), file("db.sock"));
        namespace.run("ovsdb-tool", &["create", &database, SCHEMA])?;
        let remote = format!("--remote=punix:{socket}");
        let control = format!("--unixctl={}", file("db.ctl"));
        let mut server = namespace.spawn("ovsdb-server", &[&database, &remote, &control, "--no-chdir"])?;
        server.wait_until("the database's socket", PATIENCE, || directory.join("db.sock").exists())?;
        let unix = format!("unix:{socket}");
        let control = format!("--unixctl={}", file("switch.ctl"));
        // Where it puts the bridges' sockets.
        let place = format!("OVS_RUNDIR={}", directory.display());
        let switch = namespace.spawn("env", &[&place, "ovs-vswitchd", &unix, &control, "--no-chdir"])?;
        let ovs = Self { namespace, directory, switch, _database: server };
        ovs.configure(stage)?;
        Ok(ovs)
    }

    /// What works in user space.
    pub(crate) fn process(&self) -> Task {
        Task::Process(self.switch.pid())
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        Ok(self.switch.signal(signal)?)
    }

    fn configure(&self, stage: &Stage) -> Result<(), Error> {
        let (underlay, uplink) = (&stage.underlay, &stage.uplink);
        let mask = format!("other_config:pmd-cpu-mask={:#x}", 1 << INSIDE);
        self.vsctl(&["--no-wait", "init"])?;
        self.vsctl(&["set", "Open_vSwitch", ".", &mask])?;
        for (bridge, mac) in [("br-under", underlay.near_mac), ("br-over", uplink.near_mac)] {
            let hwaddr = format!("other_config:hwaddr=\"{mac}\"");
            self.vsctl(&["add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", &hwaddr])?;
        }
        for (bridge, link) in [("br-under", underlay), ("br-over", uplink)] {
            self.vsctl(&[
                "add-port",
                bridge,
                &link.near,
                "--",
                "set",
                "interface",
                &link.near,
                "type=afxdp",
                "options:xdp-mode=native",
                "options:n_rxq=1",
            ])?;
        }
        let (remote, key) =
            (format!("options:remote_ip={}", endpoint(Family::V4)), format!("options:key={FIRST_VNI}"));
        self.vsctl(&[
            "add-port",
            "br-over",
            "vxlan0",
            "--",
            "set",
            "interface",
            "vxlan0",
            "type=vxlan",
            &remote,
            &key,
        ])?;

        // The tunnel's packets leave by the bridge that has its address.
        let local = format!("{}/24", vtep(Family::V4));
        self.namespace.ip(&format!(
            "address flush dev {}\naddress add {local} dev br-under\nlink set br-under up\nlink set br-over up",
            underlay.near
        ))?;
        let endpoint = endpoint(Family::V4).to_string();
        self.appctl(&["tnl/neigh/set", "br-under", &endpoint, &underlay.far_mac.to_string()])?;
        wait_until("the tunnel's route", PATIENCE, || {
            let routes = self.appctl(&["ovs/route/show"]).map_err(|error| error.to_string())?;
            if routes.contains("br-under") { Ok(()) } else { Err(routes) }
        })?;
        self.flows(stage)
    }

    fn flows(&self, stage: &Stage) -> Result<(), Error> {
        let Stage { uplink, .. } = stage;
        let station = address(Family::V4, 0, FIRST_STATION);
        let out = format!(
            "in_port=vxlan0,ip,actions=set_field:{}->eth_src,set_field:{}->eth_dst,dec_ttl,output:{}",
            uplink.near_mac, uplink.far_mac, uplink.near
        );
        let back = format!(
            "in_port={},ip,nw_dst={station},actions=set_field:{ROUTER_MAC}->eth_src,set_field:{}->eth_dst,dec_ttl,\
             output:vxlan0",
            uplink.near,
            station_mac(0, 0)
        );
        let management = format!("unix:{}", self.directory.join("br-over.mgmt").display());
        for flow in [out, back] {
            self.namespace.run("ovs-ofctl", &["add-flow", &management, &flow])?;
        }
        Ok(())
    }

    fn vsctl(&self, arguments: &[&str]) -> Result<(), Error> {
        let database = format!("--db=unix:{}", self.directory.join("db.sock").display());
        let all: Vec<&str> = [&[database.as_str(), "--timeout=20"], arguments].concat();
        self.namespace.run("ovs-vsctl", &all)?;
        Ok(())
    }

    fn appctl(&self, arguments: &[&str]) -> Result<String, Error> {
        let target = format!("--target={}", self.directory.join("switch.ctl").display());
        let all: Vec<&str> = [&[target.as_str()], arguments].concat();
        let output = self.namespace.run("ovs-appctl", &all)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
