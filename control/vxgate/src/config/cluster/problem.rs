//! What `[cluster]` says that cannot be.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;
use wire::MacAddr;

use super::{AddressRange, MAX_SHARDS};
use crate::config::{Place, Problem};

/// The messages end with the remedy.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum ClusterProblem {
    #[error("there is no other gateway: add a [[cluster.gateway]] for each, or remove [cluster]")]
    NoGateways,
    #[error("gateway {id} is this gateway ({place}): list the others only, each with its own id")]
    OwnId { id: u16, place: Place },
    #[error("gateway {id} is there twice, also on {place}: keep one, or correct the id")]
    IdTwice { id: u16, place: Place },
    #[error(
        "gateway {id} has the pin of gateway {other} ({place}): each has a key of its own; correct one of them"
    )]
    PinTwice { id: u16, other: u16, place: Place },
    #[error(
        "{address} cannot be the address of a gateway: it must be unicast, neither loopback nor link-local"
    )]
    Address { address: IpAddr },
    #[error("{address} lies in block {block}: gateways and overlays cannot share address space")]
    AddressInBlock { address: IpAddr, block: IpNet },
    #[error("{address} is this gateway's own address: give that of the other gateway")]
    AddressIsOwn { address: IpAddr },
    #[error("{address} is an address of gateway {id} ({place}) too: give each gateway its own")]
    AddressTwice { address: IpAddr, id: u16, place: Place },
    #[error(
        "hold-time {hold_time} s leaves no room for a lost keepalive ({keepalive} s): make it 2 × keepalive or more"
    )]
    HoldTime { hold_time: u32, keepalive: u32 },
    #[error("discover finds gateways by EVPN: add [bgp], or remove discover")]
    DiscoverWithoutBgp,
    #[error("mode = \"floating\" needs the shards' addresses: add [cluster.floating] with vtep and uplink")]
    FloatingMissing,
    #[error("[cluster.floating] is for mode = \"floating\" ({place}): set that, or remove this table")]
    FloatingUnused { place: Place },
    #[error(
        "move-limit is for mode = \"announce\" ({place}): the moves of a shard change no route; remove it"
    )]
    MoveLimitUnused { place: Place },
    #[error("{shards} shards: take 1 to {MAX_SHARDS}")]
    Shards { shards: u16 },
    #[error("{key} is empty: name as many addresses as there are shards, IPv4, IPv6 or both")]
    NoRanges { key: &'static str },
    #[error(
        "{key} has {available} {family} addresses, too few for {shards} shards: widen the ranges, or take fewer shards"
    )]
    RangesTooSmall { key: &'static str, family: &'static str, available: u128, shards: u16 },
    #[error("range {range} has addresses that are never routed: take private or global unicast space")]
    RangeReserved { range: AddressRange },
    #[error("range {range} overlaps block {block}: shards and overlays cannot share address space")]
    RangeInBlock { range: AddressRange, block: IpNet },
    #[error("range {range} holds {address}, which is a gateway's own: shards' addresses are nobody else's")]
    RangeHoldsAddress { range: AddressRange, address: IpAddr },
    #[error(
        "router-mac {mac} is what gateway {id} has as its own in overlays: take another router-mac, or another id"
    )]
    RouterMac { mac: MacAddr, id: u16 },
    #[error("bfd: {0}; see interval (in milliseconds) and multiplier")]
    Bfd(#[from] bfd::ConfigError),
    #[error("BFD key {id} is there twice, also on {place}: give each an id of its own")]
    BfdKeyTwice { id: u8, place: Place },
    #[error("BFD key {id} needs a secret or a file, and one of them alone")]
    BfdKey { id: u8 },
    #[error("the secret of BFD key {id} must have 1 to {} bytes", bfd::MAX_SECRET)]
    BfdSecret { id: u8 },
    #[error("uplink router {address} is there twice, also on {place}: keep one")]
    RouterTwice { address: IpAddr, place: Place },
    #[error(
        "uplink router {address} has interval or multiplier, which are for by = \"bfd\": remove them, or set that"
    )]
    RouterTiming { address: IpAddr },
    #[error(
        "uplink router {address} has a BFD session as a peer of [bgp], and two cannot be: set by = \"bgp\", which ends with it"
    )]
    RouterHasBfd { address: IpAddr },
    #[error(
        "uplink router {address} is no peer of [bgp]: add a [[bgp.peer]] with this address, or watch it by = \"bfd\" or \
         \"neighbour\""
    )]
    RouterIsNoPeer { address: IpAddr },
    #[error("range {range} overlaps {other} ({place}): each shard needs addresses of its own")]
    RangesOverlap { range: AddressRange, other: AddressRange, place: Place },
}

impl From<ClusterProblem> for Problem {
    fn from(problem: ClusterProblem) -> Self {
        // It would be the largest by far.
        Self::Cluster(Box::new(problem))
    }
}
