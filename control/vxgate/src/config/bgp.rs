//! What `[bgp]` says.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evpn::{DuplicatePolicy, Family, Local, PeerConfig, PeerId, RouteTarget, RouteTargets, Transport};
use thiserror::Error;
use toml::Spanned;
use wire::Vni;

use super::expand::placed;
use super::file;
use super::validate::{Placed, fail};
use super::{
    Fault, IngressProblem, IngressSettings, Lines, OverlayGroup, OverlaySettings, Place, Settings, ingress,
};

/// A checked `[bgp]`.
#[derive(Debug)]
pub(crate) struct BgpSettings {
    /// Who we are.
    pub(crate) local: Local,
    /// How the route targets of overlays that name none are derived.
    pub(crate) derived: RouteTargets,
    /// Those that name some.
    pub(crate) explicit: HashMap<Vni, RouteTargets>,
    /// When a MAC address that jumps between endpoints is held.
    pub(crate) duplicates: DuplicatePolicy,
    /// Addresses on which peers may connect; `None`: any, of the families of the peers.
    pub(crate) listen: Option<Vec<IpAddr>>,
    /// How unicast routes are announced.
    pub(crate) ingress: IngressSettings,
    /// The peers.
    pub(crate) peers: Vec<PeerSettings>,
}

/// One `[[bgp.peer]]`.
#[derive(Debug)]
pub(crate) struct PeerSettings {
    place: Place,
    config: PeerConfig,
    password_file: Option<PathBuf>,
    bfd: Option<BfdSettings>,
}

/// How a peer's death is noticed by BFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BfdSettings {
    pub(crate) timing: bfd::Timing,
    /// Whether it goes over several hops; `None`: if the route to the peer leads by a router.
    pub(crate) multihop: Option<bool>,
    /// The lowest TTL that is taken over several.
    pub(crate) min_ttl: u8,
}

/// Between packets, where nothing else is said, and how many may be missed.
const BFD_INTERVAL: u32 = 50;
const BFD_MULTIPLIER: u8 = 3;

/// The lowest TTL over several hops, where nothing else is said: one router between, as FRR has it.
const BFD_MIN_TTL: u8 = 254;

/// What `[bgp]` says that cannot be. The messages end with the remedy.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum BgpProblem {
    #[error("AS {0} is reserved (RFC 7607, RFC 7300): give the AS number of this network")]
    Asn(u32),
    #[error("router-id {0} identifies nobody: give an IPv4 address of this host, its own in the AS")]
    RouterId(Ipv4Addr),
    #[error(
        "there is no cluster-number: add one, also for a gateway that is alone, or a [cluster] with its number"
    )]
    NoClusterNumber,
    #[error("cluster-number {number} is not number = {cluster} of [cluster]: remove cluster-number here")]
    ClusterNumber { number: u16, cluster: u16 },
    #[error("there is no peer: add a [[bgp.peer]], a route reflector say, or remove [bgp]")]
    NoPeers,
    #[error("{0}")]
    Peer(#[from] evpn::ConfigError),
    #[error("peer {address} is there twice, also on {place}: keep one")]
    PeerTwice { address: IpAddr, place: Place },
    #[error("peer {address} is this gateway's own VTEP address: give the peer's")]
    PeerIsSelf { address: IpAddr },
    #[error("families names {family} twice: name each once")]
    FamilyTwice { family: &'static str },
    #[error("password-file is given beside password ({place}): keep one of them")]
    TwoPasswords { place: Place },
    #[error(
        "ttl-security is given beside multihop ({place}): ttl-security says how many routers there may be; remove multihop"
    )]
    TwoTtls { place: Place },
    #[error(
        "route target {target} of VNI {vni} is that of VNI {other} ({place}) too: routes of one would count in the other; \
         give each overlay a target of its own"
    )]
    TargetClash { target: RouteTarget, vni: Vni, other: Vni, place: Place },
    #[error("{0}")]
    Ingress(#[from] IngressProblem),
    #[error("bfd: {0}; see interval (in milliseconds) and multiplier")]
    Bfd(bfd::ConfigError),
    #[error(
        "bfd of peer {address} has minimum-ttl, which is for several hops, and multihop = false: remove one of them"
    )]
    BfdMinimumTtl { address: IpAddr },
    #[error(
        "graceful-restart of peer {address} is given beside [cluster]: peers would keep sending to a gateway that is dead, \
         whose part another has taken; remove graceful-restart, or [cluster]"
    )]
    RestartInCluster { address: IpAddr },
    #[error("route-targets is for BGP, and there is no [bgp]: add that, or remove route-targets")]
    TargetsWithoutBgp,
}

