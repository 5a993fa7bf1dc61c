//! What the machine must be like for a configuration, checked before anything is changed.
//!
//! [`Machine::inspect`] looks; [`prepare`] judges, without I/O, and completes the configuration with what the machine
//! has: indices, MAC addresses, MTUs, addresses.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use cluster::assign::ShardCount;
use engine::{Config, Overlay, PortConfig, Role};
use ipnet::IpNet;
use thiserror::Error;

use crate::config::{ClusterSettings, ConfigError, OverlayGroup, PortSettings, Settings};
use crate::mirror::kernel::{Link, RouteKind, Tables};
use crate::mirror::netlink::blackhole_metric;

/// Bytes that VXLAN adds to an inner packet, from the outer IP header to the inner Ethernet header (RFC 7348 §5).
const OVERHEAD_IPV4: u16 = 20 + 8 + 8 + 14;
const OVERHEAD_IPV6: u16 = 40 + 8 + 8 + 14;

/// An overlay's MTU where neither the configuration nor the underlay says less.
const DEFAULT_MTU: u16 = 1500;

/// Number and name of a capability (linux/capability.h).
type Capability = (u32, &'static str);
const NET_ADMIN: Capability = (12, "CAP_NET_ADMIN");
const NET_RAW: Capability = (13, "CAP_NET_RAW");
const SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN");
const PERFMON: Capability = (38, "CAP_PERFMON");
const BPF: Capability = (39, "CAP_BPF");

/// Why the gateway cannot run on this machine as configured. The messages end with the remedy.
#[derive(Debug, Error)]
pub(crate) enum Obstacle {
    #[error("this process lacks {}: run as root, or grant them (systemd: AmbientCapabilities=)", missing.join(", "))]
    Capabilities { missing: Vec<&'static str> },
    #[error(
        "core {core} is not open to this process ({allowed} are): correct cores in [gateway], or its affinity"
    )]
    Core { core: usize, allowed: String },
    #[error("there is no interface {interface}: correct the [[port]], or create it; there are {}", there.join(", "))]
    NoInterface { interface: String, there: Vec<String> },
    #[error("interface {interface} is down: `ip link set dev {interface} up`")]
    Down { interface: String },
    #[error("interface {interface} is not Ethernet: choose another netdev for the [[port]]")]
    NotEthernet { interface: String },
    #[error(
        "interface {interface} has MTU {mtu}, and frames of more than {max} bytes do not fit the engine's: \
         `ip link set dev {interface} mtu {max}`"
    )]
    MtuTooLarge { interface: String, mtu: u32, max: u16 },
    #[error(
        "underlay interface {interface} has MTU {mtu}, too small for the overlays of {place}, which need {wanted}: \
         `ip link set dev {interface} mtu {wanted}`, or lower the overlays' mtu"
    )]
    MtuTooSmall { interface: String, mtu: u32, wanted: u32, place: String },
    #[error(
        "interface {interface} receives on {} queues and sends on {}, and each worker serves one of each port: set \
         workers = {} in [gateway], or `ethtool -L {interface} combined {workers}`, on a veth `ethtool -L {interface} rx \
         {workers} tx {workers}` (made with `numrxqueues {workers} numtxqueues {workers}`)",
        queues.rx, queues.tx, queues.rx
    )]
    Queues { interface: String, queues: Queues, workers: u32 },
    #[error(
        "cannot tell on how many queues {interface} receives: /sys shows another network namespace; enter this one \
         with `ip netns exec`, which mounts its /sys"
    )]
    QueuesUnknown { interface: String },
    #[error(
        "the XDP hook of {interface} is in use by program {program}: stop what attached it (`bpftool net`, \
         `bpftool prog show id {program}`), or `ip link set dev {interface} xdp off`"
    )]
    XdpInUse { interface: String, program: u32 },
    #[error(
        "interface {interface} has no address {address}: `ip address add {address}/LENGTH dev {interface}`, or \
         correct the addresses of the [[port]]"
    )]
    NoSuchAddress { interface: String, address: IpAddr },
    #[error(
        "no netdev has the VTEP address {address}: `ip address add {address} dev lo`, or correct vtep in [gateway]"
    )]
    NoSuchVtep { address: IpAddr },
    #[error(
        "no underlay interface ({}) has a global address to be the VTEP's: give one to it, or to lo (`ip address add …`) and \
         name that in [gateway]: vtep = [\"…\"]",
        interfaces.join(", ")
    )]
    NoVtep { interfaces: Vec<String> },
    #[error(
        "the underlay has several addresses of one family ({}): name the VTEP's in [gateway], at most one a family: \
         vtep = [\"…\"]",
        list(addresses)
    )]
    ManyVteps { addresses: Vec<IpAddr> },
    #[error("block {block} holds the host's own address {address}: change the block, or the address")]
    HostAddressInBlock { block: IpNet, address: IpAddr },
    #[error(
        "the kernel forwards {family} and has a route to {prefix} in block {block}, so that overlay packets could \
         leak past the gateway: `sysctl -w {sysctl}=0`, or `ip route del {prefix}`"
    )]
    KernelWouldForward { family: &'static str, sysctl: &'static str, prefix: IpNet, block: IpNet },
    #[error(
        "the kernel has a route to block {block} that comes before the blackhole route: `ip route del {block} metric \
         {metric}`"
    )]
    BlockTaken { block: IpNet, metric: u32 },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// All obstacles at once, so that they can be removed at once.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(Obstacle::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Obstacles(pub(crate) Vec<Obstacle>);

