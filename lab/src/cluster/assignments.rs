//! Who serves what, as the gateways say.

use std::time::Duration;

use super::Cluster;
use crate::error::Result;
use crate::scene::Site;
use crate::wait::wait_until;

impl Cluster {
    /// The gateway that serves each group (of `vxgate show assignments`, in its order). Each must be some gateway's of
    /// those that run, given by their numbers, and all of them must say so.
    ///
    /// # Errors
    /// What is not so.
    ///
    /// # Panics
    /// If there is no such gateway.
    pub fn owners(&self, running: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let mut owners: Vec<u8> = Vec::new();
        let mut views = Vec::new();
        for &number in running {
            let gateway = &self.member(number).gateway;
            let rows = gateway.show("assignments").map_err(|error| error.to_string())?;
            let rows = rows.as_array().ok_or("no rows")?;
            owners.resize(rows.len(), 0);
            for (group, (row, owner)) in rows.iter().zip(&mut owners).enumerate() {
                if row["own"] == true {
                    if *owner != 0 {
                        return Err(format!("group {group} has two: {owner} and {number}"));
                    }
                    *owner = number;
                }
            }
            views.push(rows.iter().map(|row| row["owner"].as_u64().unwrap_or(0) as u8).collect::<Vec<_>>());
        }
        if owners.contains(&0) || views.iter().any(|view| *view != owners) {
            return Err(format!("not agreed: {owners:?}, seen as {views:?}"));
        }
        Ok(owners)
    }

    /// Waits until each shard has [one owner](Self::owners), and each gateway that runs has as many as the others, or one
    /// more: the owners.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) with what is not so.
    ///
    /// # Panics
    /// As [`owners`](Self::owners).
    pub fn wait_even(&self, running: &[u8], timeout: Duration) -> Result<Vec<u8>> {
        wait_until(&format!("shards to be even among {running:?}"), timeout, || {
            let owners = self.owners(running)?;
            let quota = owners.len() / running.len();
            let of = |number: u8| owners.iter().filter(|owner| **owner == number).count();
            let counts: Vec<usize> = running.iter().map(|&number| of(number)).collect();
            let is_even = counts.iter().all(|count| (quota..=quota + 1).contains(count));
            if is_even { Ok(owners) } else { Err(format!("{counts:?}")) }
        })
    }

    /// Has the router send what is for overlays to the addresses of their shards, whoever has them: for gateways that don't
    /// tell it so themselves. `shard_of` is the shard of an overlay, given by its VNI.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the router takes no such routes; as [`Gateway::show`](crate::Gateway::show).
    ///
    /// # Panics
    /// If there is no such shard, or it has no addresses.
    pub fn route_shards<'a>(
        &self,
        overlays: impl IntoIterator<Item = &'a Site>,
        shard_of: impl Fn(u32) -> u16,
    ) -> Result<()> {
        let rows = self.gateways[0].gateway.show("assignments")?;
        let route = |site: &Site| {
            let uplink = &rows[usize::from(shard_of(site.vni.value()))]["uplink"];
            let [v4, v6] = [0, 1].map(|n| uplink[n].as_str().expect("a shard's address"));
            format!("route add {} via {v4}\nroute add {} via {v6}\n", site.v4, site.v6)
        };
        self.topology.router.ip(&overlays.into_iter().map(route).collect::<String>())
    }
}