/// Why a password could not be had.
#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    /// It cannot be read.
    #[error("{place}: cannot read password-file {}: {source}", path.display())]
    Read {
        /// Where it is named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it is no password.
    #[error("{place}: the first line of password-file {} must have 1 to 80 bytes", path.display())]
    Length {
        /// Where it is named.
        place: Place,
        /// The file.
        path: PathBuf,
    },
}

impl BgpSettings {
    /// The peers, with passwords read from their files: the first line of each.
    pub(crate) fn peer_configs(&self) -> Result<Vec<PeerConfig>, PasswordError> {
        self.peers.iter().map(PeerSettings::with_password).collect()
    }

    /// The peers that tell of stations and endpoints.
    pub(crate) fn reflectors(&self) -> impl Iterator<Item = PeerId> {
        let speaks_evpn = |peer: &PeerSettings| peer.config.families.contains(&Family::Evpn);
        (0..).map(PeerId).zip(&self.peers).filter(move |(_, peer)| speaks_evpn(peer)).map(|(id, _)| id)
    }

    /// The route targets of an overlay.
    pub(crate) fn targets(&self, vni: Vni) -> RouteTargets {
        self.explicit.get(&vni).unwrap_or(&self.derived).clone()
    }
}

impl PeerSettings {
    /// Whether routes with IPv6 VTEPs are not announced to it.
    pub(crate) fn is_spared_ipv6_vteps(&self) -> bool {
        self.config.families.contains(&Family::Evpn) && !self.config.announce_ipv6_vtep
    }

    /// Whether it is told of the overlays' prefixes.
    pub(crate) fn is_told_prefixes(&self) -> bool {
        self.config.announce_prefixes
    }

    /// Whether it is told of the shards' host routes.
    pub(crate) fn is_told_host_routes(&self) -> bool {
        self.config.announce_host_routes
    }

    /// What BFD is to do for it.
    pub(crate) fn bfd(&self) -> Option<BfdSettings> {
        self.bfd
    }

    /// The address from which its session goes, if that is configured.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        self.config.transport.local
    }

    /// Its address.
    pub(crate) fn address(&self) -> IpAddr {
        self.config.address
    }

    fn with_password(&self) -> Result<PeerConfig, PasswordError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            let (place, path) = (self.place, path.clone());
            let text = fs::read_to_string(&path).map_err(|source| PasswordError::Read {
                place,
                path: path.clone(),
                source,
            })?;
            config.transport.password = text.lines().next().map(str::to_owned);
            if config.transport.password.is_none() || config.check().is_err() {
                return Err(PasswordError::Length { place, path });
            }
        }
        Ok(config)
    }
}

/// What there is to know of the rest of the file.
pub(super) struct Context<'a> {
    /// The gateway's own VTEP addresses.
    pub(super) own: &'a [IpAddr],
    /// The rest, as far as it is expanded.
    pub(super) settings: &'a Settings,
    /// Where the file is.
    pub(super) directory: Option<&'a Path>,
    pub(super) lines: &'a Lines,
}

/// Checks `[bgp]`. `targets` are those that overlays name.
pub(super) fn expand(
    table: Option<Spanned<file::Bgp>>,
    targets: Vec<(Vni, Placed<file::ExplicitTargets>)>,
    context: &Context<'_>,
) -> Result<Option<BgpSettings>, Fault> {
    let &Context { settings, lines, .. } = context;
    let cluster = settings.cluster.as_ref().map(|cluster| cluster.number);
    let Some(table) = table else {
        return match targets.first() {
            Some((_, (place, _))) => fail(*place, BgpProblem::TargetsWithoutBgp.into()),
            None => Ok(None),
        };
    };
    let (place, bgp) = placed(table, lines);
    let local = local(place, &bgp, cluster, lines)?;
    let derived = RouteTargets::from(bgp.route_target);
    let explicit = explicit(targets, &derived, &settings.overlays, &settings.groups)?;
    let ingress = ingress::expand(bgp.ingress, &settings.blocks, lines)?;
    let mut peers: Vec<PeerSettings> = Vec::new();
    for table in bgp.peer {
        let address = *table.get_ref().address.get_ref();
        if let Some(other) = peers.iter().find(|other| other.config.address == address) {
            let place = lines.place(table.span().start);
            return fail(place, BgpProblem::PeerTwice { address, place: other.place }.into());
        }
        peers.push(peer(table, context)?);
    }
    if peers.is_empty() {
        return fail(place, BgpProblem::NoPeers.into());
    }
    let default = DuplicatePolicy::default();
    let duplicates = DuplicatePolicy {
        moves: bgp.duplicates.moves.map_or(default.moves, std::num::NonZeroU16::get),
        window: bgp.duplicates.window.map_or(default.window, |file::Seconds(time)| time),
        recovery: bgp.duplicates.recovery.map_or(default.recovery, |file::Recovery(time)| time),
    };
    Ok(Some(BgpSettings { local, derived, explicit, duplicates, listen: bgp.listen, ingress, peers }))
}

