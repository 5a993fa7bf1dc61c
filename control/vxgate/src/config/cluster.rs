//! What `[cluster]` says.

mod problem;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bfd::Timing;
use cluster::MoveLimit;
use cluster::assign::{GatewayId, Member, Weight};
use ipnet::IpNet;
use toml::Spanned;
use wire::MacAddr;

use super::bfd_keys::{self, BfdKey};
use super::expand::{placed, placed_all};
use super::file;
use super::health::{self, Evidence, HealthSettings, UplinkRouter};
use super::shards::own_mac;
use super::validate::{Placed, fail, is_routable};
use super::{Fault, Lines, Place};
use crate::cluster::Pin;
pub(crate) use problem::ClusterProblem;

/// TCP port of sessions. IANA has assigned it to nothing.
pub(crate) const DEFAULT_PORT: u16 = 4795;

const DEFAULT_WEIGHT: u16 = 100;
const DEFAULT_SHARDS: u16 = 256;
const MAX_SHARDS: u16 = 4096;
const BFD_INTERVAL: u32 = 10;
const BFD_MULTIPLIER: u8 = 3;

/// A checked `[cluster]`.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    /// That of the cluster, also in route distinguishers.
    pub(crate) number: u16,
    /// That of this gateway in it.
    pub(crate) id: u16,
    /// How responsibility is shared.
    pub(crate) mode: Mode,
    /// How much of the work this gateway gets, compared with the others.
    pub(crate) weight: u16,
    /// Gateways are members when EVPN tells of them, not always.
    pub(crate) discover: bool,
    /// File of the private key.
    pub(crate) key: PathBuf,
    /// File of the certificate.
    pub(crate) certificate: PathBuf,
    /// Where peers may connect.
    pub(crate) listen: Vec<SocketAddr>,
    /// How often a peer is told that this gateway lives.
    pub(crate) keepalive: Duration,
    /// For how long a peer may say nothing.
    pub(crate) hold_time: Duration,
    /// The other gateways.
    pub(crate) gateways: Vec<GatewaySettings>,
    /// `Some` in mode `floating`.
    pub(crate) floating: Option<FloatingSettings>,
    /// In mode `announce`: how often an overlay may move.
    pub(crate) move_limit: MoveLimit,
    /// Of the BFD sessions with the other gateways.
    pub(crate) bfd: Timing,
    /// Of these sessions: the first signs, all are taken. None: they are not authenticated.
    pub(crate) bfd_keys: Vec<BfdKey>,
    /// What this gateway looks at to know whether it is able to serve.
    pub(crate) health: HealthSettings,
}

impl ClusterSettings {
    /// How long the others take to find this gateway dead.
    pub(crate) fn detection(&self) -> Duration {
        self.bfd.required_min_rx * u32::from(self.bfd.detect_multiplier)
    }

    /// Whether there are BFD sessions with other gateways or routers.
    pub(crate) fn is_watched(&self) -> bool {
        let by_bfd = |router: &UplinkRouter| matches!(router.evidence, Evidence::Bfd(_));
        self.gateways.iter().any(|gateway| !(gateway.underlay.is_empty() && gateway.uplink.is_empty()))
            || self.health.routers.iter().any(by_bfd)
    }
}

/// How responsibility is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The winner of an overlay announces the router's MAC address at its VTEP.
    Announce,
    /// Overlays hash into shards, whose addresses move.
    Floating,
}

/// One `[[cluster.gateway]]`.
#[derive(Clone, Debug)]
pub(crate) struct GatewaySettings {
    place: Place,
    pub(crate) id: u16,
    /// Where it listens.
    pub(crate) session: SocketAddr,
    /// Those of its addresses by which its underlay is watched.
    pub(crate) underlay: Vec<IpAddr>,
    /// The same of its uplink.
    pub(crate) uplink: Vec<IpAddr>,
    pub(crate) pin: Pin,
    pub(crate) weight: u16,
}

/// `[cluster.floating]`
#[derive(Clone, Debug)]
pub(crate) struct FloatingSettings {
    pub(crate) shards: u16,
    /// Each family that is there has an address for each shard.
    pub(crate) vtep: Vec<AddressRange>,
    /// The same.
    pub(crate) uplink: Vec<AddressRange>,
}

