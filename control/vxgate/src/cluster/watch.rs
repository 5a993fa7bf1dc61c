//! BFD sessions with the other gateways, one for each address on each side, and with routers of the uplink. A session goes
//! where the kernel's route to the address goes; while it is not up, that is looked up again each second.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bfd::{Key, Standing, Timing};
use cluster::assign::GatewayId;
use cluster::{Heard, Segment};
use tracing::warn;

use super::discovery::Discovery;
use super::inbox::{Inbox, Watched};
use crate::bfd::{Bfd, Client, Placed, Wanted, way_to};
use crate::config::{ClusterSettings, Evidence};
use crate::mirror::{Netlink, Outlook, Routers};

/// How often what is not up is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Lowest TTL of packets of gateways that are several hops away.
const MIN_TTL: u8 = 250;

/// Who is watched.
#[derive(Clone, Copy)]
enum Whom {
    /// A gateway, by its place in [`Inbox::watched`].
    Gateway(GatewayId, Segment, usize),
    /// A router, by its place in the outlook.
    Router(usize),
}

/// Where gateways and routers are watched.
pub(super) struct Ways {
    ways: Vec<(Whom, IpAddr, Timing)>,
    /// Of sessions with gateways. Routing daemons know none.
    keys: Vec<Key>,
    outlook: Arc<Outlook>,
}

impl Ways {
    pub(super) fn of(settings: &ClusterSettings, keys: Vec<Key>, outlook: Arc<Outlook>) -> Self {
        let of_gateway = |gateway: &crate::config::GatewaySettings| {
            let id = GatewayId::new(gateway.id);
            let of = move |segment, addresses: &[IpAddr]| -> Vec<_> {
                addresses.iter().filter_map(|&address| Some((id?, segment, address))).collect()
            };
            [of(Segment::Underlay, &gateway.underlay), of(Segment::Uplink, &gateway.uplink)].concat()
        };
        let gateways = settings.gateways.iter().flat_map(of_gateway).enumerate();
        let gateways = gateways.map(|(place, (id, segment, address))| {
            (Whom::Gateway(id, segment, place), address, settings.bfd)
        });
        let routers = settings.health.routers.iter().enumerate().filter_map(|(place, router)| {
            let Evidence::Bfd(timing) = router.evidence else { return None };
            Some((Whom::Router(place), router.address, timing))
        });
        Self { ways: gateways.chain(routers).collect(), keys, outlook }
    }

    /// An inbox in which nobody was heard yet.
    pub(super) fn inbox(&self, discovery: Discovery) -> Arc<Inbox> {
        let gateways = self.ways.iter().filter_map(|&(whom, ..)| match whom {
            Whom::Gateway(id, segment, _) => Some(Watched::new(id, segment)),
            Whom::Router(_) => None,
        });
        Inbox::new(gateways.collect(), discovery)
    }

    /// Adds what is missing, and moves what is not up and should be elsewhere; until there is no netlink.
    pub(super) async fn watch(&self, bfd: &Bfd, inbox: &Arc<Inbox>) {
        let netlink = match Netlink::connect() {
            Ok(netlink) => netlink,
            Err(error) => {
                warn!("cluster: nobody is watched by BFD: {error}");
                return;
            }
        };
        let mut sessions: Vec<Placed> = self.ways.iter().map(|_| Placed::default()).collect();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            for (&(whom, address, timing), placed) in self.ways.iter().zip(&mut sessions) {
                if self.is_up(whom, inbox) {
                    continue;
                }
                let (hops, keys) = match whom {
                    Whom::Gateway(..) => ((None, MIN_TTL), self.keys.clone()),
                    Whom::Router(_) => ((Some(false), u8::MAX), Vec::new()),
                };
                let outcome = match way_to(address, timing, hops, &netlink).await {
                    Ok(wanted) => placed.put(bfd, Wanted { keys, ..wanted }, self.client(whom, inbox)).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    placed.warn_once(match whom {
                        Whom::Gateway(id, ..) => {
                            format!("cluster: gateway {id} is not watched at {address}: {error}")
                        }
                        Whom::Router(_) => format!("cluster: router {address} is not watched: {error}"),
                    });
                }
            }
        }
    }

    fn is_up(&self, whom: Whom, inbox: &Inbox) -> bool {
        match whom {
            Whom::Gateway(.., place) => inbox.watched[place].heard() == Heard::Up,
            Whom::Router(place) => self.outlook.router(place) == Routers::Alive,
        }
    }

    fn client(&self, whom: Whom, inbox: &Arc<Inbox>) -> Client {
        match whom {
            Whom::Gateway(.., place) => {
                let inbox = Arc::clone(inbox);
                Client::Gateway(Box::new(move |standing| inbox.set_standing(place, standing)))
            }
            Whom::Router(place) => {
                let outlook = Arc::clone(&self.outlook);
                Client::Router(Box::new(move |standing| outlook.set_router(place, router(standing))))
            }
        }
    }
}

/// One that holds its session down says nothing about the path (RFC 5882 §3.2).
fn router(standing: Standing) -> Routers {
    match standing {
        Standing::Up => Routers::Alive,
        Standing::Down => Routers::Dead,
        Standing::NotYetUp | Standing::PeerAdminDown => Routers::Asked,
    }
}
