//! What the network announces: stations, their addresses, and the endpoints of overlays.

use std::net::IpAddr;

use wire::{MacAddr, Vni};

/// A change of what the network announces. What the configuration says of a station, an address or an endpoint holds
/// whatever is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A station is behind this endpoint: new, or moved there with all its addresses.
    Station {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Underlay address of the endpoint.
        endpoint: IpAddr,
    },
    /// A station is announced no longer; with it go its addresses, the learned ones too.
    StationGone {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
    },
    /// An announced station has this address. Of several stations that have, it is the last one's.
    Address {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Its IP address.
        address: IpAddr,
    },
    /// An address of a station is announced no longer.
    AddressGone {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Its IP address.
        address: IpAddr,
    },
    /// An endpoint takes part in an overlay: it may send, and gets what is flooded.
    Member {
        /// The overlay.
        vni: Vni,
        /// Underlay address of the endpoint.
        endpoint: IpAddr,
    },
    /// An endpoint takes part no longer.
    MemberGone {
        /// The overlay.
        vni: Vni,
        /// Underlay address of the endpoint.
        endpoint: IpAddr,
    },
}

/// How much is announced, and what there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedStatistics {
    /// Stations.
    pub stations: usize,
    /// Their addresses.
    pub addresses: usize,
    /// Addresses that several stations are announced to have.
    pub contested: usize,
    /// Stations that are not in the flow table with all their addresses, because it is full or all indices of endpoints
    /// are in use.
    pub lacking: usize,
    /// Endpoints that could not join an overlay because all indices of endpoints are in use, each once an overlay.
    pub outside: usize,
}

impl AnnouncedStatistics {
    /// Each: its name, how many, and what it means in a sentence.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + use<> {
        let Self { stations, addresses, contested, lacking, outside } = *self;
        [
            ("announced_stations", stations, "Announced stations."),
            ("announced_addresses", addresses, "Their announced addresses."),
            ("announced_contested", contested, "Addresses that several stations are announced to have."),
            (
                "announced_lacking",
                lacking,
                "Announced stations that are not reached, in part or at all, because the flow table or the table of \
                 endpoints is full.",
            ),
            (
                "announced_outside",
                outside,
                "Announced endpoints that could not join an overlay because the table of endpoints is full.",
            ),
        ]
        .map(|(name, value, description)| (name, value as u64, description))
        .into_iter()
    }
}

/// An endpoint that the tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointStatus {
    /// Its underlay address.
    pub address: IpAddr,
    /// Whether the engine was told how to reach it.
    pub is_reachable: bool,
}