/// What is looked at on the machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) tables: Tables,
    /// The effective capabilities, one bit each.
    capabilities: u64,
    /// Cores that this process may run on, as the kernel writes them: `0-3,7`.
    cores: String,
    forwards_ipv4: bool,
    forwards_ipv6: bool,
    /// Queues that each netdev uses; missing if /sys does not tell.
    queues: HashMap<u32, Queues>,
}

impl Machine {
    /// Looks at the machine. What cannot be read counts as what is in the way.
    pub(crate) fn inspect(tables: Tables) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim().to_owned()
        };
        let queues =
            tables.links.iter().filter_map(|link| Some((link.index, queues_in_use(link)?))).collect();
        Self {
            capabilities: u64::from_str_radix(&field("CapEff"), 16).unwrap_or_default(),
            cores: field("Cpus_allowed_list"),
            forwards_ipv4: forwards("/proc/sys/net/ipv4/conf"),
            forwards_ipv6: forwards("/proc/sys/net/ipv6/conf"),
            queues,
            tables,
        }
    }
}

/// How many queues a netdev receives and sends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queues {
    pub(crate) rx: u32,
    pub(crate) tx: u32,
}

/// Whether the kernel forwards what it receives on any netdev; it does if nothing says that it does not.
fn forwards(conf: &str) -> bool {
    let Ok(entries) = fs::read_dir(conf) else { return true };
    entries.flatten().filter(|entry| entry.file_name() != "default").any(|entry| {
        fs::read_to_string(entry.path().join("forwarding")).map_or(true, |value| value.trim() != "0")
    })
}

/// Netlink tells how many queues a netdev was made with, only /sys how many it uses.
fn queues_in_use(link: &Link) -> Option<Queues> {
    if link.rx_queues <= 1 {
        // There is one to send on at least.
        return Some(Queues { rx: link.rx_queues, tx: 1 });
    }
    let directory = Path::new("/sys/class/net").join(&link.name);
    // /sys belongs to the network namespace that it was mounted in: is it the same netdev?
    let read = |name| fs::read_to_string(directory.join(name)).ok();
    if read("ifindex")?.trim() != link.index.to_string()
        || link.mac.is_some_and(|mac| read("address").is_none_or(|text| text.trim() != mac.to_string()))
    {
        return None;
    }
    let queues: Vec<_> = fs::read_dir(directory.join("queues")).ok()?.flatten().collect();
    let count = |prefix| {
        queues.iter().filter(|queue| queue.file_name().to_string_lossy().starts_with(prefix)).count() as u32
    };
    Some(Queues { rx: count("rx-"), tx: count("tx-") })
}

