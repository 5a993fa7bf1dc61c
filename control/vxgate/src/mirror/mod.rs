//! The mirror: the kernel's routes and neighbours, as far as the engine needs them, kept equal in the engine.

pub(crate) mod kernel;
mod neighbours;
pub(crate) mod netlink;
mod outlook;
mod routes;
mod state;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use engine::{EndpointStatus, NextHop, Update};
use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use kernel::{NeighbourKey, Notice};
use neighbours::Refusal;
pub(crate) use netlink::{Netlink, NetlinkError};
pub(crate) use outlook::{Outlook, Routers};
pub(crate) use state::{Mirror, Watched};

/// How long changes are collected before the tables are read anew.
const SETTLE: Duration = Duration::from_millis(5);

/// The tables are read anew at most for one part in this many of the time, however many changes there are.
const READING_SHARE: u32 = 4;

/// When something that the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What follows from a change.
#[derive(Debug)]
pub(crate) enum Action {
    /// Tell the engine.
    Update(Update),
    /// Make the kernel resolve this neighbour and keep it fresh.
    Install(NeighbourKey),
    /// Delete this neighbour from the kernel.
    Delete(NeighbourKey),
    /// Install this block's blackhole route again: somebody removed it.
    Blackhole(IpNet),
    /// Retry in a while.
    TryLater,
    /// Tell the operator what is wrong, with the remedy.
    Warn(String),
}

/// What the engine wants resolved.
pub(crate) struct Questions<'a> {
    /// Hosts on the links of uplinks.
    pub(crate) hosts: mpsc::Receiver<NextHop>,
    /// Endpoints have come or gone.
    pub(crate) endpoints_changed: &'a Notify,
    /// All endpoints that there are.
    pub(crate) endpoints: &'a dyn Fn() -> Vec<EndpointStatus>,
}

/// Carries out what the mirror decides.
pub(crate) struct Driver<'a, N> {
    netlink: Netlink,
    notices: N,
    mirror: Mirror,
    tell: &'a dyn Fn(Update),
    /// When the tables are to be read anew.
    reading: Option<Instant>,
    /// Not before this time.
    resting: Instant,
    retry: Option<Instant>,
}

impl<'a, N: Stream<Item = Notice> + Unpin> Driver<'a, N> {
    /// Reads all and tells the engine. The notices must have been subscribed to before.
    pub(crate) async fn start(
        netlink: Netlink,
        notices: N,
        mirror: Mirror,
        tell: &'a dyn Fn(Update),
    ) -> Result<Self, NetlinkError> {
        let mut driver =
            Self { netlink, notices, mirror, tell, reading: None, resting: Instant::now(), retry: None };
        driver.resync().await?;
        Ok(driver)
    }

    /// Follows the kernel and the engine's questions; ends only by an error.
    pub(crate) async fn run(&mut self, questions: &mut Questions<'_>) -> Result<(), NetlinkError> {
        loop {
            let actions = tokio::select! {
                notice = self.notices.next() => match notice {
                    Some(Notice::Neighbour(neighbour)) => self.mirror.neighbour(neighbour),
                    Some(Notice::NeighbourGone(key)) => self.mirror.neighbour_gone(key),
                    Some(Notice::Tables) => {
                        self.read_soon();
                        continue;
                    }
                    // Before the tables, which may be long: what goes by this port has other paths.
                    Some(Notice::Link(link)) => {
                        self.read_soon();
                        self.mirror.link(&link)
                    }
                    Some(Notice::Overrun) => {
                        warn!("the kernel's notices came too fast and some were lost: reading all anew");
                        self.resync().await?;
                        continue;
                    }
                    None => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                },
                Some(next_hop) = questions.hosts.recv() => self.mirror.resolve(next_hop),
                () = questions.endpoints_changed.notified() => {
                    if self.mirror.set_endpoints(&(questions.endpoints)()) {
                        self.read_soon();
                    }
                    continue;
                }
                () = due(self.reading) => {
                    self.read_tables().await?;
                    continue;
                }
                () = due(self.retry) => {
                    self.retry = None;
                    self.mirror.retry()
                }
            };
            self.perform(actions).await;
        }
    }