/// Addresses of one family, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    pub(crate) first: IpAddr,
    pub(crate) last: IpAddr,
}

impl AddressRange {
    fn contains(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address) && address.is_ipv4() == self.first.is_ipv4()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    fn len(&self) -> u128 {
        let bits = |address| match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        };
        (bits(self.last) - bits(self.first)).saturating_add(1)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What there is to know of the rest of the file.
pub(super) struct Context<'a> {
    pub(super) lines: &'a Lines,
    pub(super) router_mac: MacAddr,
    pub(super) blocks: &'a [IpNet],
    /// The gateway's own addresses.
    pub(super) own: &'a [IpAddr],
    /// There is `[bgp]`.
    pub(super) with_bgp: bool,
    /// Those of BGP's peers, in order, and whether BFD watches each.
    pub(super) peers: &'a [(IpAddr, bool)],
    /// Where the file is.
    pub(super) directory: Option<&'a Path>,
}

/// Checks `[cluster]`.
pub(super) fn expand(
    table: Option<Spanned<file::Cluster>>,
    context: &Context<'_>,
) -> Result<Option<ClusterSettings>, Fault> {
    let Some(table) = table else { return Ok(None) };
    let (place, cluster) = placed(table, context.lines);
    let id = cluster.id.get();
    let mut gateways: Vec<GatewaySettings> = Vec::new();
    for table in cluster.gateway {
        let gateway = context.gateway(table, &gateways)?;
        if gateway.id == id {
            return fail(gateway.place, ClusterProblem::OwnId { id, place }.into());
        }
        gateways.push(gateway);
    }
    if gateways.is_empty() {
        return fail(place, ClusterProblem::NoGateways.into());
    }
    let keepalive = cluster.keepalive.map_or(1, NonZeroU32::get);
    let hold_time =
        cluster.hold_time.as_ref().map_or(keepalive.saturating_mul(3), |time| time.get_ref().get());
    if hold_time / 2 < keepalive {
        let place = cluster.hold_time.map_or(place, |time| context.lines.place(time.span().start));
        return fail(place, ClusterProblem::HoldTime { hold_time, keepalive }.into());
    }
    let (mode_place, mode) = placed(cluster.mode, context.lines);
    let others = gateways.iter().map(|gateway| (gateway.place, gateway.id));
    context.own_macs([(place, id)].into_iter().chain(others))?;
    let (mode, floating) = match (mode, cluster.floating) {
        (file::ModeName::Floating, Some(table)) => {
            (Mode::Floating, Some(context.floating(table, &gateways)?))
        }
        (file::ModeName::Announce, None) => (Mode::Announce, None),
        (file::ModeName::Floating, None) => return fail(mode_place, ClusterProblem::FloatingMissing.into()),
        (file::ModeName::Announce, Some(table)) => {
            let place = context.lines.place(table.span().start);
            return fail(place, ClusterProblem::FloatingUnused { place: mode_place }.into());
        }
    };
    let move_limit = move_limit(cluster.move_limit, mode, (mode_place, context.lines))?;
    let discover = match cluster.discover.map(|discover| placed(discover, context.lines)) {
        Some((place, true)) if !context.with_bgp => {
            return fail(place, ClusterProblem::DiscoverWithoutBgp.into());
        }
        discover => discover.is_some_and(|(_, discover)| discover),
    };
    let (timing, bfd_keys) = bfd(cluster.bfd, (place, context))?;
    let health = health::expand((cluster.uplink_router, cluster.tracks), &gateways, context)?;
    // As seen from the configuration file.
    let path = |path| context.directory.unwrap_or(Path::new("")).join(path);
    let listen = match cluster.listen {
        Some(file::OneOrMany(list)) => {
            list.into_iter().map(|file::SessionAddress(address)| address).collect()
        }
        None => any_of_families(gateways.iter().map(|gateway| gateway.session.ip()), DEFAULT_PORT),
    };
    Ok(Some(ClusterSettings {
        number: cluster.number.into_inner().get(),
        id,
        mode,
        weight: cluster.weight.map_or(DEFAULT_WEIGHT, NonZeroU16::get),
        discover,
        key: path(cluster.key),
        certificate: path(cluster.certificate),
        listen,
        keepalive: Duration::from_secs(keepalive.into()),
        hold_time: Duration::from_secs(hold_time.into()),
        gateways,
        floating,
        move_limit,
        bfd: timing,
        bfd_keys,
        health,
    }))
}