/// Completes the configuration, or says all that is in the way.
pub(crate) fn prepare(settings: &Settings, machine: &Machine) -> Result<Config, Obstacles> {
    let mut obstacles = Vec::new();
    check_process(settings, machine, &mut obstacles);
    let mut ports: Vec<PortConfig> = settings
        .ports
        .iter()
        .filter_map(|port| prepare_port(port, settings, machine, &mut obstacles))
        .collect();
    check_blocks(settings, machine, &mut obstacles);

    let vteps = vteps(settings, &machine.tables);
    check_vteps(&vteps, settings, &machine.tables, &mut obstacles);
    // What else a port of the underlay alone has is the host's affair.
    for port in ports.iter_mut().filter(|port| port.role == Role::Underlay) {
        port.addresses.retain(|address| vteps.contains(address));
    }
    let mut mtus = Vec::new();
    // What fits the smallest fits all, whichever path a packet takes.
    let underlays = ports.iter().filter(|port| port.role.is_underlay());
    if let Some(underlay) = underlays.min_by_key(|port| port.mtu) {
        if let Err(error) = settings.check_endpoints(&vteps) {
            obstacles.push(error.into());
        }
        mtus = settings.groups.iter().map(|group| overlay_mtu(group, underlay, &mut obstacles)).collect();
    }
    if !obstacles.is_empty() {
        return Err(Obstacles(obstacles));
    }

    let floating = settings.cluster.as_ref().and_then(|cluster| Some((cluster, cluster.floating.as_ref()?)));
    let count = floating.and_then(|(_, floating)| ShardCount::new(floating.shards).ok());
    let overlays = settings.overlays.iter().map(|overlay| {
        let group = overlay.group as usize;
        Overlay {
            vni: overlay.vni,
            subnets: overlay.subnets.clone(),
            endpoints: settings.groups[group].endpoints.clone(),
            mtu: mtus[group],
            // In a cluster that is not for the configuration to say.
            owner: settings.cluster.is_none() && settings.groups[group].owner,
            shard: count.map(|count| count.shard_of(overlay.vni.value())),
            own_mac: settings.groups[group].own_mac,
            policy: Arc::clone(&settings.groups[group].policy),
        }
    });
    Ok(Config {
        ports,
        vteps,
        shards: floating.map(|(_, floating)| floating.list()).unwrap_or_default(),
        polling: settings.polling,
        workers: settings.workers.clone(),
        router_mac: settings.router_mac,
        blocks: settings.blocks.clone(),
        overlays: overlays.collect(),
        stations: settings.stations.list(&settings.overlays),
        rules: settings.rules.iter().map(|rule| rule.rule.clone()).collect(),
        punt_limits: settings.punt_limits,
        max_flows: settings.max_flows,
        stale_after: settings.cluster.as_ref().map(ClusterSettings::detection),
    })
}

fn check_process(settings: &Settings, machine: &Machine, obstacles: &mut Vec<Obstacle>) {
    let has = |(bit, _): Capability| machine.capabilities >> bit & 1 != 0;
    let mut missing: Vec<&str> = [NET_ADMIN, NET_RAW]
        .into_iter()
        .filter(|&capability| !has(capability))
        .map(|(_, name)| name)
        .collect();
    // The verifier lets only CAP_PERFMON compute addresses from lengths in a packet.
    missing.extend(
        [BPF, PERFMON].iter().filter(|&&wanted| !has(wanted) && !has(SYS_ADMIN)).map(|wanted| wanted.1),
    );
    if !missing.is_empty() {
        obstacles.push(Obstacle::Capabilities { missing });
    }
    for &core in settings.workers.iter().flatten() {
        if !is_in_list(core, &machine.cores) {
            obstacles.push(Obstacle::Core { core, allowed: machine.cores.clone() });
        }
    }
}

/// Whether a number is in a list as the kernel writes it: `0-3,7`.
fn is_in_list(number: usize, list: &str) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&number))
    })
}

fn prepare_port(
    port: &PortSettings,
    settings: &Settings,
    machine: &Machine,
    obstacles: &mut Vec<Obstacle>,
) -> Option<PortConfig> {
    let interface = port.interface.clone();
    let links = &machine.tables.links;
    let Some(link) = links.iter().find(|link| link.name == interface) else {
        let there = links.iter().map(|link| link.name.clone()).collect();
        obstacles.push(Obstacle::NoInterface { interface, there });
        return None;
    };
    if !link.up {
        obstacles.push(Obstacle::Down { interface: interface.clone() });
    }
    if let Some(program) = link.xdp_program {
        obstacles.push(Obstacle::XdpInUse { interface: interface.clone(), program });
    }
    let workers = settings.workers.len() as u32;
    match machine.queues.get(&link.index) {
        None => obstacles.push(Obstacle::QueuesUnknown { interface: interface.clone() }),
        // A sender's queue that is not there would be taken all the same (`__dev_direct_xmit`).
        Some(&queues) if queues.rx != workers || queues.tx < workers => {
            obstacles.push(Obstacle::Queues { interface: interface.clone(), queues, workers });
        }
        Some(_) => {}
    }
    let addresses = port_addresses(port, link, machine, obstacles);
    let Some(mac) = link.mac else {
        obstacles.push(Obstacle::NotEthernet { interface });
        return None;
    };
    let Some(mtu) = u16::try_from(link.mtu).ok().filter(|&mtu| mtu <= port::MAX_MTU) else {
        obstacles.push(Obstacle::MtuTooLarge { interface, mtu: link.mtu, max: port::MAX_MTU });
        return None;
    };
    Some(PortConfig {
        interface,
        ifindex: link.index,
        role: port.role,
        addresses,
        mac,
        mtu,
        xdp: port.xdp,
        bind: port.bind,
    })
}

