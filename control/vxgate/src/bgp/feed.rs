//! What the network says, on its way to the engine and to the operator.

use std::sync::Arc;
use std::time::Duration;

use engine::{Announcement, Engine, Update};
use evpn::Change;
use evpn::net::Told;
use tokio::sync::{Semaphore, mpsc};

use super::events::BgpEvents;

/// Changes that are handed over together.
const BATCH: usize = 1024;

/// Batches that the engine may have before it. More would only wait there, and what waits in the speaker's sockets
/// holds the peers back.
const IN_FLIGHT: usize = 4;

/// How often it is said what was not told.
const SECOND: Duration = Duration::from_secs(1);

/// Hands changes to the engine, as many at a time as there are, until the speaker ends.
pub(super) async fn run(mut told: mpsc::Receiver<Told>, engine: &Engine, events: &BgpEvents) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut batch = Vec::with_capacity(BATCH);
    let mut second = tokio::time::interval(SECOND);
    loop {
        let count = tokio::select! {
            count = told.recv_many(&mut batch, BATCH) => count,
            _ = second.tick() => {
                events.settle();
                continue;
            }
        };
        if count == 0 {
            break;
        }
        let mut announcements = Vec::with_capacity(batch.len());
        for told in batch.drain(..) {
            match told {
                Told::Change(change) => announcements.extend(announcement(change)),
                Told::Event(event) => events.tell(event),
            }
        }
        if announcements.is_empty() {
            continue;
        }
        // Never closed.
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        engine.update(Update::Announced(announcements));
        engine.after_updates(move || drop(permit));
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
        Change::Prefix { .. } | Change::PrefixGone { .. } => return None,
    })
}
