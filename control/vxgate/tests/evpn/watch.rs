//! What the gateway tells its operator of its peers.

use std::net::IpAddr;

use lab::{Process, Topology, wait_until};
use serde_json::Value;

use crate::stage::{PATIENCE, Stage};

/// `vxgate events --follow`, from the start of the gateway.
pub(crate) struct Watch {
    follower: Process,
    /// Events before this one were looked at.
    mark: usize,
}

impl Watch {
    pub(crate) fn start(stage: &Stage) -> Self {
        let socket = stage.gateway.socket().to_string_lossy();
        let arguments = ["events", "--follow", "--socket", &socket];
        let follower = stage.topology.gateway.spawn(env!("CARGO_BIN_EXE_vxgate"), &arguments).unwrap();
        Self { follower, mark: 0 }
    }

    /// All events so far. Each is a line of JSON with a time, a name and what there is to say.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.follower.stdout();
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| {
                let event: Value = serde_json::from_str(line).unwrap();
                for key in ["time", "event", "detail"] {
                    assert!(event[key].is_string(), "{line}");
                }
                event
            })
            .collect()
    }

    /// What was told up to now is not awaited any longer.
    pub(crate) fn mark(&mut self) {
        self.mark = self.events().len();
    }

    /// Waits until something has happened to a peer since the last [`mark`](Self::mark), with this in its words.
    pub(crate) fn wait(&self, peer: IpAddr, event: &str, detail: &str) -> Value {
        wait_until(&format!("{event} of {peer}: {detail}"), PATIENCE, || {
            let events = self.events();
            let new = events.get(self.mark..).unwrap_or_default();
            let is_it = |row: &&Value| {
                row["event"] == event
                    && row["peer"] == peer.to_string()
                    && row["detail"].as_str().unwrap().contains(detail)
            };
            new.iter().find(is_it).cloned().ok_or_else(|| {
                let of_peer = new.iter().filter(|row| row["peer"] == peer.to_string());
                of_peer.map(|row| format!("{row}\n")).collect::<String>()
            })
        })
        .unwrap()
    }

    /// How often something happened to a peer, with this in its words.
    pub(crate) fn count(&self, peer: IpAddr, event: &str, detail: &str) -> usize {
        let events = self.events();
        let is_it = |row: &&Value| {
            row["event"] == event
                && row["peer"] == peer.to_string()
                && row["detail"].as_str().unwrap().contains(detail)
        };
        events.iter().filter(is_it).count()
    }
}

/// What `vxgate show bgp peers` tells of one.
pub(crate) fn peer(stage: &Stage, address: IpAddr) -> Value {
    let peers = stage.gateway.show("bgp peers").unwrap();
    let row = peers.as_array().unwrap().iter().find(|row| row["address"] == address.to_string());
    row.unwrap_or_else(|| panic!("no {address} in {peers}")).clone()
}

pub(crate) fn wait_state(stage: &Stage, address: IpAddr, state: &str) -> Value {
    wait_until(&format!("{address} {state}"), PATIENCE, || {
        let row = peer(stage, address);
        if row["state"] == state { Ok(row) } else { Err(row.to_string()) }
    })
    .unwrap()
}

/// Stations that are behind this endpoint.
pub(crate) fn stations_behind(stage: &Stage, endpoint: IpAddr) -> usize {
    let stations = stage.gateway.show("stations").unwrap();
    stations.as_array().unwrap().iter().filter(|row| row["endpoint"] == endpoint.to_string()).count()
}

/// An address of the gateway on the underlay, of the family of `other`.
pub(crate) fn gateway_for(stage: &Stage, other: IpAddr) -> IpAddr {
    stage.topology.gateway_vtep(lab::Family::of(other))
}

/// An address on the underlay.
pub(crate) fn at(family: lab::Family, number: u8) -> IpAddr {
    Topology::UNDERLAY.address(family, number)
}
