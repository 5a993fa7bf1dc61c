//! Endpoints that come and go while the engine runs.
//!
//! An endpoint has an index, by which stations' flows and overlays' members lead to it, as long as any do. The index
//! of one that has gone is given to another only when no worker can hold a snapshot any longer in which it was the old
//! one's: flows change in place, so that a worker may find the new station with a snapshot that is a batch old.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::Writer;
use crate::tables::{Endpoint, OuterHeader, OverlayIndex, Way};

/// Why there is no index for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// There is no VTEP address of its family: it can be neither sender nor receiver.
    Family,
    /// All indices are in use, or wait for readers.
    Full,
}

/// How often each index is led to, and which are free.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// By index: how many stations and overlays lead to it.
    users: Vec<u32>,
    /// Free ones, each with the number of the first snapshot that is without it.
    free: VecDeque<(u64, u16)>,
}

impl Writer {
    /// Endpoints of the configuration stay, whoever leads to them.
    pub(super) fn keep_configured_endpoints(&mut self) {
        self.indices.users = vec![1; self.current.endpoints.len()];
    }

    /// The index of an endpoint, made if need be, for one more user.
    pub(super) fn use_endpoint(&mut self, address: IpAddr) -> Result<u16, NoEndpoint> {
        let index = match self.current.endpoints.index_of(address) {
            Some(index) => index,
            None => self.add_endpoint(address)?,
        };
        let users = &mut self.indices.users;
        if users.len() <= usize::from(index) {
            users.resize(usize::from(index) + 1, 0);
        }
        users[usize::from(index)] += 1;
        Ok(index)
    }

    /// One user less; after the last the endpoint goes.
    pub(super) fn release_endpoint(&mut self, index: u16) {
        let users = &mut self.indices.users[usize::from(index)];
        *users -= 1;
        if *users == 0 {
            Arc::make_mut(&mut self.current.endpoints).remove(index);
            self.changed = true;
            self.endpoints_changed = true;
            self.indices.free.push_back((self.publications + 1, index));
        }
    }

    fn add_endpoint(&mut self, address: IpAddr) -> Result<u16, NoEndpoint> {
        let outer = OuterHeader::new(&self.current.fixed.vteps, address).ok_or(NoEndpoint::Family)?;
        let oldest_read = self.oldest_read();
        let index = match self.indices.free.front() {
            Some(&(without, index)) if oldest_read >= without => {
                self.indices.free.pop_front();
                index
            }
            _ => self.current.endpoints.unused().ok_or(NoEndpoint::Full)?,
        };
        let endpoint = Endpoint { address, way: Way::Reject, outer };
        Arc::make_mut(&mut self.current.endpoints).insert(index, endpoint);
        self.changed = true;
        self.endpoints_changed = true;
        Ok(index)
    }

    /// Number of the oldest snapshot that a worker may read.
    fn oldest_read(&mut self) -> u64 {
        self.replaced.retain(|(_, tables)| Arc::strong_count(tables) > 1);
        self.replaced.first().map_or(self.publications, |(number, _)| *number)
    }

    /// Whether endpoints have come or gone since this was last asked, all of which readers see.
    pub(crate) fn take_endpoints_changed(&mut self) -> bool {
        std::mem::take(&mut self.endpoints_changed)
    }

    /// An endpoint takes part in an overlay: it may send, and gets what is flooded.
    pub(crate) fn join(&mut self, overlay: OverlayIndex, endpoint: IpAddr) -> Result<(), NoEndpoint> {
        let index = self.use_endpoint(endpoint)?;
        match self.current.members.join(overlay, index) {
            Some(before) => self.replaced_members.push(before),
            None => self.release_endpoint(index),
        }
        Ok(())
    }

    /// An endpoint does not take part any longer, unless the configuration says so.
    pub(crate) fn leave(&mut self, overlay: OverlayIndex, endpoint: IpAddr) {
        let Some(index) = self.current.endpoints.index_of(endpoint) else { return };
        if self.current.overlays.get(overlay).endpoints.contains(&endpoint) {
            return;
        }
        if let Some(before) = self.current.members.leave(overlay, index) {
            self.replaced_members.push(before);
            self.release_endpoint(index);
        }
    }
}
