//! A gateway of a cluster, and what can happen to it.

use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use sys::hold::HeldThread;
use sys::netdev::set_up;
use wire::MacAddr;

use super::config::Credentials;
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::link::wait_link_up;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::topology::Topology;

/// What can happen to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// All its netdevs are set down.
    AllDown,
    /// Its netdev on the uplink is set down.
    UplinkDown,
    /// Its netdev on the underlay is set down.
    UnderlayDown,
    /// Its process is killed (SIGKILL).
    Killed,
    /// Its process is stopped (SIGSTOP).
    Stopped,
    /// One of its workers does not run; its other threads do.
    WorkerHeld,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::AllDown, Self::UplinkDown, Self::UnderlayDown, Self::Killed, Self::Stopped, Self::WorkerHeld];

    fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::AllDown => &["uplink0", "underlay0"],
            Self::UplinkDown => &["uplink0"],
            Self::UnderlayDown => &["underlay0"],
            Self::Killed | Self::Stopped | Self::WorkerHeld => &[],
        }
    }
}

/// A gateway of a cluster.
#[derive(Debug)]
pub struct ClusterGateway {
    /// Its number on underlay and uplink, from 1.
    pub number: u8,
    /// Where it is: netdevs `underlay0` and `uplink0`, default routes by the router.
    pub namespace: Namespace,
    /// Its key for sessions with the other gateways.
    pub credentials: Credentials,
    /// Its faults, and a thread that is held for one of them.
    faults: Vec<(Failure, Option<HeldThread>)>,
    /// The process.
    pub gateway: Gateway,
}

impl ClusterGateway {
    pub(super) fn new(number: u8, namespace: Namespace, binary: &Path) -> Result<Self> {
        // As IPv4 addresses do.
        namespace.set("net.ipv6.conf.all.keep_addr_on_down", "1")?;
        let gateway = Gateway::new(&namespace, binary);
        let credentials = Credentials::generate(&namespace, binary)?;
        Ok(Self { number, namespace, credentials, faults: Vec::new(), gateway })
    }

    /// Its MAC address beside the shared one, in every overlay.
    pub fn own_mac(&self) -> MacAddr {
        MacAddr([0x02, 0, 0x5e, 0, 1, self.number])
    }

    /// Lets something happen to it: the moment just before. It lasts until it is [mended](Self::mend).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be brought about: its process does not run.
    pub fn fail(&mut self, fault: Failure) -> Result<Instant> {
        let mut held = None;
        let begin = Instant::now();
        match fault {
            Failure::AllDown | Failure::UplinkDown | Failure::UnderlayDown => self.set_links(fault, false)?,
            Failure::Killed => self.gateway.kill9()?,
            Failure::Stopped => self.signal(Signal::STOP)?,
            Failure::WorkerHeld => held = self.process()?.hold_thread("worker-0").map(Some)?,
        }
        self.faults.push((fault, held));
        Ok(begin)
    }

    /// Undoes all that happened to it: netdevs are up and carry frames, with the routes that they had, and the process runs.
    ///
    /// # Errors
    /// [`Error::Timeout`] if a netdev does not come up; those of [`Gateway::start`].
    pub fn mend(&mut self) -> Result<()> {
        while let Some((fault, held)) = self.faults.pop() {
            drop(held);
            match fault {
                Failure::AllDown | Failure::UplinkDown | Failure::UnderlayDown => {
                    self.set_links(fault, true)?
                }
                Failure::Killed => drop(self.gateway.start()?),
                Failure::Stopped => self.signal(Signal::CONT)?,
                Failure::WorkerHeld => {}
            }
        }
        Ok(())
    }

    fn process(&mut self) -> Result<&mut Process> {
        let none = || std::io::Error::other("it was never started");
        let action = format!("do anything to gateway {}", self.number);
        self.gateway.process().ok_or_else(none).map_err(Error::io(action))
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    fn set_links(&self, fault: Failure, up: bool) -> Result<()> {
        let interfaces = fault.interfaces();
        // Not by `ip`, which takes its time to start.
        self.namespace
            .enter(|| interfaces.iter().try_for_each(|interface| set_up(interface, up)))?
            .map_err(Error::io(format!("set {interfaces:?} of gateway {} up or down", self.number)))?;
        if !up {
            return Ok(());
        }
        interfaces.iter().try_for_each(|interface| wait_link_up(&self.namespace, interface))?;
        // The kernel has forgotten them.
        let routers = Topology::UPLINK.both(Topology::ROUTER);
        self.namespace.ip(&routers.map(|router| format!("route replace default via {router}\n")).concat())
    }
}
