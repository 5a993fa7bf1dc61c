//! Router advertisements, periodic and solicited (RFC 4861 §6.2, RFC 8106).
//!
//! The router is alone on its links, so a solicitation is answered at once: the random delay of RFC 4861 §6.2.6 keeps
//! several routers from answering together. An answer to all nodes goes only where the question came from, and so many
//! stations that ask cost the others of the overlay nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use fastrand::Rng;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;
use wire::icmpv6::Icmpv6Packet;
use wire::ipv6::{self, Ipv6Packet, Ipv6Repr};
use wire::ndp::{self, PrefixInformation, RouterSolicitation};
use wire::{EtherType, IpProtocol};

use super::{Deed, Origin, Output, Received, Tally};
use crate::api::{Overlay, RouterAdvertisement};
use crate::tables::{Fixed, OverlayIndex, OverlayTable, Snapshot};

/// Longest time from start to the first advertisement, and between the first ones (MAX_INITIAL_RTR_ADVERT_INTERVAL,
/// RFC 4861 §10).
const MAX_INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// How many are the first (MAX_INITIAL_RTR_ADVERTISEMENTS).
const MAX_INITIAL: u8 = 3;
/// Shortest time between two to all nodes of an overlay (MIN_DELAY_BETWEEN_RAS).
const MIN_DELAY: Duration = Duration::from_secs(3);
/// Bounds of what may be configured: of the longest time between two that nobody asked for, and of the shortest
/// (MaxRtrAdvInterval and MinRtrAdvInterval, RFC 4861 §6.2.1).
const LEAST_LONGEST: Duration = Duration::from_secs(4);
const LEAST_SHORTEST: Duration = Duration::from_secs(3);
/// The hop limit that stations are told to send with (RFC 1700's default, as RFC 4861 §6.2.1 has it).
const STATIONS_HOP_LIMIT: u8 = 64;
/// Longest life of a default router, in seconds (RFC 4861 §6.2.1).
const MAX_LIFETIME: u64 = 9000;

/// Advertisements that nobody asked for go out in groups of so many frames, one an endpoint, and the rest of the last
/// overlay's: the ring to a worker has room for them.
const GROUP: usize = 64;
/// Time between two groups: 32 000 frames in a second. If more are due, they are late.
const PACE: Duration = Duration::from_millis(2);

/// When which overlay's next advertisement is due. Takes some 150 bytes an overlay that advertises.
#[derive(Debug)]
pub(super) struct Advertiser {
    overlays: HashMap<OverlayIndex, Schedule, RandomState>,
    /// Each overlay once, at its `due`.
    queue: BTreeSet<(Instant, OverlayIndex)>,
    /// When the next group may go.
    next_group: Instant,
    random: Rng,
}

#[derive(Clone, Copy, Debug)]
struct Schedule {
    due: Instant,
    /// The last to all nodes, be they behind one endpoint.
    last: Option<Instant>,
    /// How many of the first are still to come.
    initial: u8,
}

impl Advertiser {
    /// Advertises in all overlays that are to have it and that this gateway owns then, from `now` on. The same seed gives the same times.
    pub(super) fn new(overlays: &OverlayTable, seed: u64, now: Instant) -> Self {
        let mut random = Rng::with_seed(seed);
        let overlays: HashMap<_, _, _> = overlays
            .iter()
            .enumerate()
            .filter_map(|(index, overlay)| {
                let (_, longest) = intervals(advertisement_of(overlay)?);
                // All overlays start together: from here on they are spread.
                let due = now + between(&mut random, Duration::ZERO, longest.min(MAX_INITIAL_INTERVAL));
                let schedule = Schedule { due, last: None, initial: MAX_INITIAL };
                Some((OverlayIndex(index as u32), schedule))
            })
            .collect();
        let queue = overlays.iter().map(|(index, schedule)| (schedule.due, *index)).collect();
        Self { overlays, queue, next_group: now, random }
    }

