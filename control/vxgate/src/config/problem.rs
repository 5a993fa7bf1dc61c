//! What can be wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use thiserror::Error;
use wire::{MacAddr, Vni};

/// A place in the file: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The line.
    pub(crate) line: usize,
    /// The column, in bytes.
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)
    }
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is not TOML, or not of the expected tables and keys.
    #[error("{}:{}:{}: {message}", path.display(), place.line, place.column)]
    Syntax { path: PathBuf, place: Place, message: String },
    /// The file says something that cannot be.
    #[error("{}:{}:{}: {problem}", path.display(), place.line, place.column)]
    Invalid { path: PathBuf, place: Place, problem: Problem },
}

/// A problem and its place; [`ConfigError::Invalid`] once the file's name is added.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) problem: Problem,
}

/// What a configuration says that cannot be. The messages end with the remedy.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum Problem {
    #[error(transparent)]
    Bgp(#[from] super::BgpProblem),
    #[error("{0}")]
    Cluster(Box<super::ClusterProblem>),

    #[error(
        "router-mac {0} is not the address of one station: take a unicast one, locally administered, \
         such as 02:00:5e:00:00:01"
    )]
    RouterMac(MacAddr),
    #[error("blocks is empty: name the prefixes that hold all overlay prefixes, such as \"10.0.0.0/8\"")]
    NoBlocks,
    #[error("block {block} overlaps block {other} ({place}): keep the wider one only")]
    BlocksOverlap { block: IpNet, other: IpNet, place: Place },
    #[error("block {block} overlaps {reserved}, which is never routed: take private or global unicast space")]
    BlockReserved { block: IpNet, reserved: IpNet },

    #[error(
        "{count} workers are more than {max}, and than any NIC has queues: take one for each queue of a port"
    )]
    TooManyWorkers { count: u32, max: u32 },
    #[error("cores is empty: name one for each worker, or leave it out")]
    NoCores,
    #[error(
        "cores names {cores}, and workers ({place}) says {workers}: name one for each worker, or leave workers out"
    )]
    CoresAndWorkers { cores: usize, workers: u32, place: Place },
    #[error("core {core} is named twice: each worker needs one of its own")]
    CoreTwice { core: usize },

    #[error("no port has the role {role}: add a [[port]] with role = \"{role}\"")]
    RoleMissing { role: &'static str },
    #[error("{count} ports are more than {max}: use fewer, or bond some of them")]
    TooManyPorts { count: usize, max: usize },
    #[error(
        "interface {interface} is used by the port of {place} too: give each port a netdev of its own, or one port both \
         roles: role = [\"underlay\", \"uplink\"]"
    )]
    InterfaceTwice { interface: String, place: Place },
    #[error(
        "this port asks for bind = \"{own}\" and the port of {place} for \"{other}\": all ports share one memory and so \
         one mode; ask for the same"
    )]
    BindConflict { own: &'static str, other: &'static str, place: Place },
    #[error(
        "{address} cannot be an address of the gateway: it must be unicast, neither loopback nor link-local"
    )]
    PortAddress { address: IpAddr },
    #[error("{address} is named twice: remove one of them")]
    PortAddressTwice { address: IpAddr },
    #[error("vtep is empty: name one IPv4 or IPv6 address of this host or one of each, or leave it out")]
    NoVteps,
    #[error(
        "a second VTEP address of one family, {address}: name at most one IPv4 and one IPv6 address for all underlay ports"
    )]
    VtepTwice { address: IpAddr },
    #[error(
        "{address} would be a VTEP address, and vtep ({place}) says which those are: remove the addresses of this port, or \
         vtep"
    )]
    UnderlayAddress { address: IpAddr, place: Place },
    #[error("own address {address} lies in block {block}: the host and overlays cannot share address space")]
    PortAddressInBlock { address: IpAddr, block: IpNet },

    #[error(
        "VNI {vni} is configured twice, also in the table of {place}: give each overlay a VNI of its own"
    )]
    VniTwice { vni: Vni, place: Place },
    #[error("an overlay needs a subnet: give it {wanted}")]
    NoSubnets { wanted: &'static str },
    #[error(
        "subnet {prefix} has no room for the router and a station: the longest are /30 for IPv4 and /126 for IPv6"
    )]
    SubnetTooLong { prefix: IpNet },
    #[error("subnet {prefix} of VNI {vni} lies in no block: add a block that holds it, or correct it")]
    SubnetOutsideBlocks { prefix: IpNet, vni: Vni },
    #[error(
        "subnet {prefix} of VNI {vni} overlaps {other} of VNI {other_vni} ({place}): overlays need distinct prefixes"
    )]
    SubnetsOverlap { prefix: IpNet, vni: Vni, other: IpNet, other_vni: Vni, place: Place },
    #[error(
        "router address {router} is not a host address of {prefix}: take one inside, neither the first nor, for \
         IPv4, the last"
    )]
    RouterAddress { router: IpAddr, prefix: IpNet },
    #[error("mtu {mtu} is below {minimum}, the least for {family}: raise it, or leave it out")]
    MtuTooSmall { mtu: u16, minimum: u16, family: &'static str },
    #[error("{range} is no {family} prefix: swap the ranges of ipv4 and ipv6")]
    RangeFamily { range: IpNet, family: &'static str },
    #[error("length {length} does not cut {range}: take one from {minimum} to {maximum}")]
    CutLength { range: IpNet, length: u8, minimum: u8, maximum: u8 },
    #[error(
        "{range} holds {available} subnets of length {length}, too few for {wanted} VNIs: widen the range, or take \
         fewer VNIs or a longer length"
    )]
    RangeTooSmall { range: IpNet, length: u8, available: u128, wanted: u32 },

    #[error(
        "{address} cannot be the address of an endpoint: it must be unicast, neither loopback nor link-local"
    )]
    EndpointAddress { address: IpAddr },
    #[error("endpoint {address} is named twice: remove one of them")]
    EndpointTwice { address: IpAddr },
    #[error("endpoint {address} lies in block {block}: an endpoint is in the underlay, not in an overlay")]
    EndpointInBlock { address: IpAddr, block: IpNet },
    #[error("endpoint {address} is this gateway's own VTEP address: name the endpoint's")]
    EndpointIsVtep { address: IpAddr },
    #[error(
        "endpoint {address} cannot be reached: there is no {family} VTEP address; give the gateway one, or remove the \
         endpoint"
    )]
    EndpointFamily { address: IpAddr, family: &'static str },

    #[error(
        "{address} cannot be the address of a DHCP server: it must be unicast, neither loopback nor link-local"
    )]
    DhcpServerAddress { address: IpAddr },
    #[error(
        "DHCP server {address} lies in block {block}: requests are relayed to the outer network only; name a server there"
    )]
    DhcpServerInBlock { address: IpAddr, block: IpNet },
    #[error("own-mac {mac} must be a unicast address other than router-mac: give this gateway its own")]
    OwnMac { mac: MacAddr },
    #[error("owner = false needs own-mac, the address that this gateway has beside the owner: add it")]
    OwnMacMissing,
    #[error("advertise is set, and there is no IPv6 subnet to advertise: add one, or remove advertise")]
    AdvertiseWithoutIpv6,
    #[error(
        "autonomous = true is for prefixes of length 64, and there is one of length {length}: correct the subnet, or set \
         autonomous = false"
    )]
    AutonomousLength { length: u8 },
    #[error(
        "router advertisements would be {len} bytes long, and {max} fit every link: name fewer dns-servers, dns-search \
         domains or IPv6 subnets"
    )]
    AdvertisementTooLong { len: usize, max: usize },

    #[error(
        "igp = \"kernel\" cannot tell of {prefix} of VNI {vni}, which is a whole block: the block's blackhole route comes before \
         it; widen the block, or remove igp"
    )]
    IgpBlock { prefix: IpNet, vni: Vni },

    #[error("VNI {vni} is no configured overlay: add it, or correct the station")]
    StationVni { vni: Vni },
    #[error("station MAC {mac} is not the address of one station: it must be unicast and not zero")]
    StationMac { mac: MacAddr },
    #[error("station MAC {mac} is the router's: give the station its own")]
    StationMacIsRouter { mac: MacAddr },
    #[error("station MAC {mac} is in VNI {vni} twice, also on {place}: remove one of them")]
    StationMacTwice { mac: MacAddr, vni: Vni, place: Place },
    #[error(
        "{endpoint} is no endpoint of VNI {vni}: add it to the overlay's endpoints, or correct the station"
    )]
    StationEndpoint { endpoint: IpAddr, vni: Vni },
    #[error(
        "station address {address} is a host address in no subnet of VNI {vni}: take one from its subnets"
    )]
    StationAddress { address: IpAddr, vni: Vni },
    #[error("station address {address} is the router's in VNI {vni}: take another")]
    StationAddressIsRouter { address: IpAddr, vni: Vni },
    #[error("station address {address} is in VNI {vni} twice, also on {place}: give it to one station only")]
    StationAddressTwice { address: IpAddr, vni: Vni, place: Place },
    #[error(
        "{wanted} stations need as many MAC addresses, and from {first} on there are {room} before the next vendor's: \
         take a lower first-mac, or fewer stations"
    )]
    StationBlockMacs { first: MacAddr, wanted: u64, room: u64 },
    #[error(
        "the last station's address would be number {last} of {prefix} of VNI {vni}, which ends at {room}: lower \
         first-address or per-overlay"
    )]
    StationBlockAddresses { prefix: IpNet, vni: Vni, last: u128, room: u128 },
    #[error(
        "here the stations and their addresses become more than the flow table's {max_flows} entries: raise max-flows in \
         [gateway], or configure fewer"
    )]
    TooManyStations { max_flows: u32 },

    #[error("no overlay has a VNI from {first} to {last}: add one, or correct the range")]
    RuleVnis { first: u32, last: u32 },
    #[error(
        "{prefix} lies in no block: rules are about packets from overlays; name sources inside the blocks"
    )]
    RuleSource { prefix: IpNet },
    #[error("port needs a protocol that has ports: add protocol = \"tcp\", say")]
    RulePort,
    #[error("only what is allowed has replies: remove replies")]
    RuleReplies,
    #[error(
        "with this rule there are more than {max}, each protocol, port and direction counted: combine ports into ranges, \
         or set replies = false"
    )]
    TooManyRules { max: usize },
}
