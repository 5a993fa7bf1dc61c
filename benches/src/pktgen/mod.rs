//! The generator: how fast frames are built, how fast they are sent beside other senders, and how well a rate is kept.

mod build;
mod calibration;
mod rate;
mod sending;

use core_affinity::CoreId;
use lab::{Lab, Namespace, VethEnd, VethOptions, veth};
use port::xdp::{Expected, Sink};
use serde_json::{Value, json};
use sys::netdev::Netdev;

use crate::Error;
use crate::figure::Figure;

/// A stream of frames with 64 bytes inside of VXLAN, four of whose fields change.
const PROFILE: &str = r#"
[[stream]]
size = 64
ethernet = { src = "02:00:00:00:01:0a", dst = "02:00:00:00:00:fe" }
ipv4 = { src = "10.0.0.10-10.0.3.233", dst = "198.18.2.10" }
udp = { src = "1024-65535" }

[stream.vxlan]
vni = "1-1000"
ethernet = { src = "02:00:00:00:00:0b", dst = "02:00:00:00:00:01" }
ipv4 = { src = "198.18.1.11", dst = "198.18.1.1" }
udp = { src = "49152-65535" }
"#;
/// Bytes of its frames, without FCS.
const LEN: usize = 110;

/// How it is measured.
pub(crate) fn modes() -> Value {
    json!({
        "frames": "64 bytes inside VXLAN over IPv4, 4 fields and the stamp change",
        "link": "veth, copy mode, one queue; an XDP program at the far end counts and drops, on the sender's core",
    })
}

/// Measures everything; calibrations only with another core.
pub(crate) fn figures(core: CoreId, other: Option<CoreId>) -> Result<Vec<Figure>, Error> {
    let mut figures = build::figures()?;
    if let Some(other) = other {
        figures.extend(calibration::figures(core, other)?);
    }
    let link = Link::new()?;
    let (sending, fastest) = sending::figures(&link, core)?;
    figures.extend(sending);
    figures.extend(rate::figures(&link, core, fastest)?);
    Ok(figures)
}

/// A veth with a sink at its far end.
struct Link {
    near: Namespace,
    sink: Sink,
    _lab: Lab,
}

impl Link {
    const INTERFACE: &str = "gen0";
    const FAR: &str = "sink0";

    fn new() -> Result<Self, Error> {
        let lab = Lab::new()?;
        let (near, far) = (lab.namespace("gen")?, lab.namespace("sink")?);
        for namespace in [&near, &far] {
            // The kernel's own packets are none of the senders'.
            namespace.set("net.ipv6.conf.all.disable_ipv6", "1")?;
            namespace.set("net.ipv6.conf.default.disable_ipv6", "1")?;
        }
        let ends = [VethEnd::new(&near, Self::INTERFACE), VethEnd::new(&far, Self::FAR)];
        veth(ends[0], ends[1], VethOptions { mtu: 1600, ..VethOptions::default() })?;
        let sink = far.enter(|| -> Result<Sink, String> {
            let index = Netdev::named(Self::FAR).map_err(|error| error.to_string())?.index;
            let expected = Expected { length: LEN as u16, ..Expected::default() };
            Sink::attach(index, Self::FAR, &expected).map_err(|error| error.to_string())
        })??;
        Ok(Self { near, sink, _lab: lab })
    }

    /// Frames that arrived.
    fn arrived(&self) -> Result<u64, Error> {
        Ok(self.sink.expected()?.frames)
    }
}
