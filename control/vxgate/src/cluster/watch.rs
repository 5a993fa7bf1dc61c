//! BFD sessions with the other gateways: one for each address on each side. A session goes where the kernel's route to the
//! address goes; while it is not up, that is looked up again each second.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bfd::{Standing, Timing};
use cluster::assign::GatewayId;
use cluster::{Heard, Segment};
use tracing::warn;

use super::discovery::Discovery;
use super::inbox::{Inbox, Watched};
use crate::bfd::{Bfd, Placed, way_to};
use crate::config::ClusterSettings;
use crate::mirror::Netlink;

/// How often what is not up is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Lowest TTL of packets of gateways that are several hops away.
const MIN_TTL: u8 = 250;

/// Where the other gateways are watched; in the order of [`Inbox::watched`].
pub(super) struct Ways {
    addresses: Vec<(GatewayId, Segment, IpAddr)>,
    timing: Timing,
}

impl Ways {
    pub(super) fn of(settings: &ClusterSettings) -> Self {
        let of_gateway = |gateway: &crate::config::GatewaySettings| {
            let id = GatewayId::new(gateway.id);
            let of = move |segment, addresses: &[IpAddr]| -> Vec<_> {
                addresses.iter().filter_map(|&address| Some((id?, segment, address))).collect()
            };
            [of(Segment::Underlay, &gateway.underlay), of(Segment::Uplink, &gateway.uplink)].concat()
        };
        Self { addresses: settings.gateways.iter().flat_map(of_gateway).collect(), timing: settings.bfd }
    }

    /// An inbox in which nobody was heard yet.
    pub(super) fn inbox(&self, discovery: Discovery) -> Arc<Inbox> {
        let watched = self.addresses.iter().map(|&(id, segment, _)| Watched::new(id, segment));
        Inbox::new(watched.collect(), discovery)
    }

    /// Adds what is missing, and moves what is not up and should be elsewhere; until there is no netlink.
    pub(super) async fn watch(&self, bfd: &Bfd, inbox: &Arc<Inbox>) {
        let netlink = match Netlink::connect() {
            Ok(netlink) => netlink,
            Err(error) => {
                warn!("cluster: the other gateways are not watched by BFD: {error}");
                return;
            }
        };
        let mut sessions: Vec<Placed> = self.addresses.iter().map(|_| Placed::default()).collect();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            for (place, (&(id, _, address), placed)) in self.addresses.iter().zip(&mut sessions).enumerate() {
                if inbox.watched[place].heard() == Heard::Up {
                    continue;
                }
                let of_inbox = Arc::clone(inbox);
                let watcher = Box::new(move |standing: Standing| of_inbox.set_standing(place, standing));
                let outcome = match way_to(address, self.timing, (None, MIN_TTL), &netlink).await {
                    Ok(wanted) => placed.put(bfd, wanted, Some(watcher)).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    placed.warn_once(format!("cluster: gateway {id} is not watched at {address}: {error}"));
                }
            }
        }
    }
}