    /// Deletes from the kernel what was installed.
    pub(crate) async fn clean_up(self) {
        for key in self.mirror.installed() {
            self.delete(key).await;
        }
    }

    async fn resync(&mut self) -> Result<(), NetlinkError> {
        let tables = self.netlink.tables().await?;
        let neighbours = self.netlink.neighbours().await?;
        let actions = self.mirror.resync(&tables, &neighbours);
        self.perform(actions).await;
        Ok(())
    }

    fn read_soon(&mut self) {
        let time = self.resting.max(Instant::now() + SETTLE);
        self.reading.get_or_insert(time);
    }

    async fn read_tables(&mut self) -> Result<(), NetlinkError> {
        // What changes while they are read is noticed, and read the next time.
        self.reading = None;
        let start = Instant::now();
        let tables = self.netlink.tables().await?;
        let actions = self.mirror.tables(&tables);
        self.perform(actions).await;
        self.resting = Instant::now() + start.elapsed() * (READING_SHARE - 1);
        Ok(())
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Update(update) => (self.tell)(update),
                Action::Install(key) => {
                    if let Err(error) = self.netlink.install_neighbour(key).await {
                        self.refused(key, &error);
                    }
                }
                Action::Delete(key) => self.delete(key).await,
                Action::TryLater => self.try_later(),
                Action::Warn(text) => warn!("{text}"),
                Action::Blackhole(block) => match self.netlink.add_blackhole(block).await {
                    Ok(()) => warn!("the blackhole route of {block} had been removed: it is there again"),
                    Err(error) => error!("the blackhole route of {block} is missing: {error}"),
                },
            }
        }
        // Not before the engine has been told: who takes over because of it needs it there.
        self.mirror.publish();
    }

    fn refused(&mut self, key: NeighbourKey, error: &NetlinkError) {
        let NeighbourKey { address, .. } = key;
        match self.mirror.refused(key) {
            Refusal::First => {
                warn!("next hop {address}: {error}; it is tried again{}", remedy(address, error));
                self.try_later();
            }
            Refusal::Repeated => {
                debug!("next hop {address}: {error}; it is tried again");
                self.try_later();
            }
            Refusal::Dropped => debug!("on-link host {address}: {error}"),
        }
    }

    fn try_later(&mut self) {
        self.retry.get_or_insert_with(|| Instant::now() + RETRY);
    }

    async fn delete(&self, key: NeighbourKey) {
        match self.netlink.delete_neighbour(key).await {
            Ok(()) => {}
            // Gone already, alone or with its netdev.
            Err(error) if error.is(io::ErrorKind::NotFound) => {}
            Err(error) => debug!("neighbour {}: {error}", key.address),
        }
    }
}

/// What helps a neighbour that the kernel refuses, to follow the message.
fn remedy(address: IpAddr, error: &NetlinkError) -> String {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    match error.is_table_full() {
        true => format!(
            ". Its neighbour table is full: raise `sysctl net.{family}.neigh.default.gc_thresh3` (default 1024) well \
             above the number of next hops"
        ),
        false => String::new(),
    }
}

async fn due(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_neighbour_table_has_a_remedy() {
        let refused =
            |errno: rustix::io::Errno| NetlinkError::Refused { what: "install", source: errno.into() };
        let full = refused(rustix::io::Errno::NOBUFS);
        let [v4, v6] = ["198.18.0.11", "2001:db8::12"].map(|text| text.parse().unwrap());
        assert!(remedy(v4, &full).contains("net.ipv4.neigh.default.gc_thresh3"));
        assert!(remedy(v6, &full).contains("net.ipv6.neigh.default.gc_thresh3"));
        assert_eq!(remedy(v4, &refused(rustix::io::Errno::NETDOWN)), "");
    }
}