    /// The next group of those that are due.
    pub(super) fn poll(&mut self, tables: &Snapshot, tally: &Tally, now: Instant) -> Vec<Output> {
        let (mut outputs, mut frames) = (Vec::new(), 0);
        if now < self.next_group {
            return outputs;
        }
        while frames < GROUP
            && let Some(&(due, index)) = self.queue.first()
            && due <= now
        {
            self.queue.pop_first();
            let overlay = tables.overlays.get(index);
            let (Some(schedule), Some(policy)) = (self.overlays.get_mut(&index), advertisement_of(overlay))
            else {
                continue;
            };
            let (shortest, longest) = intervals(policy);
            let mut interval = between(&mut self.random, shortest, longest);
            schedule.initial = schedule.initial.saturating_sub(1);
            if schedule.initial > 0 {
                interval = interval.min(MAX_INITIAL_INTERVAL);
            }
            schedule.due = now + interval;
            self.queue.insert((schedule.due, index));
            // The owner advertises now, with the same content: the times go on, for when this gateway is that.
            if !tables.overlays.is_owner(index) {
                frames += 1;
                continue;
            }
            schedule.last = Some(now);
            self.next_group = now + PACE;
            frames += tables.members.of(index).len().max(1);
            tally.count(Deed::AdvertisementSent);
            outputs.push(Output::Flood {
                overlay: index,
                mac: ndp::multicast_mac(ndp::ALL_NODES),
                ethertype: EtherType::Ipv6,
                payload: packet(&tables.fixed, overlay, policy, ndp::ALL_NODES),
            });
        }
        outputs
    }

    /// When to call [`poll`](Self::poll) next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| (*due).max(self.next_group))
    }

    /// The answer to a router solicitation (RFC 4861 §6.2.6): to its sender, or to all nodes behind its endpoint if
    /// that has no address yet. One that would follow another too closely is sent later, to all of the overlay.
    pub(super) fn answer(
        &mut self,
        tables: &Snapshot,
        received: &Received<'_>,
        tally: &Tally,
        now: Instant,
    ) -> Option<Output> {
        let Origin::Station { overlay: index, endpoint } = received.origin else { return None };
        let (fixed, overlay) = (&tables.fixed, tables.overlays.get(index));
        let source = match solicitor(fixed, overlay, received) {
            Ok(source) => source,
            Err(deed) => {
                tally.count(deed);
                return None;
            }
        };
        let policy = advertisement_of(overlay).filter(|_| tables.overlays.is_owner(index))?;
        let (destination, mac) = if source.is_unspecified() {
            if !self.may_send_to_all(index, now) {
                return None;
            }
            (ndp::ALL_NODES, ndp::multicast_mac(ndp::ALL_NODES))
        } else {
            (source, received.sender)
        };
        tally.count(Deed::AdvertisementSent);
        let payload = packet(fixed, overlay, policy, destination);
        Some(Output::Station { overlay: index, endpoint, mac, ethertype: EtherType::Ipv6, payload })
    }

    /// Whether an answer to all nodes may go now, with its due distance to the last and to the next. If not, the next
    /// goes as soon as it may.
    fn may_send_to_all(&mut self, index: OverlayIndex, now: Instant) -> bool {
        let Some(schedule) = self.overlays.get_mut(&index) else { return false };
        let earliest = schedule.last.map_or(now, |last| last + MIN_DELAY).max(now);
        if earliest == now && schedule.due >= now + MIN_DELAY {
            schedule.last = Some(now);
            return true;
        }
        if earliest < schedule.due {
            self.queue.remove(&(schedule.due, index));
            schedule.due = earliest;
            self.queue.insert((earliest, index));
        }
        false
    }
}

/// What the overlay's advertisements say, whoever is the owner; `None` if there are none.
fn advertisement_of(overlay: &Overlay) -> Option<&RouterAdvertisement> {
    let has_v6 = overlay.subnets.iter().any(|subnet| subnet.router.is_ipv6());
    overlay.policy.advertisement.as_ref().filter(|_| has_v6)
}

