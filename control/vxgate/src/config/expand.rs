//! From the tables of the file to one list of overlays.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use engine::{PuntClass, PuntLimits, Subnet};
use ipnet::IpNet;
use toml::Spanned;
use wire::Vni;

use super::file::{self, File};
use super::policy::{Context, Ipv6Lengths, Policies, Treatment};
use super::stations::Collector;
use super::validate::{self, Placed};
use super::{
    DEFAULT_SOCKET, Fault, Lines, OverlayGroup, OverlaySettings, Place, PortSettings, Problem, Settings, bgp,
    cluster, rules, workers,
};

/// Expands blocks, fills in what was left out, and checks the whole.
pub(super) fn expand(file: File, path: &Path, lines: &Lines) -> Result<Settings, Fault> {
    let router_mac = placed(file.gateway.router_mac, lines);
    let blocks_place = lines.place(file.gateway.blocks.span().start);
    let blocks: Vec<Placed<IpNet>> = file
        .gateway
        .blocks
        .into_inner()
        .into_iter()
        .map(|block| placed(block, lines))
        .map(|(place, file::Prefix(block))| (place, block))
        .collect();
    validate::router_mac(router_mac.0, router_mac.1.0)?;
    validate::blocks(blocks_place, &blocks)?;
    let blocks: Vec<IpNet> = blocks.into_iter().map(|(_, block)| block).collect();

    let workers = workers::expand(file.gateway.workers, file.gateway.cores, lines)?;
    let vtep = file.gateway.vtep.map(|vtep| placed(vtep, lines));
    let vtep_place = vtep.as_ref().map(|(place, _)| *place);
    let vteps = vtep.map(|(_, addresses)| placed_all(addresses, lines));
    if let (Some(place), Some(vteps)) = (vtep_place, &vteps) {
        validate::vteps(place, vteps, &blocks)?;
    }
    let (mut ports, mut all_addresses) = (Vec::new(), Vec::new());
    for table in file.port {
        let (place, port) = placed(table, lines);
        let addresses = placed_all(port.addresses, lines);
        let file::Roles(role) = port.role;
        validate::port_addresses(role, &addresses, &all_addresses, vtep_place, &blocks)?;
        all_addresses.extend(addresses.iter().map(|&(_, address)| (role, address)));
        ports.push(PortSettings {
            place,
            interface: port.interface.into_inner().0,
            role,
            addresses: addresses.into_iter().map(|(_, address)| address).collect(),
            xdp: port.xdp.into(),
            bind: port.bind.into(),
        });
    }
    validate::ports(&ports)?;

    let own_mac = file.cluster.as_ref().map(|cluster| cluster.get_ref().own_mac());
    let context = Context { lines, blocks: &blocks, router_mac: router_mac.1.0, own_mac };
    let mut policies = Policies::new(context, file.defaults)?;
    let mut groups = Vec::new();
    let (mut overlays, mut targets) = (Vec::new(), Vec::new());
    for table in file.overlay {
        let (place, mut overlay) = placed(table, lines);
        let mut subnets = Vec::new();
        for (place, file::Subnet { prefix, router }) in
            placed_all(std::mem::take(&mut overlay.subnets), lines)
        {
            subnets.push(subnet(place, prefix, router)?);
        }
        if subnets.is_empty() {
            return Err(Fault {
                place,
                problem: Problem::NoSubnets { wanted: "subnets = [\"10.0.1.0/24\"], say" },
            });
        }
        if let Some(named) = overlay.route_targets.take() {
            targets.push((overlay.vni.0, placed(named, lines)));
        }
        let lengths = Ipv6Lengths::of(subnets.iter().map(|subnet| &subnet.prefix));
        let treatment = policies.of_table(place, &overlay.take_policy(), &lengths)?;
        overlays.push(OverlaySettings { vni: overlay.vni.0, subnets, group: groups.len() as u32 });
        let endpoints = placed_all(overlay.endpoints, lines);
        groups.push(group(place, endpoints, overlay.mtu, lengths.any(), treatment, &blocks)?);
    }
    for table in file.overlay_block {
        let (place, mut block) = placed(table, lines);
        let lengths = expand_block(place, &block, groups.len() as u32, &mut overlays, lines)?;
        let treatment = policies.of_table(place, &block.take_policy(), &lengths)?;
        let endpoints = placed_all(block.endpoints, lines);
        groups.push(group(place, endpoints, block.mtu, lengths.any(), treatment, &blocks)?);
    }
    overlays.sort_by_key(|overlay| overlay.vni);
    validate::overlays(&overlays, &groups, &blocks)?;
    let igp = file.gateway.igp.map(|igp| placed(igp, lines));
    if let Some((place, file::IgpName::Kernel)) = igp {
        validate::kernel_routes(place, &overlays, &blocks)?;
    }

    let max_flows = file.gateway.max_flows.unwrap_or(engine::DEFAULT_MAX_FLOWS);
    let mut stations = Collector::new(&overlays, &groups, lines, router_mac.1.0, max_flows);
    file.station.into_iter().try_for_each(|table| stations.add(table))?;
    file.station_block.into_iter().try_for_each(|table| stations.add_block(table))?;
    let stations = stations.finish()?;
    let rules = rules::expand(file.rule, &overlays, &blocks, lines)?;

    let mut settings = Settings {
        path: path.into(),
        router_mac: router_mac.1.0,
        blocks,
        vteps: vteps.unwrap_or_default().into_iter().map(|(_, address)| address).collect(),
        socket: file.gateway.socket.unwrap_or_else(|| DEFAULT_SOCKET.into()),
        polling: file.gateway.polling.into(),
        workers,
        max_flows,
        igp: igp.is_some(),
        punt_limits: punt_limits(&file.gateway.punts),
        ports,
        groups,
        overlays,
        stations,
        rules,
        bgp: None,
        cluster: None,
    };
    // Without addresses in the file it is for the machine to say which VTEP addresses there are.
    let vteps = settings.named_vteps();
    if !vteps.is_empty() {
        validate::endpoints_and_vteps(&settings.groups, &vteps)?;
    }
    let own: Vec<IpAddr> =
        vteps.iter().chain(settings.ports.iter().flat_map(|port| &port.addresses)).copied().collect();
    let peers: Vec<(IpAddr, bool)> = file
        .bgp
        .iter()
        .flat_map(|bgp| &bgp.get_ref().peer)
        .map(|peer| (*peer.get_ref().address.get_ref(), peer.get_ref().has_bfd()))
        .collect();
    let context = cluster::Context {
        lines,
        router_mac: settings.router_mac,
        blocks: &settings.blocks,
        own: &own,
        peers: &peers,
        directory: path.parent(),
        with_bgp: file.bgp.is_some(),
    };
    settings.cluster = cluster::expand(file.cluster, &context)?;
    let context = bgp::Context { own: &vteps, settings: &settings, directory: path.parent(), lines };
    settings.bgp = bgp::expand(file.bgp, targets, &context)?;
    Ok(settings)
}

