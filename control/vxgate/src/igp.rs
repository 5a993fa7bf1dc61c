//! Prefixes of overlays for routers that speak no BGP with us (`igp = "kernel"`): routes in the kernel, which a routing daemon on
//! this host (FRR, BIRD) redistributes into its protocol.
//!
//! There is a TUN device for each rank, and the route of a prefix leads to that of the rank which this gateway has for its overlay. By
//! the device the daemon knows the cost. Nothing is forwarded by these routes: the engine takes what comes for overlays before the
//! kernel sees it, and nobody reads the devices. With the process the devices go, and with them the routes.

use std::io;
use std::time::Duration;

use cluster::assign::GatewayId;
use engine::Config;
use rustix::io::Errno;
use sys::netdev::set_up;
use sys::tun::Tun;
use thiserror::Error;
use tokio::time::sleep;
use tracing::warn;

use crate::cluster::{Listener, Uplink};
use crate::config::ClusterSettings;
use crate::mirror::netlink::{Netlink, NetlinkError, RouteChange, RouteWriter};
use crate::ranked::{Prefixes, Ranked};

/// When all is made anew after something was refused.
const RETRY: Duration = Duration::from_secs(5);

/// Something that there is no way without.
#[derive(Debug, Error)]
pub(crate) enum IgpError {
    #[error("igp: cannot make the TUN device {name}: {source}; {}", remedy(source, name))]
    Device { name: String, source: io::Error },
    #[error("igp: {0}")]
    Netlink(#[from] NetlinkError),
}

fn remedy(error: &io::Error, name: &str) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => format!("`ip link delete {name}`, or stop the gateway that has it"),
        _ => "`modprobe tun`, grant CAP_NET_ADMIN and /dev/net/tun, or remove igp from [gateway]".into(),
    }
}

/// The device of a rank.
fn name(rank: usize) -> String {
    format!("vxgate-rank{rank}")
}

/// The devices, and the routes in the kernel.
pub(crate) struct Igp {
    id: Option<GatewayId>,
    ranks: usize,
    netlink: Netlink,
    writer: RouteWriter,
    /// One a rank; none while they are to be made anew.
    devices: Vec<Tun>,
    prefixes: Ranked<Prefixes>,
}

impl Igp {
    /// Makes the devices.
    pub(crate) async fn start(
        config: &Config,
        cluster: Option<&ClusterSettings>,
        netlink: Netlink,
    ) -> Result<Self, IgpError> {
        let mut igp = Self {
            id: cluster.and_then(|cluster| GatewayId::new(cluster.id)),
            // Behind the owner of a shard all gateways may have a place; one that is alone serves, or is second.
            ranks: cluster.map_or(1, |cluster| cluster.gateways.len() + 1) + 1,
            netlink,
            writer: RouteWriter::connect()?,
            devices: Vec::new(),
            prefixes: Ranked::new(Prefixes::all(config)),
        };
        igp.make_devices().await?;
        Ok(igp)
    }

    async fn make_devices(&mut self) -> Result<(), IgpError> {
        for rank in 0..self.ranks {
            let name = name(rank);
            let failed = |source| IgpError::Device { name: name.clone(), source };
            let device = Tun::create(&name).map_err(failed)?;
            // The gateway speaks no protocol on it.
            self.netlink.set_no_link_local(device.index()).await?;
            set_up(&name, true).map_err(failed)?;
            self.devices.push(device);
        }
        Ok(())
    }

    /// Keeps the routes as the cluster says, for ever; without rules of a cluster (`None`) all are there.
    pub(crate) async fn keep(mut self, mut uplink: Option<Listener>) {
        loop {
            let state = uplink.as_mut().map(|uplink| uplink.borrow_and_update().clone());
            let is_out_of_date =
                || uplink.as_ref().is_some_and(|uplink| uplink.has_changed().unwrap_or(false));
            if let Err(error) = self.write(state.as_ref(), is_out_of_date).await {
                warn!("{error}; all routes are made anew in {} s", RETRY.as_secs());
                // The routes go with them.
                self.devices.clear();
                self.prefixes.forget();
                sleep(RETRY).await;
                continue;
            }
            // An end of it is that of the gateway, which has said that it has no routes.
            let goes_on = match &mut uplink {
                Some(uplink) => uplink.changed().await.is_ok(),
                None => false,
            };
            if !goes_on {
                return std::future::pending().await;
            }
        }
    }

    /// Writes what has changed, unless it is out of date meanwhile.
    async fn write(
        &mut self,
        state: Option<&Uplink>,
        is_out_of_date: impl Fn() -> bool,
    ) -> Result<(), IgpError> {
        if self.devices.is_empty() {
            self.make_devices().await?;
        }
        let Self { id, devices, prefixes, writer, .. } = self;
        let changes = |entry: &Prefixes, rank: Option<u8>| {
            let device = rank.and_then(|rank| devices.get(usize::from(rank)).or(devices.last()));
            let change = |&prefix| RouteChange { prefix, link: device.map(Tun::index) };
            entry.prefixes.iter().map(change).collect()
        };
        prefixes.begin();
        while !is_out_of_date()
            && let Some(changes) = prefixes.step(|entry| entry.rank(*id, state), changes)
        {
            writer.write(&changes).await?;
            // It is a short system call at a time; others have work too.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
