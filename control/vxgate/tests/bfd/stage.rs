//! A gateway with BGP peers on the underlay whose deaths BFD is to notice.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{
    Attach, Family, Frr, Gateway, Host, Lab, ROUTER_MAC, Scene, Site, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;

/// How long anything may take on a machine that others use too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Number of the peer on the underlay.
const PEER: u8 = 9;

/// Intervals that a daemon without priority keeps on a busy machine too: a second until a session ends.
pub(crate) const TIMING: &str = "interval = 200, multiplier = 5";
pub(crate) const FRR_TIMING: &str = "detect-multiplier 5\n  transmit-interval 200\n  receive-interval 200";

pub(crate) struct Stage {
    pub(crate) topology: Topology,
    pub(crate) peer: Host,
    pub(crate) gateway: Gateway,
}

/// An address of the peer beyond its netdev, which takes a route to reach.
pub(crate) fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => "192.0.2.9".parse().unwrap(),
        Family::V6 => "2001:db8:9::9".parse().unwrap(),
    }
}

/// The like of the gateway's.
pub(crate) fn own_far(family: Family) -> IpAddr {
    match family {
        Family::V4 => "192.0.2.1".parse().unwrap(),
        Family::V6 => "2001:db8:9::1".parse().unwrap(),
    }
}

pub(crate) fn near(family: Family) -> IpAddr {
    Topology::UNDERLAY.address(family, PEER)
}

pub(crate) fn own(family: Family) -> IpAddr {
    Topology::UNDERLAY.address(family, Topology::GATEWAY)
}

impl Stage {
    pub(crate) fn new() -> Self {
        let lab = Lab::new().unwrap();
        let topology = Topology::build(&lab, &TopologyOptions::new(&Scene::blocks())).unwrap();
        let attach = Attach { addresses: Topology::UNDERLAY.addresses(PEER), ..Attach::default() };
        let peer = topology.underlay.host(&lab, "peer", attach, &[]).unwrap();
        for family in Family::BOTH {
            peer.namespace.ip(&format!("address add {} dev lo\nlink set lo up", far(family))).unwrap();
            topology
                .gateway
                .ip(&format!(
                    "address add {} dev lo\nlink set lo up\nroute add {} via {}",
                    own_far(family),
                    far(family),
                    near(family)
                ))
                .unwrap();
            peer.namespace.ip(&format!("route add {} via {}", own_far(family), own(family))).unwrap();
        }
        let gateway = Gateway::new(&topology.gateway, Path::new(env!("CARGO_BIN_EXE_vxgate")));
        Self { topology, peer, gateway }
    }

    /// FRR at the peer.
    pub(crate) fn frr(&self, daemons: &[(&'static str, &str)]) -> Frr {
        Frr::start_daemons(&self.peer.namespace, daemons).unwrap()
    }

    /// Starts the gateway with these BGP peers, each with more keys.
    pub(crate) fn start(&mut self, peers: &[(IpAddr, &str)]) {
        let Site { vni, v4, v6, .. } = Site::numbered(1);
        let mut config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             [[overlay]]\nvni = {vni}\nsubnets = [\"{v4}\", \"{v6}\"]\n\n\
             [bgp]\nasn = 65000\nrouter-id = \"{}\"\ncluster-number = 1\n",
            Scene::BLOCKS,
            self.gateway.socket().display(),
            own(Family::V4),
        );
        for (address, keys) in peers {
            config += &format!("\n[[bgp.peer]]\naddress = \"{address}\"\nremote-asn = 65000\n{keys}\n");
        }
        self.gateway.configure(&config).unwrap();
        self.gateway.start().unwrap();
    }

    /// What `vxgate show bfd` tells of the session with this peer.
    pub(crate) fn session(&self, peer: IpAddr) -> Result<Value, String> {
        let view = self.gateway.show("bfd").map_err(|error| error.to_string())?;
        let row = view["sessions"].as_array().unwrap().iter().find(|row| row["peer"] == peer.to_string());
        row.cloned().ok_or_else(|| view.to_string())
    }

    pub(crate) fn wait_session(&self, peer: IpAddr, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_until(&format!("{peer} {what}"), PATIENCE, || {
            let row = self.session(peer)?;
            if is(&row) { Ok(row) } else { Err(row.to_string()) }
        })
        .unwrap()
    }

    pub(crate) fn wait_up(&self, peer: IpAddr) -> Value {
        self.wait_session(peer, "up", |row| row["state"] == "Up")
    }

    /// The events of BFD that are kept.
    pub(crate) fn events(&self) -> Vec<Value> {
        let rows = self.gateway.events().unwrap().into_iter();
        rows.filter(|row| row["event"] == "bfd").collect()
    }

    /// Pulls the peer's cable, or puts it back.
    pub(crate) fn set_cable(&self, up: bool) {
        let (nic, state) = (&self.peer.nic, if up { "up" } else { "down" });
        nic.far_namespace.ip(&format!("link set {} {state}", nic.far_interface)).unwrap();
    }
}

/// What bfdd tells of its session with the gateway from this address of its own.
pub(crate) fn frr_session(frr: &Frr, peer: IpAddr, multihop: bool) -> Result<Value, String> {
    let rows = frr.show("show bfd peers json").map_err(|error| error.to_string())?;
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["peer"] == peer.to_string() && row["multihop"] == multihop);
    row.cloned().ok_or_else(|| rows.to_string())
}
