//! A steady stream of numbered datagrams, to see losses while something happens: a [`GapProbe`] on one way.

use std::net::IpAddr;
use std::time::Duration;

use super::gaps::{GapProbe, ProbeFlow};
use crate::error::Result;
use crate::namespace::Namespace;

/// Datagrams sent from one namespace to another, one way, at a steady interval.
#[derive(Debug)]
pub struct SteadyProbe(GapProbe);

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyReport {
    /// Datagrams that were sent; one that the kernel refused to send counts.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams that arrived more than once.
    pub duplicates: u64,
    /// Longest time between two arrivals, from the start to the first, or from the last to the end; zero: less than two
    /// intervals.
    pub longest_gap: Duration,
}

impl SteadyReport {
    /// Datagrams that never arrived.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl SteadyProbe {
    /// Sends a datagram to `destination`, an address of `to`, every `interval`, until stopped.
    ///
    /// # Errors
    /// As [`GapProbe::start`].
    pub fn start(from: &Namespace, to: &Namespace, destination: IpAddr, interval: Duration) -> Result<Self> {
        let name = format!("{} to {destination}", from.name());
        let flow = ProbeFlow { name, from: from.clone(), to: to.clone(), destination };
        GapProbe::start(&[flow], interval).map(Self)
    }

    /// How many datagrams were sent so far.
    pub fn sent(&self) -> u64 {
        self.0.sent()
    }

    /// How many different datagrams have arrived so far.
    pub fn received(&self) -> u64 {
        self.0.received().iter().sum()
    }

    /// Stops sending, waits for those still on their way, and tells.
    ///
    /// # Errors
    /// As [`GapProbe::stop`].
    pub fn stop(self) -> Result<SteadyReport> {
        let window = self.0.stop()?.whole();
        // There is one flow.
        let flow = &window.flows[0];
        Ok(SteadyReport {
            sent: flow.sent,
            received: flow.received,
            duplicates: flow.duplicates,
            longest_gap: flow.gap_length(),
        })
    }
}
