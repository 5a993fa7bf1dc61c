//! What `[cluster]` says of health: routers of the uplink, and the operator's tracks.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bfd::Timing;
use cluster::message::MAX_NAME;
use evpn::PeerId;
use ipnet::IpNet;
use toml::Spanned;

use super::cluster::{ClusterProblem, Context, GatewaySettings};
use super::expand::placed;
use super::file::{self, By};
use super::validate::fail;
use super::{Fault, Place};

/// Of BFD with a router, where nothing else is said.
const INTERVAL: u32 = 50;
const MULTIPLIER: u8 = 3;

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthSettings {
    /// One that is alive is enough. None: those of the kernel's default routes.
    pub(crate) routers: Vec<UplinkRouter>,
    /// All must be as they should be.
    pub(crate) tracks: Vec<Track>,
}

/// One `[[cluster.uplink-router]]`.
#[derive(Clone, Debug)]
pub(crate) struct UplinkRouter {
    place: Place,
    pub(crate) address: IpAddr,
    pub(crate) evidence: Evidence,
}

/// How a router is known to be alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// By a BFD session over one hop.
    Bfd(Timing),
    /// By the session of this BGP peer.
    Bgp(PeerId),
    /// It answers when the kernel asks for its MAC address.
    Neighbour,
}

/// One of `tracks`. Its name is how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    /// This netdev is up and has a carrier.
    Interface(String),
    /// The kernel's main table has a route to just this prefix.
    Route(IpNet),
    /// There is this file.
    File(PathBuf),
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Route(prefix) => write!(f, "route {prefix}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl Track {
    /// As the other gateways are told it: of one that is too long the end, which says more of a path.
    pub(crate) fn name(&self) -> String {
        let name = self.to_string();
        let cut = name.len().saturating_sub(MAX_NAME);
        let from = (cut..name.len()).find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        name[from..].to_owned()
    }
}

/// Checks both.
pub(super) fn expand(
    (routers, tracks): (Vec<Spanned<file::UplinkRouter>>, Vec<file::Track>),
    gateways: &[GatewaySettings],
    context: &Context<'_>,
) -> Result<HealthSettings, Fault> {
    let mut known: Vec<UplinkRouter> = Vec::new();
    for table in routers {
        let (place, table) = placed(table, context.lines);
        let (address_place, address) = placed(table.address, context.lines);
        context.address(address_place, address, gateways)?;
        if let Some(other) = known.iter().find(|other| other.address == address) {
            return fail(address_place, ClusterProblem::RouterTwice { address, place: other.place }.into());
        }
        let is_timed = table.interval.is_some() || table.multiplier.is_some();
        if is_timed && table.by != By::Bfd {
            return fail(place, ClusterProblem::RouterTiming { address }.into());
        }
        let evidence = match table.by {
            By::Bfd if context.peers.contains(&(address, true)) => {
                return fail(place, ClusterProblem::RouterHasBfd { address }.into());
            }
            By::Bfd => {
                let interval = Duration::from_millis(table.interval.unwrap_or(INTERVAL).into());
                let timing = Timing::symmetric(interval, table.multiplier.unwrap_or(MULTIPLIER));
                if let Err(problem) = timing.check() {
                    return fail(place, ClusterProblem::from(problem).into());
                }
                Evidence::Bfd(timing)
            }
            By::Bgp => Evidence::Bgp(context.peer(address_place, address)?),
            By::Neighbour => Evidence::Neighbour,
        };
        known.push(UplinkRouter { place, address, evidence });
    }
    // As seen from the configuration file.
    let path = |path| context.directory.unwrap_or(Path::new("")).join(path);
    let track = |track| match track {
        file::Track::Interface(name) => Track::Interface(name),
        file::Track::Route(file::Prefix(prefix)) => Track::Route(prefix),
        file::Track::File(name) => Track::File(path(name)),
    };
    Ok(HealthSettings { routers: known, tracks: tracks.into_iter().map(track).collect() })
}

impl Context<'_> {
    /// The BGP peer with this address.
    fn peer(&self, place: Place, address: IpAddr) -> Result<PeerId, Fault> {
        let number = self.peers.iter().position(|&(peer, _)| peer == address);
        match number.and_then(|number| u16::try_from(number).ok()) {
            Some(number) => Ok(PeerId(number)),
            None => fail(place, ClusterProblem::RouterIsNoPeer { address }.into()),
        }
    }
}
