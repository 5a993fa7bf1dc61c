//! The rules of a configuration. Each stops at its first fault, with the place.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use engine::{MAX_PORTS, Role};
use ipnet::IpNet;
use port::BindRequest;
use wire::MacAddr;

use super::{AddressRange, Fault, OverlayGroup, OverlaySettings, Place, PortSettings, Problem};

/// A value, and where it is written.
pub(super) type Placed<T> = (Place, T);

/// Space that is never routed, so that nothing in it can be an overlay (RFC 6890).
const UNROUTED: [IpNet; 9] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
    v6(0, 128),
    v6(1, 128),
    v6(0xfe80 << 112, 10),
    v6(0xff << 120, 8),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(bits: u128, length: u8) -> IpNet {
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::from_bits(bits), length))
}

pub(super) fn fail<T>(place: Place, problem: Problem) -> Result<T, Fault> {
    Err(Fault { place, problem })
}

pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether packets can be sent to the address from another link.
pub(super) fn is_routable(address: IpAddr) -> bool {
    !UNROUTED.iter().any(|net| net.contains(&address))
}

/// Whether space that is never routed lies inside a range whose ends are outside of it.
pub(super) fn holds_unrouted(range: &AddressRange) -> bool {
    UNROUTED.iter().any(|net| {
        net.addr().is_ipv4() == range.first.is_ipv4() && (range.first..=range.last).contains(&net.network())
    })
}

/// Whether a host of the subnet can have this address: inside; not the first (RFC 4291 §2.6.1, RFC 1122 §3.2.1.3);
/// for IPv4 not the last, its broadcast address.
pub(super) fn is_host_address(prefix: IpNet, address: IpAddr) -> bool {
    prefix.contains(&address)
        && address != prefix.network()
        && (address.is_ipv6() || address != prefix.broadcast())
}

pub(super) fn router_mac(place: Place, mac: MacAddr) -> Result<(), Fault> {
    if !mac.is_unicast() {
        return fail(place, Problem::RouterMac(mac));
    }
    Ok(())
}

pub(super) fn own_mac(place: Place, mac: MacAddr, router_mac: MacAddr) -> Result<(), Fault> {
    if !mac.is_unicast() || mac == router_mac {
        return fail(place, Problem::OwnMac { mac });
    }
    Ok(())
}

pub(super) fn dhcp_server(place: Place, address: IpAddr, blocks: &[IpNet]) -> Result<(), Fault> {
    if !is_routable(address) {
        return fail(place, Problem::DhcpServerAddress { address });
    }
    if let Some(&block) = blocks.iter().find(|block| block.contains(&address)) {
        return fail(place, Problem::DhcpServerInBlock { address, block });
    }
    Ok(())
}

pub(super) fn blocks(place: Place, blocks: &[Placed<IpNet>]) -> Result<(), Fault> {
    if blocks.is_empty() {
        return fail(place, Problem::NoBlocks);
    }
    for (n, &(place, block)) in blocks.iter().enumerate() {
        if let Some(&reserved) = UNROUTED.iter().find(|net| overlap(net, &block)) {
            return fail(place, Problem::BlockReserved { block, reserved });
        }
        if let Some(&(other_place, other)) = blocks[..n].iter().find(|(_, other)| overlap(other, &block)) {
            return fail(place, Problem::BlocksOverlap { block, other, place: other_place });
        }
    }
    Ok(())
}

/// Those of `[gateway]`.
pub(super) fn vteps(place: Place, vteps: &[Placed<IpAddr>], blocks: &[IpNet]) -> Result<(), Fault> {
    if vteps.is_empty() {
        return fail(place, Problem::NoVteps);
    }
    for (n, &(place, address)) in vteps.iter().enumerate() {
        own_address(place, address, blocks)?;
        if vteps[..n].iter().any(|(_, other)| other.is_ipv4() == address.is_ipv4()) {
            return fail(place, Problem::VtepTwice { address });
        }
    }
    Ok(())
}

fn own_address(place: Place, address: IpAddr, blocks: &[IpNet]) -> Result<(), Fault> {
    if !is_routable(address) {
        return fail(place, Problem::PortAddress { address });
    }
    match blocks.iter().find(|block| block.contains(&address)) {
        Some(&block) => fail(place, Problem::PortAddressInBlock { address, block }),
        None => Ok(()),
    }
}

