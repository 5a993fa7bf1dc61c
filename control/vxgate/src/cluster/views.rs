//! The gateways of the cluster, as `vxgate show cluster` tells of them.

use std::net::{IpAddr, SocketAddr};

use cluster::session::hello::Hello;
use serde::{Deserialize, Serialize};

use super::Pin;
use super::session::{State, Status};
use crate::config::ClusterSettings;

/// A gateway.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct GatewayRow {
    pub(crate) id: u16,
    /// `self`, `up`, `connecting` or `refused`.
    pub(crate) session: String,
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
) -> Vec<GatewayRow> {
    let this = GatewayRow {
        id: own.id,
        session: "self".into(),
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
