//! Which overlays carry most: those move first, in mode `announce`. What a gateway carries it alone knows, so it tells the
//! others: when it is dead, they take over in that order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use cluster::Group;
use cluster::message::{MAX_BUSIEST, Message};
use engine::Engine;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use wire::Vni;

use super::inbox::Inbox;
use super::session::{Handle, State};

/// How often that is looked at: sorting tens of thousands of overlays takes milliseconds.
const LOOK: Duration = Duration::from_secs(10);

/// The order in which overlays move.
pub(super) struct Order {
    inbox: Arc<Inbox>,
    known: Mutex<Known>,
}

/// What it is made of.
#[derive(Debug, Default)]
struct Known {
    /// All overlays, by what they carry through this gateway.
    own: Vec<Group>,
    /// What carries most through each peer, as it said last. It stays when the peer is gone.
    peers: BTreeMap<u16, Vec<Group>>,
}

impl Order {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, known: Mutex::default() }
    }

    /// Hears of a configured peer what it carries.
    pub(super) fn hear(&self, peer: u16, groups: Vec<u32>) {
        let groups = groups.into_iter().map(Group).collect();
        self.change(|known| replace(known.peers.entry(peer).or_default(), groups));
    }

    /// What carries most through a peer, as it said last.
    pub(super) fn busiest(&self, peer: u16) -> Option<Group> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.peers.get(&peer)?.first().copied()
    }

    /// What is no news costs nobody anything.
    fn change(&self, change: impl FnOnce(&mut Known) -> bool) {
        // A panic while it was held cannot have left it half-changed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut known) {
            self.inbox.set_order(known.merged());
        }
    }
}

impl Known {
    /// First what peers carry, from each in turn, so that two that die at once are alike; then all others. What is
    /// named twice counts where it comes first.
    fn merged(&self) -> Vec<Group> {
        let most = self.peers.values().map(Vec::len).max().unwrap_or(0);
        let of_peers =
            (0..most).flat_map(|place| self.peers.values().filter_map(move |list| list.get(place)));
        of_peers.chain(&self.own).copied().collect()
    }
}

/// Whether it is another now.
fn replace(known: &mut Vec<Group>, now: Vec<Group>) -> bool {
    let is_news = *known != now;
    *known = now;
    is_news
}

/// Tells the rules and the peers again and again, until the engine is gone. `vnis` are those of the groups, in their order.
pub(super) async fn follow(vnis: Arc<[u32]>, engine: Weak<Engine>, order: Arc<Order>, handle: Handle) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut busiest = Vec::new();
    let mut told = BTreeMap::new();
    loop {
        look.tick().await;
        let (vnis, engine) = (Arc::clone(&vnis), Weak::clone(&engine));
        let sort = move || Some(carried(&vnis, &*engine.upgrade()?));
        // Not where sessions wait for it.
        let Ok(Some(carried)) = spawn_blocking(sort).await else { return };
        let own: Vec<Group> = carried.iter().map(|&(group, _)| Group(group)).collect();
        order.change(|known| replace(&mut known.own, own));
        let now = classes(&carried);
        // In silence the last order is the best that is known.
        if !now.is_empty() {
            busiest = now;
        }
        tell(&handle, &busiest, &mut told);
    }
}

/// Tells peers what they have not been told in their sessions: nothing while nothing changes. `told` has since when each one's
/// session has been up.
fn tell(handle: &Handle, busiest: &[u32], told: &mut BTreeMap<u16, (Instant, Vec<u32>)>) {
    if busiest.is_empty() {
        return;
    }
    for status in handle.statuses().into_iter().filter(|status| matches!(status.state, State::Up(_))) {
        let is_told =
            told.get(&status.id).is_some_and(|(since, list)| *since == status.since && list == busiest);
        // A session that is full, or gone meanwhile, is tried again at the next look.
        if !is_told && handle.send(status.id, Message::Busiest(busiest.to_vec()).encode().into()).is_ok() {
            told.insert(status.id, (status.since, busiest.to_vec()));
        }
    }
}

/// The overlays with packets since the last look, by powers of two of these: a little more or less is no news.
fn classes(carried: &[(u32, u64)]) -> Vec<u32> {
    let class = |&(group, packets): &(u32, u64)| Some((Reverse(packets.checked_ilog2()?), group));
    let mut busy: Vec<_> = carried.iter().filter_map(class).collect();
    busy.sort_unstable();
    busy.into_iter().map(|(_, group)| group).take(MAX_BUSIEST).collect()
}

/// Groups, those first that carry most, with their packets since the last look.
fn carried(vnis: &[u32], engine: &Engine) -> Vec<(u32, u64)> {
    let overlays: Vec<Vni> = vnis.iter().filter_map(|&vni| Vni::new(vni)).collect();
    let place = |(vni, packets): (Vni, u64)| Some((vnis.binary_search(&vni.value()).ok()? as u32, packets));
    engine.busiest_first(&overlays).into_iter().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_carries_comes_before_what_is_carried_here() {
        let groups = |numbers: &[u32]| numbers.iter().copied().map(Group).collect::<Vec<_>>();
        let mut known = Known { own: groups(&[0, 1, 2, 3, 4]), ..Known::default() };
        assert_eq!(known.merged(), known.own);
        known.peers.insert(2, groups(&[4, 2]));
        known.peers.insert(3, groups(&[3]));
        assert_eq!(known.merged(), groups(&[4, 3, 2, 0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_little_more_is_no_news() {
        assert_eq!(classes(&[(7, 1030), (2, 1025), (5, 3), (9, 1), (1, 0)]), [2, 7, 5, 9]);
        assert_eq!(classes(&[(2, 1900), (7, 1024), (5, 2), (9, 1), (1, 0)]), [2, 7, 5, 9]);
        assert_eq!(classes(&[(5, 2048), (2, 1900)]), [5, 2]);
        assert!(classes(&[(1, 0), (2, 0)]).is_empty());
        let all: Vec<_> = (0..65_536).map(|group| (group, 1)).collect();
        assert_eq!(classes(&all).len(), MAX_BUSIEST, "a message is bounded");
    }
}
