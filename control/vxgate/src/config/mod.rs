//! The configuration: read from a file, checked as a whole before anything is changed.

mod bfd_keys;
mod bgp;
mod cluster;
mod expand;
mod file;
mod health;
mod ingress;
mod policy;
mod problem;
mod rules;
mod shards;
mod stations;
mod validate;
mod workers;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{OverlayPolicy, PuntLimits, Role, Subnet};
use ipnet::IpNet;
use port::{BindRequest, Polling, XdpRequest};
use wire::{MacAddr, Vni};

pub(crate) use bfd_keys::BfdKey;
pub(crate) use bgp::{BgpProblem, BgpSettings, PasswordError};
pub(crate) use cluster::{
    AddressRange, ClusterProblem, ClusterSettings, FloatingSettings, GatewaySettings, Mode, any_of_families,
};
pub(crate) use health::{Evidence, HealthSettings, Track};
pub(crate) use ingress::{IngressProblem, IngressSettings, Med};
pub(crate) use problem::{ConfigError, Fault, Place, Problem};
pub(crate) use rules::RuleSettings;
pub(crate) use shards::own_mac;
use stations::Stations;
pub(crate) use validate::role_name;

/// Where the control socket is unless the configuration or the command line says otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/vxgate/control.sock";

/// A checked configuration. What depends on the machine (netdevs, their MTU and addresses) is added by
/// [`preflight`](crate::preflight).
#[derive(Debug)]
pub(crate) struct Settings {
    /// The file it came from.
    pub(crate) path: PathBuf,
    /// MAC address of every overlay's router.
    pub(crate) router_mac: MacAddr,
    /// Prefixes that hold all overlay prefixes; disjoint.
    pub(crate) blocks: Vec<IpNet>,
    /// The VTEP addresses, at most one a family; empty: those of the underlay ports.
    pub(crate) vteps: Vec<IpAddr>,
    /// Path of the control socket.
    pub(crate) socket: PathBuf,
    /// What workers do when there is nothing to do.
    pub(crate) polling: Polling,
    /// One worker each, pinned to this core if one is named.
    pub(crate) workers: Vec<Option<usize>>,
    /// Most entries of the flow table.
    pub(crate) max_flows: u32,
    /// The overlays' prefixes are put into the kernel, for a routing daemon.
    pub(crate) igp: bool,
    /// How much the slow path is given.
    pub(crate) punt_limits: PuntLimits,
    /// At least one port of each role, or one of both.
    pub(crate) ports: Vec<PortSettings>,
    /// The tables that overlays come from.
    pub(crate) groups: Vec<OverlayGroup>,
    /// The overlays, by ascending VNI.
    pub(crate) overlays: Vec<OverlaySettings>,
    /// The stations.
    pub(crate) stations: Stations,
    /// The rules, in order.
    pub(crate) rules: Vec<RuleSettings>,
    /// `None`: what is not configured is not known.
    pub(crate) bgp: Option<BgpSettings>,
    /// `None`: this gateway is alone.
    pub(crate) cluster: Option<ClusterSettings>,
}

/// One `[[port]]`.
#[derive(Debug)]
pub(crate) struct PortSettings {
    pub(crate) place: Place,
    pub(crate) interface: String,
    pub(crate) role: Role,
    /// Empty: those that the netdev has. Without [`Settings::vteps`] those of underlay ports are the VTEP's.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) xdp: XdpRequest,
    pub(crate) bind: BindRequest,
}

/// What all overlays of one `[[overlay]]` or `[[overlay-block]]` share.
#[derive(Debug)]
pub(crate) struct OverlayGroup {
    pub(crate) place: Place,
    pub(crate) endpoints: Arc<[IpAddr]>,
    /// Where each of the endpoints is named.
    endpoint_places: Vec<Place>,
    /// `None`: what the underlay leaves, 1 500 at most.
    pub(crate) mtu: Option<u16>,
    /// Whether any of its subnets is IPv6.
    pub(crate) ipv6: bool,
    pub(crate) owner: bool,
    pub(crate) own_mac: Option<MacAddr>,
    /// Tables that say nothing of it share one.
    pub(crate) policy: Arc<OverlayPolicy>,
}

/// One overlay.
#[derive(Debug)]
pub(crate) struct OverlaySettings {
    pub(crate) vni: Vni,
    pub(crate) subnets: Vec<Subnet>,
    /// Index in [`Settings::groups`].
    pub(crate) group: u32,
}

impl Settings {
    /// Reads and checks a file. Nothing is changed, and nothing of the machine is looked at.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let lines = Lines::new(text);
        let file = toml::from_str(text).map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.into(),
            place: lines.place(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', "; "),
        })?;
        expand::expand(file, path, &lines).map_err(|fault| Self::located(path, fault))
    }

    /// The VTEP addresses that the file names; none: the machine says which there are.
    pub(crate) fn named_vteps(&self) -> Vec<IpAddr> {
        if !self.vteps.is_empty() {
            return self.vteps.clone();
        }
        let underlays = self.ports.iter().filter(|port| port.role.is_underlay());
        underlays.flat_map(|port| port.addresses.iter().copied()).collect()
    }

    /// Checks the endpoints against the VTEP addresses that there really are.
    pub(crate) fn check_endpoints(&self, vteps: &[IpAddr]) -> Result<(), ConfigError> {
        validate::endpoints_and_vteps(&self.groups, vteps).map_err(|fault| Self::located(&self.path, fault))
    }

    fn located(path: &Path, Fault { place, problem }: Fault) -> ConfigError {
        ConfigError::Invalid { path: path.into(), place, problem }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn place(&self, offset: usize) -> Place {
        // The first line begins at 0, so that at least one begins at or before any offset.
        let line = self.0.partition_point(|&start| start <= offset);
        Place { line, column: offset - self.0[line - 1] + 1 }
    }
}

#[cfg(test)]
mod tests;
