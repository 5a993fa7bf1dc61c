//! What a gateway of a cluster looks at to know whether it is able to serve.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::Prefix;

/// `[[cluster.uplink-router]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct UplinkRouter {
    pub(in crate::config) address: Spanned<IpAddr>,
    #[serde(default)]
    pub(in crate::config) by: By,
    /// Milliseconds.
    pub(in crate::config) interval: Option<u32>,
    pub(in crate::config) multiplier: Option<u8>,
}

/// How a router is known to be alive.
#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum By {
    #[default]
    Bfd,
    Bgp,
    Neighbour,
}

/// One of `tracks`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Track {
    Interface(String),
    Route(Prefix),
    File(PathBuf),
}
