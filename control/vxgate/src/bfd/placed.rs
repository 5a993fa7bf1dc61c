//! A session that goes where the kernel's route to the peer goes.

use std::net::IpAddr;

use bfd::{SessionId, Timing};
use rustix::net::netdevice::index_to_name;
use tracing::warn;

use super::{Bfd, Client, Wanted, Way};
use crate::mirror::Netlink;

/// A session that is not there yet, or is and may have to move.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    kept: Option<(SessionId, Wanted)>,
    /// What was warned of last.
    warned: String,
}

impl Placed {
    /// The session, if it is there.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.kept.as_ref().map(|&(session, _)| session)
    }

    /// Adds the session, or moves it if it is elsewhere.
    pub(crate) async fn put(&mut self, bfd: &Bfd, wanted: Wanted, client: Client) -> Result<(), String> {
        if let Some((session, before)) = &self.kept {
            if *before == wanted {
                return Ok(());
            }
            bfd.remove(*session).await;
            self.kept = None;
        }
        let session = bfd.add(wanted.clone(), client).await.map_err(|error| error.to_string())?;
        self.kept = Some((session, wanted));
        Ok(())
    }

    /// Says why it is not there, unless that was said last.
    pub(crate) fn warn_once(&mut self, text: String) {
        if self.warned != text {
            warn!("{text}");
            self.warned = text;
        }
    }
}

/// A session that goes where the kernel would send; whether over several hops, `None` for as the route says, and the lowest
/// TTL then.
pub(crate) async fn way_to(
    peer: IpAddr,
    timing: Timing,
    (multihop, min_ttl): (Option<bool>, u8),
    netlink: &Netlink,
) -> Result<Wanted, String> {
    let way = netlink.way_to(peer).await.map_err(|error| error.to_string())?;
    let link = way.link.ok_or("its route has no interface")?;
    let local = way.source.ok_or("its route has no source address")?;
    let way = match multihop.unwrap_or(way.gateway.is_some()) {
        true => Way::MultiHop { min_ttl },
        false => Way::SingleHop { interface: name(link)?, index: link },
    };
    Ok(Wanted { peer, local, way, timing, keys: Vec::new() })
}

fn name(index: u32) -> Result<String, String> {
    let named = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| Ok(index_to_name(&socket, index)?));
    named.map_err(|error| format!("interface {index}: {error}"))
}