/// Those of one port, after those of other ports with their roles. `vtep` is where the VTEP's are named, if they are:
/// else those of underlay ports are.
pub(super) fn port_addresses(
    role: Role,
    addresses: &[Placed<IpAddr>],
    of_others: &[(Role, IpAddr)],
    vtep: Option<Place>,
    blocks: &[IpNet],
) -> Result<(), Fault> {
    if let (Role::Underlay, Some(vtep), Some(&(place, address))) = (role, vtep, addresses.first()) {
        return fail(place, Problem::UnderlayAddress { address, place: vtep });
    }
    for (n, &(place, address)) in addresses.iter().enumerate() {
        own_address(place, address, blocks)?;
        let own = addresses[..n].iter().map(|&(_, other)| (role, other));
        let mut earlier = own.chain(of_others.iter().copied());
        if earlier.clone().any(|(_, other)| other == address) {
            return fail(place, Problem::PortAddressTwice { address });
        }
        let is_vtep = |role: Role| role.is_underlay() && vtep.is_none();
        if is_vtep(role) && earlier.any(|(role, other)| is_vtep(role) && other.is_ipv4() == address.is_ipv4())
        {
            return fail(place, Problem::VtepTwice { address });
        }
    }
    Ok(())
}

/// What each port may be for.
const ROLES: [fn(Role) -> bool; 2] = [Role::is_underlay, Role::is_uplink];

pub(super) fn ports(ports: &[PortSettings]) -> Result<(), Fault> {
    if let Some(port) = ports.get(MAX_PORTS) {
        return fail(port.place, Problem::TooManyPorts { count: ports.len(), max: MAX_PORTS });
    }
    for (n, port) in ports.iter().enumerate() {
        if let Some(other) = ports[..n].iter().find(|other| other.interface == port.interface) {
            let problem = Problem::InterfaceTwice { interface: port.interface.clone(), place: other.place };
            return fail(port.place, problem);
        }
    }
    for (n, port) in ports.iter().enumerate() {
        let own = bind_name(port.bind);
        let mut forced = ports[..n].iter().filter_map(|other| Some((bind_name(other.bind)?, other.place)));
        if let (Some(own), Some((other, place))) = (own, forced.next())
            && own != other
        {
            return fail(port.place, Problem::BindConflict { own, other, place });
        }
    }
    for (role, has_role) in ["underlay", "uplink"].into_iter().zip(ROLES) {
        if !ports.iter().any(|port| has_role(port.role)) {
            // Nothing is there to be pointed at: the file as a whole lacks it.
            return fail(Place { line: 1, column: 1 }, Problem::RoleMissing { role });
        }
    }
    Ok(())
}

/// A bind mode that is forced, as it is written in the file.
fn bind_name(bind: BindRequest) -> Option<&'static str> {
    match bind {
        BindRequest::Auto => None,
        BindRequest::Copy => Some("copy"),
        BindRequest::ZeroCopy => Some("zero-copy"),
    }
}

/// The role as it is written in the file.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Underlay => "underlay",
        Role::Uplink => "uplink",
        Role::Both => "underlay and uplink",
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

pub(super) fn subnet_length(place: Place, prefix: IpNet) -> Result<(), Fault> {
    // The router and one station, besides the first address and, for IPv4, the last.
    if prefix.prefix_len() > prefix.max_prefix_len() - 2 {
        return fail(place, Problem::SubnetTooLong { prefix });
    }
    Ok(())
}

pub(super) fn router_address(place: Place, prefix: IpNet, router: IpAddr) -> Result<(), Fault> {
    if !is_host_address(prefix, router) {
        return fail(place, Problem::RouterAddress { router, prefix });
    }
    Ok(())
}

pub(super) fn overlay_mtu(place: Place, mtu: Option<u16>, ipv6: bool) -> Result<(), Fault> {
    // RFC 791 §3.1 and RFC 8200 §5.
    let (minimum, family) = if ipv6 { (1280, "IPv6") } else { (68, "IPv4") };
    match mtu {
        Some(mtu) if mtu < minimum => fail(place, Problem::MtuTooSmall { mtu, minimum, family }),
        _ => Ok(()),
    }
}

