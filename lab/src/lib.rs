//! Networks in namespaces: for the demo, the tests and the benches.
//!
//! A [`Lab`] holds the machine's one lab lock; in it are [`Namespace`]s, joined by veth [`Segment`]s. On top of
//! that stands a ready [`Topology`]: endpoints that are the kernel's own VXLAN, an outer router with hosts
//! behind it, and the namespace of a gateway between the two.
//!
//! Stations have addresses of their own ([`OverlayLink::station`]) or get them as clients do
//! ([`OverlayLink::client`], [`Nic::autoconf`], [`DhcpClient`]); they are kept apart ([`OverlayLink::isolate`]) and
//! roam ([`OverlayLink::roam`]). Probes ([`Ping`], [`Iperf`], [`transfer`], [`SteadyProbe`], [`GapProbe`], [`Flows`],
//! [`LatencyProbe`], [`Traceroute`], [`Tracepath`]) and captures ([`Capture`]) tell what gets through, and how; a [`Storm`] tries to
//! disturb it. Other makers' routing daemons speak BGP: [`Frr`], [`GoBgp`].
//!
//! Several gateways with FRR around them are a [`Cluster`], whose gateways [fail](ClusterGateway::fail) in many ways.
//!
//! Nothing outside the lab's namespaces is touched, and nothing remains: dropping the last handle of a lab
//! tears it down, and what a crashed one left is removed by the next, or by [`clean`].
//!
//! The lab waits on conditions ([`wait_until`]), never for a time.
//!
//! ```no_run
//! use lab::{Family, Lab, Overlay, Ping, Topology, TopologyOptions};
//!
//! let lab = Lab::new()?;
//! let blocks = ["10.0.0.0/8".parse()?, "fd00::/16".parse()?];
//! let topology = Topology::build(&lab, &TopologyOptions::new(&blocks))?;
//! let outer = topology.outer_host("outer1", 10)?;
//! let endpoint = topology.endpoint("ep1", 11, Family::V4)?;
//! let overlay = endpoint.join(&Overlay {
//!     vni: wire::Vni::new(100).ok_or("zero")?,
//!     gateway: topology.gateway_vtep(Family::V4),
//!     router_mac: "02:00:00:00:00:fe".parse()?,
//!     routers: vec!["10.1.0.1".parse()?, "fd00:1::1".parse()?],
//!     remotes: vec![],
//! })?;
//! let addresses = ["10.1.0.10/24".parse()?, "fd00:1::10/64".parse()?];
//! let station = overlay.station(&lab, "station1", "02:00:00:00:01:0a".parse()?, &addresses)?;
//! // … a gateway is started in `topology.gateway`, by `Gateway` …
//! let report = Ping::to("198.18.2.10").run(&station.namespace)?;
//! assert!(report.is_complete());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advertisement;
mod autoconf;
mod capture;
mod cluster;
mod dhcp;
mod ecn;
mod endpoint;
mod error;
mod frr;
mod gateway;
mod gobgp;
mod link;
mod namespace;
mod nic;
mod probe;
mod process;
mod scene;
mod second_links;
mod segment;
mod state;
mod topology;
mod wait;

pub use advertisement::{AdvertisedPrefix, RouterAdvertisement};
pub use autoconf::Autoconf;
pub use capture::{Capture, CaptureFile, Fault};
pub use cluster::{Cluster, ClusterGateway, ClusterOptions, Credentials, Failure};
pub use dhcp::client::{DhcpClient, Lease};
pub use dhcp::server::{DhcpPool, DhcpServer};
pub use ecn::{CE, ECT_0, ECT_1, EcnCounters};
pub use endpoint::{Endpoint, Overlay, OverlayLink};
pub use error::{Error, Result};
pub use frr::Frr;
pub use gateway::Gateway;
pub use gobgp::GoBgp;
pub use link::{Offloads, VethEnd, VethOptions, set_offloads, veth, wait_link_up};
pub use namespace::Namespace;
pub use nic::{NicAddress, Uniqueness};
pub use probe::flows::{Flows, FlowsReport};
pub use probe::gaps::{FlowWindow, Gap, GapProbe, GapReport, GapWindow, ProbeFlow};
pub use probe::iperf::{Iperf, IperfReport};
pub use probe::latency::{LatencyProbe, LatencyReport};
pub use probe::ping::{Ping, PingReport, RoundTrip};
pub use probe::steady::{SteadyProbe, SteadyReport};
pub use probe::storm::{Storm, StormReport};
pub use probe::tracepath::Tracepath;
pub use probe::traceroute::{Hop, Traceroute};
pub use probe::transfer::{learned_path_mtu, transfer};
pub use process::Process;
pub use scene::{ROUTER_MAC, Scene, Site, Station, vni};
pub use second_links::{Link, SecondLinks};
pub use segment::{Attach, Host, Nic, Segment};
pub use state::{Lab, clean};
pub use topology::{Family, Subnets, Topology, TopologyOptions};
pub use wait::{Outcome, wait_until};

pub use rustix::process::Signal;
pub use sys::hold::HeldThread;
pub use sys::packet::{PacketSocket, Watch};