/// The shortest and the longest time between two that nobody asked for.
fn intervals(policy: &RouterAdvertisement) -> (Duration, Duration) {
    let longest = policy.interval.max(LEAST_LONGEST);
    ((longest / 3).max(LEAST_SHORTEST), longest)
}

fn between(random: &mut Rng, shortest: Duration, longest: Duration) -> Duration {
    Duration::from_nanos(random.u64(shortest.as_nanos() as u64..=longest.as_nanos() as u64))
}

/// The source address of a router solicitation that is valid (RFC 4861 §6.1.1) and may be its sender's.
fn solicitor(fixed: &Fixed, overlay: &Overlay, received: &Received<'_>) -> Result<Ipv6Addr, Deed> {
    let bad = |_| Deed::BadNeighbour;
    let packet = Ipv6Packet::new_checked(received.packet).map_err(bad)?;
    let message = Icmpv6Packet::new_checked(packet.payload()).map_err(bad)?;
    let solicitation = RouterSolicitation::parse(&message).map_err(bad)?;
    let source = packet.src();
    solicitation.validate(&message, packet.hop_limit(), source, packet.dst()).map_err(bad)?;
    if overlay.is_router(IpAddr::V6(source), fixed.router_link_local) {
        return Err(Deed::RouterAddressClaimed);
    }
    let is_own_mac = solicitation.source_mac.is_none_or(|mac| mac == received.sender);
    let may_be_own_address = source.is_unspecified()
        || source.is_unicast_link_local()
        || overlay.subnet_of(IpAddr::V6(source)).is_some();
    if is_own_mac && may_be_own_address { Ok(source) } else { Err(Deed::BadNeighbour) }
}

/// The advertisement as an IPv6 packet. Of domains and name servers the last are left out if it would exceed the
/// overlay's MTU.
fn packet(fixed: &Fixed, overlay: &Overlay, policy: &RouterAdvertisement, destination: Ipv6Addr) -> Vec<u8> {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let valid_lifetime = seconds(policy.valid_lifetime);
    let prefixes = overlay.subnets.iter().filter_map(|subnet| match subnet.prefix {
        IpNet::V6(prefix) => Some(PrefixInformation {
            prefix: prefix.network(),
            prefix_len: prefix.prefix_len(),
            on_link: true,
            autonomous: policy.autonomous,
            valid_lifetime,
            preferred_lifetime: seconds(policy.preferred_lifetime).min(valid_lifetime),
        }),
        IpNet::V4(_) => None,
    });
    let mut advertisement = ndp::RouterAdvertisement {
        hop_limit: STATIONS_HOP_LIMIT,
        managed: policy.managed,
        other: policy.other,
        lifetime: policy.router_lifetime.as_secs().min(MAX_LIFETIME) as u16,
        reachable_time: 0,
        retrans_timer: 0,
        source_mac: Some(fixed.router_mac),
        mtu: Some(overlay.mtu.into()),
        prefixes: prefixes.collect(),
        dns_servers: policy.dns_servers.as_slice().into(),
        search_domains: policy.dns_search.iter().filter_map(|domain| domain.parse().ok()).collect(),
        // RFC 8106 §5.1: three times the longest interval, so that two may be lost.
        dns_lifetime: seconds(intervals(policy).1.saturating_mul(3)),
    };
    let room = usize::from(overlay.mtu).saturating_sub(ipv6::HEADER_LEN);
    while advertisement.buffer_len() > room
        && (advertisement.search_domains.to_mut().pop().is_some()
            || advertisement.dns_servers.to_mut().pop().is_some())
    {}
    let header = Ipv6Repr {
        src: fixed.router_link_local,
        dst: destination,
        next_header: IpProtocol::Icmpv6,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: advertisement.buffer_len() as u16,
    };
    let mut packet = vec![0; ipv6::HEADER_LEN + advertisement.buffer_len()];
    header.emit(&mut packet);
    advertisement.emit(&mut packet[ipv6::HEADER_LEN..], header.src, header.dst);
    packet
}

#[cfg(test)]
mod tests;