fn local(place: Place, bgp: &file::Bgp, cluster: Option<u16>, lines: &Lines) -> Result<Local, Fault> {
    let (asn, router_id) = (*bgp.asn.get_ref(), *bgp.router_id.get_ref());
    // RFC 7607, RFC 4893 §3 (AS_TRANS), RFC 7300.
    if matches!(asn, 0 | 23456 | 65535 | u32::MAX) {
        return fail(lines.place(bgp.asn.span().start), BgpProblem::Asn(asn).into());
    }
    if router_id.is_unspecified() || router_id.is_multicast() || router_id.is_broadcast() {
        return fail(lines.place(bgp.router_id.span().start), BgpProblem::RouterId(router_id).into());
    }
    let cluster = match (&bgp.cluster_number, cluster) {
        (Some(number), Some(cluster)) if *number.get_ref() != cluster => {
            let problem = BgpProblem::ClusterNumber { number: *number.get_ref(), cluster };
            return fail(lines.place(number.span().start), problem.into());
        }
        (Some(number), _) => *number.get_ref(),
        (None, Some(cluster)) => cluster,
        (None, None) => return fail(place, BgpProblem::NoClusterNumber.into()),
    };
    Ok(Local { asn, router_id, cluster })
}

fn peer(table: Spanned<file::Peer>, context: &Context<'_>) -> Result<PeerSettings, Fault> {
    let &Context { own, settings, directory, lines } = context;
    let (place, peer) = placed(table, lines);
    let (address_place, address) = placed(peer.address, lines);
    if own.contains(&address) {
        return fail(address_place, BgpProblem::PeerIsSelf { address }.into());
    }
    let start = |span: std::ops::Range<usize>| lines.place(span.start);
    if let (Some(password), Some(file)) = (&peer.password, &peer.password_file) {
        let problem = BgpProblem::TwoPasswords { place: start(password.span()) };
        return fail(start(file.span()), problem.into());
    }
    if let (Some(security), Some(multihop)) = (&peer.ttl_security, &peer.multihop) {
        let problem = BgpProblem::TwoTtls { place: start(multihop.span()) };
        return fail(start(security.span()), problem.into());
    }
    if let (Some(restart), Some(_)) = (&peer.graceful_restart, &settings.cluster) {
        return fail(start(restart.span()), BgpProblem::RestartInCluster { address }.into());
    }
    let defaults = PeerConfig::new(address, 1);
    let families = match peer.families {
        Some(families) => self::families(placed(families, lines))?,
        None => defaults.families,
    };
    let floating = settings.cluster.as_ref().is_some_and(|cluster| cluster.floating.is_some());
    let switches = (ingress::switch(peer.ingress, lines), ingress::switch(peer.host_routes, lines));
    let (announce_prefixes, announce_host_routes) =
        ingress::of_peer((address, &families), switches, floating)?;
    let seconds = |file::Seconds(time)| time;
    let config = PeerConfig {
        address,
        asn: peer.remote_asn.get_ref().0,
        families,
        passive: peer.passive,
        hold_time: peer.hold_time.unwrap_or(defaults.hold_time),
        connect_retry: peer.connect_retry.map_or(defaults.connect_retry, seconds),
        max_routes: peer.maximum_prefixes.unwrap_or(defaults.max_routes),
        max_routes_restart: peer.maximum_prefixes_restart.map(seconds),
        graceful_restart: peer.graceful_restart.map(Spanned::into_inner),
        announce_ipv6_vtep: peer.announce_ipv6_vtep,
        announce_router_flag: peer.announce_router_flag.unwrap_or(defaults.announce_router_flag),
        announce_prefixes,
        announce_host_routes,
        transport: Transport {
            local: peer.local_address,
            port: peer.port.map(std::num::NonZeroU16::get),
            password: peer.password.map(Spanned::into_inner),
            ttl_security: peer.ttl_security.map(Spanned::into_inner),
            ttl: peer.multihop.map(Spanned::into_inner),
        },
    };
    config.check().map_err(|error| Fault { place, problem: BgpProblem::from(error).into() })?;
    // As seen from the configuration file.
    let password_file =
        peer.password_file.map(|path| directory.unwrap_or(Path::new("")).join(path.into_inner()));
    let bfd = match peer.bfd {
        Some(table) => bfd_of(placed(table, lines), address)?,
        None => None,
    };
    Ok(PeerSettings { place, config, password_file, bfd })
}