fn port_addresses(
    port: &PortSettings,
    link: &Link,
    machine: &Machine,
    obstacles: &mut Vec<Obstacle>,
) -> Vec<IpAddr> {
    if port.addresses.is_empty() {
        return global_addresses(&machine.tables, link);
    }
    let there = machine.tables.addresses.iter().filter(|address| address.link == link.index);
    for &address in &port.addresses {
        if there.clone().all(|there| there.address != address) {
            obstacles.push(Obstacle::NoSuchAddress { interface: port.interface.clone(), address });
        }
    }
    port.addresses.clone()
}

fn global_addresses(tables: &Tables, link: &Link) -> Vec<IpAddr> {
    let addresses = tables.addresses.iter().filter(|address| address.link == link.index && address.global);
    addresses.map(|address| address.address).collect()
}

/// The VTEP addresses: those that the configuration names, or else the global ones of the underlay ports.
pub(crate) fn vteps(settings: &Settings, tables: &Tables) -> Vec<IpAddr> {
    let named = settings.named_vteps();
    if !named.is_empty() {
        return named;
    }
    let links = tables.links.iter().filter(|link| is_underlay(settings, link));
    links.flat_map(|link| global_addresses(tables, link)).collect()
}

fn is_underlay(settings: &Settings, link: &Link) -> bool {
    settings.ports.iter().any(|port| port.role.is_underlay() && port.interface == link.name)
}

fn check_vteps(vteps: &[IpAddr], settings: &Settings, tables: &Tables, obstacles: &mut Vec<Obstacle>) {
    for &address in &settings.vteps {
        if tables.addresses.iter().all(|there| there.address != address) {
            obstacles.push(Obstacle::NoSuchVtep { address });
        }
    }
    let of_family = |ipv4| vteps.iter().filter(|address| address.is_ipv4() == ipv4).count();
    if vteps.is_empty() {
        // Those that are not there are told of elsewhere.
        let links = tables.links.iter().filter(|link| is_underlay(settings, link));
        let interfaces: Vec<String> = links.map(|link| link.name.clone()).collect();
        if !interfaces.is_empty() {
            obstacles.push(Obstacle::NoVtep { interfaces });
        }
    } else if of_family(true) > 1 || of_family(false) > 1 {
        obstacles.push(Obstacle::ManyVteps { addresses: vteps.to_vec() });
    }
}

fn overlay_mtu(group: &OverlayGroup, underlay: &PortConfig, obstacles: &mut Vec<Obstacle>) -> u16 {
    let overhead = match group.endpoints.iter().any(IpAddr::is_ipv6) {
        true => OVERHEAD_IPV6,
        false => OVERHEAD_IPV4,
    };
    let room = underlay.mtu.saturating_sub(overhead);
    // RFC 8200 §5, RFC 791 §3.1.
    let least = if group.ipv6 { 1280 } else { 68 };
    let mtu = group.mtu.unwrap_or(DEFAULT_MTU.min(room));
    if mtu > room || mtu < least {
        obstacles.push(Obstacle::MtuTooSmall {
            interface: underlay.interface.clone(),
            mtu: underlay.mtu.into(),
            wanted: u32::from(mtu.max(least)) + u32::from(overhead),
            place: group.place.to_string(),
        });
    }
    mtu
}

fn check_blocks(settings: &Settings, machine: &Machine, obstacles: &mut Vec<Obstacle>) {
    for &block in &settings.blocks {
        for address in &machine.tables.addresses {
            if block.contains(&address.address) {
                obstacles.push(Obstacle::HostAddressInBlock { block, address: address.address });
            }
        }
        let (family, sysctl, forwards) = match block {
            IpNet::V4(_) => ("IPv4", "net.ipv4.ip_forward", machine.forwards_ipv4),
            IpNet::V6(_) => ("IPv6", "net.ipv6.conf.all.forwarding", machine.forwards_ipv6),
        };
        for route in machine.tables.routes.iter().filter(|route| block.contains(&route.prefix)) {
            let prefix = route.prefix;
            if prefix == block {
                if route.kind != RouteKind::Blackhole && route.metric <= blackhole_metric(block) {
                    obstacles.push(Obstacle::BlockTaken { block, metric: route.metric });
                }
            } else if forwards && matches!(route.kind, RouteKind::Unicast(_)) {
                obstacles.push(Obstacle::KernelWouldForward { family, sysctl, prefix, block });
            }
        }
    }
}

#[cfg(test)]
mod tests;
