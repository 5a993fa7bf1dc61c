//! The gateways of the cluster, as `vxgate show cluster` tells of them.

use std::net::{IpAddr, SocketAddr};

use cluster::assign::GatewayId;
use cluster::session::hello::Hello;
use cluster::{Presence, Stage, Unfit};
use serde::{Deserialize, Serialize};

use super::Pin;
use super::session::{State, Status};
use super::tell;
use crate::config::{ClusterSettings, FloatingSettings};

/// What the rules of the cluster have come to.
#[derive(Debug)]
pub(super) struct View {
    pub(super) stage: Stage,
    pub(super) unfit: Option<Unfit>,
    pub(super) peers: Vec<(GatewayId, Presence)>,
    /// Of each overlay, or shard.
    pub(super) owners: Vec<Option<GatewayId>>,
}

/// An overlay in mode `announce`, or a shard.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct AssignmentRow {
    pub(crate) vni: Option<u32>,
    pub(crate) shard: Option<u16>,
    /// The gateway that serves it, as far as is known here.
    pub(crate) owner: Option<u16>,
    /// Whether that is this one.
    pub(crate) own: bool,
    /// What endpoints send to; of a shard.
    pub(crate) vtep: Vec<IpAddr>,
    /// What routers send to; of a shard.
    pub(crate) uplink: Vec<IpAddr>,
}

/// Which assignments are wanted.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AssignmentFilter {
    /// That of this overlay.
    pub(crate) vni: Option<u32>,
    /// Those of this gateway.
    pub(crate) owner: Option<u16>,
    /// Those that nobody serves.
    pub(crate) unowned: bool,
    /// No more than these.
    pub(crate) limit: usize,
}

pub(super) fn assignments(
    view: &View,
    mode: &cluster::Mode,
    floating: Option<&FloatingSettings>,
    own: u16,
    filter: &AssignmentFilter,
) -> Vec<AssignmentRow> {
    let of_vni = filter.vni.map(|vni| match mode {
        cluster::Mode::Announce(vnis) => vnis.binary_search(&vni).ok(),
        cluster::Mode::Floating(shards) => Some(shards.shard_of(vni).into()),
    });
    let shards = floating.map(FloatingSettings::list).unwrap_or_default();
    let row = |(number, owner): (usize, Option<u16>)| {
        let shard = shards.get(number);
        AssignmentRow {
            vni: match mode {
                cluster::Mode::Announce(vnis) => vnis.get(number).copied(),
                cluster::Mode::Floating(_) => None,
            },
            // There are 4 096 at most.
            shard: shard.map(|_| number as u16),
            owner,
            own: owner == Some(own),
            vtep: shard.map(|shard| shard.vteps().collect()).unwrap_or_default(),
            uplink: shard.map(|shard| shard.uplinks().collect()).unwrap_or_default(),
        }
    };
    let owners = view.owners.iter().map(|owner| owner.map(GatewayId::value)).enumerate();
    let wanted = owners.filter(|&(number, owner)| {
        of_vni.is_none_or(|place| place == Some(number))
            && (filter.owner.is_none() || owner == filter.owner)
            && (!filter.unowned || owner.is_none())
    });
    wanted.take(filter.limit).map(row).collect()
}

/// A gateway.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct GatewayRow {
    pub(crate) id: u16,
    /// `self`, `up`, `connecting` or `refused`.
    pub(crate) session: String,
    /// What it is: of this gateway `joining`, `serving`, `leaving`, `left` or `unfit` with the reason; of
    /// others as they are seen here.
    pub(crate) part: Option<String>,
    /// How many overlays it serves in mode `announce`, how many shards in mode `floating`; `None`: this gateway has left.
    pub(crate) serves: Option<usize>,
    /// The overlay that carries most through it, as it said last, in mode `announce`; of this gateway `None`.
    pub(crate) busiest: Option<u32>,
    /// Where it listens; of this gateway `None`.
    pub(crate) address: Option<SocketAddr>,
    /// For how long the session has been so.
    pub(crate) since_ms: Option<u64>,
    /// Nanoseconds since 1970 when it started; while its session is up.
    pub(crate) incarnation: Option<u64>,
    /// As it says, or as it is configured here until it does.
    pub(crate) weight: u32,
    /// Messages in all sessions.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Bytes that wait for being sent.
    pub(crate) queued: usize,
    pub(crate) pin: String,
    pub(crate) underlay: Vec<IpAddr>,
    pub(crate) uplink: Vec<IpAddr>,
    /// Why there is no session.
    pub(crate) why: Option<String>,
}

pub(super) fn rows(
    own: &Hello,
    pin: Pin,
    settings: &ClusterSettings,
    statuses: Vec<Status>,
    busiest: &[(u16, u32)],
    view: Option<&View>,
) -> Vec<GatewayRow> {
    let serves =
        |id: u16| view.map(|view| view.owners.iter().flatten().filter(|owner| owner.value() == id).count());
    let of_peer = |id: u16| {
        let (_, presence) = view?.peers.iter().find(|(peer, _)| peer.value() == id)?;
        Some(tell::presence(*presence).to_owned())
    };
    let of_self = view.map(|view| match view.unfit {
        Some(why) if view.stage == Stage::Unfit => {
            format!("{}: {}", tell::stage(view.stage), tell::unfit(why))
        }
        _ => tell::stage(view.stage).into(),
    });
    let this = GatewayRow {
        id: own.id,
        session: "self".into(),
        part: of_self,
        serves: serves(own.id),
        busiest: None,
        address: None,
        since_ms: None,
        incarnation: Some(own.incarnation),
        weight: own.weight,
        sent: statuses.iter().map(|status| status.sent).sum(),
        received: statuses.iter().map(|status| status.received).sum(),
        queued: statuses.iter().map(|status| status.queued).sum(),
        pin: pin.to_string(),
        underlay: Vec::new(),
        uplink: Vec::new(),
        why: None,
    };
    let others = settings.gateways.iter().filter_map(|gateway| {
        let status = statuses.iter().find(|status| status.id == gateway.id)?;
        let (session, hello, why) = match &status.state {
            State::Up(hello) => ("up", Some(hello), None),
            State::Connecting(why) => ("connecting", None, why.as_ref()),
            State::Refused(why) => ("refused", None, Some(why)),
        };
        Some(GatewayRow {
            id: gateway.id,
            session: session.into(),
            part: of_peer(gateway.id),
            serves: serves(gateway.id),
            busiest: busiest.iter().find(|(id, _)| *id == gateway.id).map(|&(_, vni)| vni),
            address: Some(gateway.session),
            since_ms: Some(status.since.elapsed().as_millis() as u64),
            incarnation: hello.map(|hello| hello.incarnation),
            weight: hello.map_or(gateway.weight.into(), |hello| hello.weight),
            sent: status.sent,
            received: status.received,
            queued: status.queued,
            pin: gateway.pin.to_string(),
            underlay: gateway.underlay.clone(),
            uplink: gateway.uplink.clone(),
            why: why.map(ToString::to_string),
        })
    });
    [this].into_iter().chain(others).collect()
}