fn bfd_of((place, choice): Placed<file::PeerBfd>, address: IpAddr) -> Result<Option<BfdSettings>, Fault> {
    let table = match choice {
        file::PeerBfd::Plain(false) => return Ok(None),
        file::PeerBfd::Plain(true) => file::PeerBfdTable::default(),
        file::PeerBfd::Table(table) => table,
    };
    let interval = Duration::from_millis(table.interval.unwrap_or(BFD_INTERVAL).into());
    let timing = bfd::Timing::symmetric(interval, table.multiplier.unwrap_or(BFD_MULTIPLIER));
    if let Err(problem) = timing.check() {
        return fail(place, BgpProblem::Bfd(problem).into());
    }
    if table.minimum_ttl.is_some() && table.multihop == Some(false) {
        return fail(place, BgpProblem::BfdMinimumTtl { address }.into());
    }
    let min_ttl = table.minimum_ttl.map_or(BFD_MIN_TTL, std::num::NonZeroU8::get);
    Ok(Some(BfdSettings { timing, multihop: table.multihop, min_ttl }))
}

fn families(
    (place, file::OneOrMany(names)): Placed<file::OneOrMany<file::FamilyName>>,
) -> Result<Vec<Family>, Fault> {
    let families: Vec<Family> = names.into_iter().map(Family::from).collect();
    for (n, family) in families.iter().enumerate() {
        if families[..n].contains(family) {
            let family = match family {
                Family::Evpn => "evpn",
                Family::Ipv4 => "ipv4",
                Family::Ipv6 => "ipv6",
            };
            return fail(place, BgpProblem::FamilyTwice { family }.into());
        }
    }
    Ok(families)
}

/// Targets that overlays name, none of which may be another overlay's, be that one's named or derived. (Of derived ones
/// any AS is imported.)
fn explicit(
    named: Vec<(Vni, Placed<file::ExplicitTargets>)>,
    derived: &RouteTargets,
    overlays: &[OverlaySettings],
    groups: &[OverlayGroup],
) -> Result<HashMap<Vni, RouteTargets>, Fault> {
    let names: HashMap<Vni, Place> = named.iter().map(|(vni, (place, _))| (*vni, *place)).collect();
    let mut owners: HashMap<RouteTarget, (Vni, Place)> = HashMap::new();
    let mut explicit = HashMap::new();
    for (vni, (place, targets)) in named {
        let list = |file::OneOrMany(list): file::OneOrMany<file::TargetText>| -> Box<[RouteTarget]> {
            list.into_iter().map(|file::TargetText(target)| target).collect()
        };
        let (import, export) = (list(targets.import), list(targets.export));
        for &target in import.iter().chain(&export) {
            let clash = |other, place_of_other| {
                let problem = BgpProblem::TargetClash { target, vni, other, place: place_of_other };
                fail::<()>(place, problem.into())
            };
            if let Some(&(other, place_of_other)) = owners.get(&target).filter(|(other, _)| *other != vni) {
                clash(other, place_of_other)?;
            }
            owners.insert(target, (vni, place));
            let others = derived.derived_vni(target).filter(|other| !names.contains_key(other));
            if let Some(other) = others
                && let Ok(at) = overlays.binary_search_by_key(&other, |overlay| overlay.vni)
            {
                clash(other, groups[overlays[at].group as usize].place)?;
            }
        }
        explicit.insert(vni, RouteTargets::Explicit { import, export });
    }
    Ok(explicit)
}