fn move_limit(
    table: Option<Spanned<file::MoveLimit>>,
    mode: Mode,
    (mode_place, lines): (Place, &Lines),
) -> Result<MoveLimit, Fault> {
    let default = MoveLimit::default();
    let Some(table) = table else { return Ok(default) };
    let (place, table) = placed(table, lines);
    if mode == Mode::Floating {
        return fail(place, ClusterProblem::MoveLimitUnused { place: mode_place }.into());
    }
    Ok(MoveLimit {
        moves: table.moves.map_or(default.moves, NonZeroU8::get),
        window: table.window.map_or(default.window, |window| Duration::from_secs(window.get().into())),
    })
}

fn bfd(
    table: Option<Spanned<file::ClusterBfd>>,
    (place, context): (Place, &Context<'_>),
) -> Result<(Timing, Vec<BfdKey>), Fault> {
    let (place, table) = match table {
        Some(table) => placed(table, context.lines),
        None => (place, file::ClusterBfd::default()),
    };
    let interval = Duration::from_millis(table.interval.unwrap_or(BFD_INTERVAL).into());
    let timing = Timing::symmetric(interval, table.multiplier.unwrap_or(BFD_MULTIPLIER));
    if let Err(problem) = timing.check() {
        return fail(place, ClusterProblem::from(problem).into());
    }
    Ok((timing, bfd_keys::expand(table.keys, (context.lines, context.directory))?))
}

/// A port on all addresses of this host, of the families that these peers have.
pub(crate) fn any_of_families(mut peers: impl Iterator<Item = IpAddr> + Clone, port: u16) -> Vec<SocketAddr> {
    let v4 = peers.clone().any(|peer| peer.is_ipv4()).then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let v6 = peers.any(|peer| peer.is_ipv6()).then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    [v4, v6].into_iter().flatten().map(|address| (address, port).into()).collect()
}

impl Context<'_> {
    fn gateway(
        &self,
        table: Spanned<file::ClusterGateway>,
        others: &[GatewaySettings],
    ) -> Result<GatewaySettings, Fault> {
        let (place, table) = placed(table, self.lines);
        let id = table.id.get();
        if let Some(other) = others.iter().find(|other| other.id == id) {
            return fail(place, ClusterProblem::IdTwice { id, place: other.place }.into());
        }
        let (pin_place, file::PinText(pin)) = placed(table.pin, self.lines);
        if let Some(other) = others.iter().find(|other| other.pin == pin) {
            let problem = ClusterProblem::PinTwice { id, other: other.id, place: other.place };
            return fail(pin_place, problem.into());
        }
        let (session_place, file::SessionAddress(session)) = placed(table.session, self.lines);
        let underlay = placed_all(table.underlay, self.lines);
        let uplink = placed_all(table.uplink, self.lines);
        let session_ip = (session_place, session.ip());
        for &(place, address) in [&session_ip].into_iter().chain(&underlay).chain(&uplink) {
            self.address(place, address, others)?;
        }
        let plain = |list: Vec<Placed<IpAddr>>| list.into_iter().map(|(_, address)| address).collect();
        Ok(GatewaySettings {
            place,
            id,
            session,
            underlay: plain(underlay),
            uplink: plain(uplink),
            pin,
            weight: table.weight.map_or(DEFAULT_WEIGHT, NonZeroU16::get),
        })
    }

    pub(super) fn address(
        &self,
        place: Place,
        address: IpAddr,
        others: &[GatewaySettings],
    ) -> Result<(), Fault> {
        if !is_routable(address) {
            return fail(place, ClusterProblem::Address { address }.into());
        }
        if let Some(&block) = self.blocks.iter().find(|block| block.contains(&address)) {
            return fail(place, ClusterProblem::AddressInBlock { address, block }.into());
        }
        if self.own.contains(&address) {
            return fail(place, ClusterProblem::AddressIsOwn { address }.into());
        }
        match others.iter().find(|other| other.addresses().any(|other| other == address)) {
            Some(other) => {
                fail(place, ClusterProblem::AddressTwice { address, id: other.id, place: other.place }.into())
            }
            None => Ok(()),
        }
    }

    /// The router's MAC address is no gateway's own.
    fn own_macs(&self, mut gateways: impl Iterator<Item = (Place, u16)>) -> Result<(), Fault> {
        let mac = self.router_mac;
        match gateways.find(|&(_, id)| own_mac(id) == mac) {
            Some((place, id)) => fail(place, ClusterProblem::RouterMac { mac, id }.into()),
            None => Ok(()),
        }
    }

    fn floating(
        &self,
        table: Spanned<file::Floating>,
        gateways: &[GatewaySettings],
    ) -> Result<FloatingSettings, Fault> {
        let (_, table) = placed(table, self.lines);
        let shards = match table.shards {
            Some(shards) => {
                let (place, shards) = placed(shards, self.lines);
                if !(1..=MAX_SHARDS).contains(&shards) {
                    return fail(place, ClusterProblem::Shards { shards }.into());
                }
                shards
            }
            None => DEFAULT_SHARDS,
        };
        let mut seen = Vec::new();
        let mut ranges = |key, list: Spanned<Vec<Spanned<file::RangeText>>>| {
            let (place, list) = placed(list, self.lines);
            let list =
                placed_all(list, self.lines).into_iter().map(|(place, text)| (place, text.0)).collect();
            self.ranges(key, (place, list), shards, gateways, &mut seen)
        };
        Ok(FloatingSettings {
            shards,
            vtep: ranges("vtep", table.vtep)?,
            uplink: ranges("uplink", table.uplink)?,
        })
    }

    fn ranges(
        &self,
        key: &'static str,
        (place, list): Placed<Vec<Placed<AddressRange>>>,
        shards: u16,
        gateways: &[GatewaySettings],
        seen: &mut Vec<Placed<AddressRange>>,
    ) -> Result<Vec<AddressRange>, Fault> {
        if list.is_empty() {
            return fail(place, ClusterProblem::NoRanges { key }.into());
        }
        for &(place, range) in &list {
            // Space that is never routed is made of whole prefixes: one in the middle would hold an end, or lie inside.
            if !is_routable(range.first)
                || !is_routable(range.last)
                || super::validate::holds_unrouted(&range)
            {
                return fail(place, ClusterProblem::RangeReserved { range }.into());
            }
            let of = |block: &IpNet| AddressRange { first: block.network(), last: block.broadcast() };
            if let Some(&block) = self.blocks.iter().find(|block| of(block).overlaps(&range)) {
                return fail(place, ClusterProblem::RangeInBlock { range, block }.into());
            }
            let of_others = gateways.iter().flat_map(GatewaySettings::addresses);
            if let Some(address) =
                self.own.iter().copied().chain(of_others).find(|&address| range.contains(address))
            {
                return fail(place, ClusterProblem::RangeHoldsAddress { range, address }.into());
            }
            if let Some(&(other_place, other)) = seen.iter().find(|(_, other)| other.overlaps(&range)) {
                return fail(
                    place,
                    ClusterProblem::RangesOverlap { range, other, place: other_place }.into(),
                );
            }
            seen.push((place, range));
        }
        let ranges: Vec<AddressRange> = list.into_iter().map(|(_, range)| range).collect();
        for (family, is_ipv4) in [("IPv4", true), ("IPv6", false)] {
            let of_family = ranges.iter().filter(|range| range.first.is_ipv4() == is_ipv4);
            let available = of_family.map(AddressRange::len).fold(0, u128::saturating_add);
            if available != 0 && available < shards.into() {
                let problem = ClusterProblem::RangesTooSmall { key, family, available, shards };
                return fail(place, problem.into());
            }
        }
        Ok(ranges)
    }
}

impl GatewaySettings {
    /// What it is to the assignment, until it says its weight itself.
    pub(crate) fn member(&self) -> Option<Member> {
        // The id is never 0.
        GatewayId::new(self.id).map(|id| Member { id, weight: Weight(self.weight) })
    }

    /// Its VTEP is one of these: one that is not watched is most likely where the session goes.
    pub(crate) fn vteps(&self) -> impl Iterator<Item = IpAddr> {
        self.underlay.iter().copied().chain([self.session.ip()])
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.vteps().chain(self.uplink.iter().copied())
    }
}
