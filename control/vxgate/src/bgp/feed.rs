//! What the network says, on its way to the engine and to the operator.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Announcement, Engine, Update};
use evpn::net::Told;
use evpn::{Change, Event, PeerId, Rejection};
use tokio::sync::{Semaphore, mpsc};

use super::Others;
use super::events::BgpEvents;
use super::reflectors::{Tracker, WatchedRouters};
use crate::cluster::Inbox;

/// Changes that are handed over together.
const BATCH: usize = 1024;

/// Batches that the engine may have before it. More would only wait there, and what waits in the speaker's sockets
/// holds the peers back.
const IN_FLIGHT: usize = 4;

/// How often it is said what was not told.
const SECOND: Duration = Duration::from_secs(1);

/// Hands changes to the engine, as many at a time as there are, until the speaker ends.
///
/// `of_cluster`: the other gateways, which are no stations and no endpoints; `rules` are told of the `reflectors`, and of how
/// they announce the router; and whoever looks at their outlook of `routers`.
pub(super) async fn run(
    mut told: mpsc::Receiver<Told>,
    engine: &Engine,
    events: &BgpEvents,
    (of_cluster, rules): (Option<&Others>, Option<&Inbox>),
    (reflectors, routers): (HashSet<PeerId>, WatchedRouters),
) {
    let mut reflectors = Tracker::new(reflectors);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut batch = Vec::with_capacity(BATCH);
    let mut second = tokio::time::interval(SECOND);
    let mut ticked = Instant::now();
    loop {
        let count = tokio::select! {
            count = told.recv_many(&mut batch, BATCH) => count,
            _ = second.tick() => {
                let (now, before) = (Instant::now(), ticked);
                ticked = now;
                if now.saturating_duration_since(before) >= 2 * SECOND {
                    reflectors.resumed(now);
                }
                events.settle();
                if let Some(rules) = rules {
                    rules.set_reflectors(reflectors.state(Instant::now()));
                }
                continue;
            }
        };
        if count == 0 {
            break;
        }
        let mut announcements = Vec::with_capacity(batch.len());
        let mut happened = false;
        for told in batch.drain(..) {
            match told {
                Told::Change(Change::SharedMac { vni, sequence }) => {
                    if let Some(rules) = rules {
                        rules.sequence_seen(vni, sequence);
                    }
                }
                Told::Change(Change::Member { vtep }) => {
                    if rules.is_some_and(|rules| !rules.set_discovered(vtep, true)) {
                        events.tell_stranger(vtep);
                    }
                }
                Told::Change(Change::MemberGone { vtep }) => {
                    rules.map(|rules| rules.set_discovered(vtep, false));
                }
                Told::Change(change) => {
                    announcements.extend(announcement(change).filter(|change| !is_of(change, of_cluster)));
                }
                // The other gateways announce what this one does.
                Told::Event(Event::Rejected { reason: Rejection::OwnVtep, .. }) if of_cluster.is_some() => {}
                Told::Event(event) => {
                    reflectors.hear(&event, Instant::now());
                    routers.hear(&event);
                    happened = true;
                    events.tell(event);
                }
            }
        }
        if !announcements.is_empty() {
            // Never closed.
            let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
            engine.update(Update::Announced(announcements));
            engine.after_updates(move || drop(permit));
        }
        // Who hears that all is told finds it in the engine.
        if let Some(rules) = rules.filter(|_| happened) {
            rules.set_reflectors(reflectors.state(Instant::now()));
        }
    }
}

/// Prefixes of the outer network are the kernel's routes for now.
fn announcement(change: Change) -> Option<Announcement> {
    Some(match change {
        Change::Station { vni, mac, endpoint, .. } => Announcement::Station { vni, mac, endpoint },
        Change::StationGone { vni, mac } => Announcement::StationGone { vni, mac },
        Change::Address { vni, mac, ip, .. } => Announcement::Address { vni, mac, address: ip },
        Change::AddressGone { vni, mac, ip } => Announcement::AddressGone { vni, mac, address: ip },
        Change::Flood { vni, endpoint } => Announcement::Member { vni, endpoint },
        Change::FloodGone { vni, endpoint } => Announcement::MemberGone { vni, endpoint },
        // These are for others, or for nobody.
        Change::Prefix { .. }
        | Change::PrefixGone { .. }
        | Change::SharedMac { .. }
        | Change::Member { .. }
        | Change::MemberGone { .. } => return None,
    })
}

/// Whether it is about another gateway itself, by its MAC address, as which none is configured, or by its VTEP.
fn is_of(announcement: &Announcement, others: Option<&Others>) -> bool {
    match (announcement, others) {
        (Announcement::Station { mac, endpoint, .. }, Some(others)) => {
            others.macs.contains(mac) || others.vteps.contains(endpoint)
        }
        (Announcement::Member { endpoint, .. }, Some(others)) => others.vteps.contains(endpoint),
        _ => false,
    }
}
