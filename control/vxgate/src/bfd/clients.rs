//! Who wanted a session: BGP peers. A session goes where the kernel's route to the peer goes; while it is not up, that
//! is looked up again each second, so that it follows a netdev or an address that comes late or changes.

use std::net::IpAddr;
use std::time::Duration;

use bfd::{Cause, Change, SessionId, Standing, State, Timing};
use evpn::PeerId;
use tokio::sync::mpsc;

use super::{Bfd, Client, News, Placed, Wanted, way_to};
use crate::bgp::Bgp;
use crate::config::BgpSettings;
use crate::mirror::{Netlink, NetlinkError};

/// How often what is not up is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The session that a BGP peer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSession {
    pub(crate) id: PeerId,
    pub(crate) address: IpAddr,
    /// The address from which its BGP session goes, if that is configured.
    pub(crate) local: Option<IpAddr>,
    pub(crate) timing: Timing,
    /// Over several hops; `None`: if the route leads by a router.
    pub(crate) multihop: Option<bool>,
    pub(crate) min_ttl: u8,
}

/// The sessions that `[bgp]` wants.
pub(crate) fn peer_sessions(bgp: &BgpSettings) -> Vec<PeerSession> {
    let sessions = bgp.peers.iter().enumerate().filter_map(|(place, peer)| {
        let bfd = peer.bfd()?;
        Some(PeerSession {
            id: PeerId(u16::try_from(place).ok()?),
            address: peer.address(),
            local: peer.local_address(),
            timing: bfd.timing,
            multihop: bfd.multihop,
            min_ttl: bfd.min_ttl,
        })
    });
    sessions.collect()
}

/// The sessions of BGP peers.
pub(crate) struct Clients<'a> {
    bfd: &'a Bfd,
    netlink: Netlink,
    peers: Vec<(PeerSession, Placed)>,
}

impl<'a> Clients<'a> {
    /// Nothing is added before [`run`](Self::run).
    pub(crate) fn new(bfd: &'a Bfd, peers: Vec<PeerSession>) -> Result<Self, NetlinkError> {
        let peers = peers.into_iter().map(|peer| (peer, Placed::default())).collect();
        Ok(Self { bfd, netlink: Netlink::connect()?, peers })
    }

    /// Adds sessions, and ends BGP sessions when theirs end; for ever.
    pub(crate) async fn run(mut self, mut news: mpsc::Receiver<News>, bgp: &Bgp) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                told = news.recv() => match told {
                    Some(told) => self.hear(told, bgp).await,
                    None => break,
                },
                _ = look.tick() => self.place().await,
            }
        }
        std::future::pending().await
    }

    async fn hear(&self, news: News, bgp: &Bgp) {
        if let News::Change { change, .. } = &news
            && ends(change)
            && let Some((peer, _)) =
                self.peers.iter().find(|(_, placed)| placed.session() == Some(change.session))
        {
            bgp.peer_down(peer.id).await;
        }
        bgp.events().tell_bfd(&news);
    }

    /// Adds what is missing, and moves what is not up and should be elsewhere.
    async fn place(&mut self) {
        let Some(view) = self.bfd.view().await else { return };
        let is_up = |id: SessionId| {
            view.sessions.iter().any(|row| row.session == id.0 && row.state == State::Up.to_string())
        };
        for (peer, placed) in &mut self.peers {
            if placed.session().is_some_and(is_up) {
                continue;
            }
            let outcome = match wanted(peer, &self.netlink).await {
                Ok(wanted) => placed.put(self.bfd, wanted, Client::Peer).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                placed.warn_once(format!("BFD: no session with {}: {error}", peer.address));
            }
        }
    }
}

/// Whether this is the death of what was alive. A peer that holds its session down says nothing about the path
/// (RFC 5882 §3.2): BGP goes on by its own timers.
fn ends(change: &Change) -> bool {
    change.from == State::Up
        && change.standing == Standing::Down
        && matches!(change.cause, Cause::Expired | Cause::PeerSaid(_))
}

/// Where the kernel would send.
async fn wanted(peer: &PeerSession, netlink: &Netlink) -> Result<Wanted, String> {
    let wanted = way_to(peer.address, peer.timing, (peer.multihop, peer.min_ttl), netlink).await?;
    Ok(Wanted { local: peer.local.unwrap_or(wanted.local), ..wanted })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bfd::Diagnostic;

    use super::*;

    #[test]
    fn bgp_outlives_a_peer_that_holds_its_session_down() {
        let change = |from, standing, cause| Change {
            session: SessionId(0),
            from,
            to: State::Down,
            standing,
            diagnostic: Diagnostic::None,
            cause,
            silence: None,
            at: Instant::now(),
        };
        assert!(ends(&change(State::Up, Standing::Down, Cause::Expired)));
        assert!(ends(&change(State::Up, Standing::Down, Cause::PeerSaid(State::Down))));
        let held = Cause::PeerSaid(State::AdminDown);
        assert!(!ends(&change(State::Up, Standing::PeerAdminDown, held)));
        assert!(!ends(&change(State::Init, Standing::Down, Cause::Expired)));
        assert!(!ends(&change(State::Up, Standing::NotYetUp, Cause::HeldDown)));
    }
}