pub(super) fn cut(
    place: Place,
    range: IpNet,
    length: u8,
    wanted_family: &'static str,
    maximum: u8,
    wanted: u32,
) -> Result<(), Fault> {
    if family(range.addr()) != wanted_family {
        return fail(place, Problem::RangeFamily { range, family: wanted_family });
    }
    let minimum = range.prefix_len();
    if length < minimum || length > maximum {
        return fail(place, Problem::CutLength { range, length, minimum, maximum });
    }
    // At most 126 bits, by the lengths above.
    let available = 1u128 << (length - minimum);
    if available < u128::from(wanted) {
        return fail(place, Problem::RangeTooSmall { range, length, available, wanted });
    }
    Ok(())
}

pub(super) fn endpoints(endpoints: &[Placed<IpAddr>], blocks: &[IpNet]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for &(place, address) in endpoints {
        if !is_routable(address) {
            return fail(place, Problem::EndpointAddress { address });
        }
        if let Some(&block) = blocks.iter().find(|block| block.contains(&address)) {
            return fail(place, Problem::EndpointInBlock { address, block });
        }
        if !seen.insert(address) {
            return fail(place, Problem::EndpointTwice { address });
        }
    }
    Ok(())
}

pub(super) fn endpoints_and_vteps(groups: &[OverlayGroup], vteps: &[IpAddr]) -> Result<(), Fault> {
    for group in groups {
        for (&address, &place) in group.endpoints.iter().zip(&group.endpoint_places) {
            if vteps.contains(&address) {
                return fail(place, Problem::EndpointIsVtep { address });
            }
            if vteps.iter().all(|vtep| vtep.is_ipv4() != address.is_ipv4()) {
                return fail(place, Problem::EndpointFamily { address, family: family(address) });
            }
        }
    }
    Ok(())
}

/// Checks overlays that are sorted by VNI. There may be very many: what must be distinct is sorted, and neighbours
/// are compared.
pub(super) fn overlays(
    overlays: &[OverlaySettings],
    groups: &[OverlayGroup],
    blocks: &[IpNet],
) -> Result<(), Fault> {
    let place = |overlay: &OverlaySettings| groups[overlay.group as usize].place;
    if let Some([first, second]) = overlays.array_windows().find(|[a, b]| a.vni == b.vni) {
        return fail(place(second), Problem::VniTwice { vni: second.vni, place: place(first) });
    }

    let mut prefixes: Vec<(IpNet, &OverlaySettings)> = overlays
        .iter()
        .flat_map(|overlay| overlay.subnets.iter().map(move |subnet| (subnet.prefix, overlay)))
        .collect();
    for &(prefix, overlay) in &prefixes {
        if !blocks.iter().any(|block| block.contains(&prefix)) {
            return fail(place(overlay), Problem::SubnetOutsideBlocks { prefix, vni: overlay.vni });
        }
    }
    // By address, the shorter length first: a prefix that overlaps others then overlaps its successor.
    prefixes.sort_unstable_by_key(|&(prefix, _)| prefix);
    if let Some(&[(other, first), (prefix, second)]) =
        prefixes.array_windows().find(|[(a, _), (b, _)]| a.contains(b))
    {
        let problem = Problem::SubnetsOverlap {
            prefix,
            vni: second.vni,
            other,
            other_vni: first.vni,
            place: place(first),
        };
        return fail(place(second), problem);
    }
    Ok(())
}

/// Whether the kernel can have a route for each prefix: one that is a whole block loses to the block's blackhole route.
pub(super) fn kernel_routes(
    place: Place,
    overlays: &[OverlaySettings],
    blocks: &[IpNet],
) -> Result<(), Fault> {
    let mut subnets =
        overlays.iter().flat_map(|overlay| overlay.subnets.iter().map(move |subnet| (overlay, subnet)));
    match subnets.find(|(_, subnet)| blocks.contains(&subnet.prefix)) {
        Some((overlay, subnet)) => fail(place, Problem::IgpBlock { prefix: subnet.prefix, vni: overlay.vni }),
        None => Ok(()),
    }
}
