//! What of the outlook the configuration wants: who looks at what, and in which place it shows.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{io, thread};

use super::ClusterSettings;
use crate::bgp::WatchedRouters;
use crate::config::{Evidence, HealthSettings, Track};
use crate::mirror::{Outlook, Watched};

/// How often it is looked whether files are there.
const LOOK: Duration = Duration::from_millis(100);

/// An outlook that shows what the configuration wants looked at, and what of it is for the mirror.
pub(crate) fn of(cluster: Option<&ClusterSettings>, ports: usize) -> (Arc<Outlook>, Watched) {
    let none = HealthSettings::default();
    let HealthSettings { routers, tracks } = cluster.map_or(&none, |cluster| &cluster.health);
    let outlook = Outlook::new(ports, routers.len().max(1), tracks.iter().map(Track::name));
    let neighbours = routers.iter().enumerate().filter(|(_, router)| router.evidence == Evidence::Neighbour);
    let neighbours = neighbours.map(|(place, router)| (place, router.address)).collect();
    let mut watched = Watched {
        routers: (!routers.is_empty()).then_some(neighbours),
        links: Vec::new(),
        routes: Vec::new(),
    };
    for (place, track) in tracks.iter().enumerate() {
        match track {
            Track::Interface(name) => watched.links.push((place, name.clone())),
            Track::Route(prefix) => watched.routes.push((place, *prefix)),
            Track::File(_) => {}
        }
    }
    (Arc::new(outlook), watched)
}

/// What of it is for BGP.
pub(crate) fn of_bgp(cluster: Option<&ClusterSettings>, outlook: &Arc<Outlook>) -> WatchedRouters {
    let routers = cluster.iter().flat_map(|cluster| cluster.health.routers.iter().enumerate());
    let peers = routers.filter_map(|(place, router)| match router.evidence {
        Evidence::Bgp(peer) => Some((peer, place)),
        Evidence::Bfd(_) | Evidence::Neighbour => None,
    });
    WatchedRouters { places: peers.collect(), outlook: Arc::clone(outlook) }
}

/// Looks for the files, on a thread of its own: a file system that hangs holds up nothing else. It ends with the outlook.
pub(super) fn watch_files(tracks: &[Track], outlook: &Arc<Outlook>) -> io::Result<()> {
    let files: Vec<(usize, PathBuf)> = tracks
        .iter()
        .enumerate()
        .filter_map(|(place, track)| match track {
            Track::File(path) => Some((place, path.clone())),
            Track::Interface(_) | Track::Route(_) => None,
        })
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let outlook = Arc::downgrade(outlook);
    let look = move || {
        while let Some(outlook) = Weak::upgrade(&outlook) {
            for (place, path) in &files {
                outlook.set_track(*place, path.exists());
            }
            drop(outlook);
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("tracks".into()).spawn(look).map(drop)
}