pub(super) fn placed<T>(value: Spanned<T>, lines: &Lines) -> Placed<T> {
    (lines.place(value.span().start), value.into_inner())
}

pub(super) fn placed_all<T>(values: Vec<Spanned<T>>, lines: &Lines) -> Vec<Placed<T>> {
    values.into_iter().map(|value| placed(value, lines)).collect()
}

/// The defaults with what is said over them.
fn punt_limits(punts: &file::Punts) -> PuntLimits {
    let mut limits = PuntLimits::default();
    for class in PuntClass::ALL {
        let file::PuntRates { overlay, total } = match class {
            PuntClass::Neighbour => punts.neighbour,
            PuntClass::Resolve => punts.resolve,
            PuntClass::Stranger => punts.stranger,
            PuntClass::Host => punts.host,
            PuntClass::Error => punts.error,
        };
        for (said, limit) in
            [(overlay, &mut limits.overlay[class as usize]), (total, &mut limits.total[class as usize])]
        {
            limit.rate = said.rate.map_or(limit.rate, NonZeroU32::get);
            limit.burst = said.burst.map_or(limit.burst, NonZeroU32::get);
        }
    }
    limits
}

fn subnet(place: Place, prefix: IpNet, router: Option<IpAddr>) -> Result<Subnet, Fault> {
    validate::subnet_length(place, prefix)?;
    let router = router.unwrap_or_else(|| nth_address(prefix, 1));
    validate::router_address(place, prefix, router)?;
    Ok(Subnet { prefix, router })
}

fn group(
    place: Place,
    endpoints: Vec<Placed<IpAddr>>,
    mtu: Option<u16>,
    ipv6: bool,
    treatment: Treatment,
    blocks: &[IpNet],
) -> Result<OverlayGroup, Fault> {
    validate::endpoints(&endpoints, blocks)?;
    validate::overlay_mtu(place, mtu, ipv6)?;
    let (endpoint_places, endpoints): (Vec<Place>, Vec<IpAddr>) = endpoints.into_iter().unzip();
    let Treatment { policy, owner, own_mac } = treatment;
    Ok(OverlayGroup {
        place,
        endpoints: Arc::from(endpoints),
        endpoint_places,
        mtu,
        ipv6,
        owner,
        own_mac,
        policy,
    })
}

/// Appends the overlays of a block; what each of them has of IPv6.
fn expand_block(
    place: Place,
    block: &file::OverlayBlock,
    group: u32,
    overlays: &mut Vec<OverlaySettings>,
    lines: &Lines,
) -> Result<Ipv6Lengths, Fault> {
    let wanted = block.vnis.0.end() - block.vnis.0.start() + 1;
    let mut cuts = Vec::new();
    for (cut, family, maximum) in [(&block.ipv4, "IPv4", 30), (&block.ipv6, "IPv6", 126)] {
        if let Some(cut) = cut {
            let place = lines.place(cut.span().start);
            let file::Cut { range: file::Prefix(range), length } = *cut.get_ref();
            validate::cut(place, range, length, family, maximum, wanted)?;
            cuts.push((range, length));
        }
    }
    if cuts.is_empty() {
        let wanted = "ipv4 = { range = \"10.0.0.0/8\", length = 24 }, say";
        return Err(Fault { place, problem: Problem::NoSubnets { wanted } });
    }
    overlays.extend(block.vnis.0.clone().zip(0u32..).filter_map(|(vni, n)| {
        let subnets = cuts.iter().map(|&(range, length)| nth_subnet(range, length, n)).collect();
        Some(OverlaySettings { vni: Vni::new(vni)?, subnets, group })
    }));
    let ipv6 = cuts.iter().filter(|(range, _)| range.addr().is_ipv6());
    Ok(Ipv6Lengths(ipv6.map(|&(_, length)| length).collect()))
}

/// The `n`-th subnet of `length` in `range`; that it is inside was checked by [`validate::cut`].
fn nth_subnet(range: IpNet, length: u8, n: u32) -> Subnet {
    let offset = u128::from(n) << (range.max_prefix_len() - length);
    let prefix = IpNet::new_assert(nth_address(range, offset), length);
    Subnet { prefix, router: nth_address(prefix, 1) }
}

/// The address `offset` after the first of `prefix`, which holds that many.
pub(super) fn nth_address(prefix: IpNet, offset: u128) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits() + offset as u32).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() + offset).into()),
    }
}
