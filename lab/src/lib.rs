//! Networks in namespaces: for the demo, the tests and the benches.
//!
//! A [`Lab`] holds the machine's one lab lock; in it are [`Namespace`]s, joined by veth [`Segment`]s. On top of
//! that stands a ready [`Topology`]: endpoints that are the kernel's own VXLAN, an outer router with hosts
//! behind it, and the namespace of a gateway between the two. Probes ([`Ping`], [`Iperf`], [`SteadyProbe`])
//! and captures ([`Capture`]) tell what gets through.
//!
//! Nothing outside the lab's namespaces is touched, and nothing remains: dropping the last handle of a lab
//! tears it down, and what a crashed one left is removed by the next, or by [`clean`].
//!
//! The lab waits on conditions ([`wait_until`]), never for a time.

mod capture;
mod endpoint;
mod error;
mod gateway;
mod link;
mod namespace;
mod probe;
mod process;
mod segment;
mod state;
mod topology;
mod wait;

pub use capture::{Capture, CaptureFile, Fault};
pub use endpoint::{Endpoint, Overlay, OverlayLink};
pub use error::{Error, Result};
pub use gateway::Gateway;
pub use link::{Offloads, VethEnd, VethOptions, set_offloads, veth};
pub use namespace::Namespace;
pub use probe::iperf::{Iperf, IperfReport};
pub use probe::ping::{Ping, PingReport, RoundTrip};
pub use probe::steady::{SteadyProbe, SteadyReport};
pub use process::Process;
pub use segment::{Attach, Host, Nic, Segment};
pub use state::{Lab, clean};
pub use topology::{Family, Subnets, Topology, TopologyOptions};
pub use wait::{Outcome, wait_until};

pub use rustix::process::Signal;
pub use sys::packet::{PacketSocket, Watch};
