//! What the slow path did and refused, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! deeds {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal)+) => {
        /// Something that the slow path did, or refused to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Deed { $($(#[doc = $doc])+ $variant,)+ }

        impl Deed {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name of the counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

deeds! {
    /// ARP requests answered.
    ArpAnswered "arp_answered"
    /// Neighbour solicitations answered.
    NdpAnswered "ndp_answered"
    /// ARP or neighbour discovery that is malformed, or that its sender may not say.
    BadNeighbour "bad_neighbour"
    /// ARP or neighbour discovery that claims the router's own address: not believed.
    RouterAddressClaimed "router_address_claimed"
    /// Router advertisements of stations: not believed.
    RogueAdvertisement "rogue_advertisement"
    /// Redirects of stations: not believed.
    Redirect "redirect"
    /// Solicitations for addresses that packets wait for, sent.
    SolicitationSent "solicitation_sent"
    /// Unicast probes of addresses that have aged, sent.
    ProbeSent "probe_sent"
    /// What waited over a time in which nobody ran, dropped: frames of workers and for them, and packets for neighbours.
    Stale "stale_punts"
    /// Addresses learned.
    Learned "learned"
    /// Claims to an address that another station has by configuration or announcement.
    AddressConflict "address_conflict"
    /// Addresses forgotten, because nobody answered any more or another took its place.
    Forgotten "forgotten"
    /// Router advertisements sent, solicited ones among them.
    AdvertisementSent "advertisement_sent"
    /// Echo requests answered.
    EchoAnswered "echo_answered"
    /// Packets for the router that it has no use for.
    NotServed "not_served"
    /// ICMP errors sent.
    ErrorSent "error_sent"
    /// ICMP errors not sent, because of what they would be about (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4).
    ErrorSuppressed "error_suppressed"
    /// Fragments that IPv4 packets were cut into.
    FragmentSent "fragment_sent"
    /// DHCP messages relayed to a server.
    DhcpRelayed "dhcp_relayed"
    /// DHCP messages relayed to a station.
    DhcpReplied "dhcp_replied"
    /// DHCP messages that are malformed, or that their sender may not send: a station that plays server, a reply from a
    /// host that is no server.
    DhcpRefused "dhcp_refused"
    /// Stations that are not known, let in for a while.
    StrangerAdmitted "stranger_admitted"
    /// Frames of stations that are not known, dropped.
    StrangerRefused "stranger_refused"
    /// ARP requests and neighbour solicitations at ports for addresses of shards that this gateway owns, answered.
    ShardAnswered "shard_answered"
    /// The same for addresses of other shards, for their owners to answer; and announcements of those.
    ShardNotAnswered "shard_not_answered"
    /// Announcements at ports that this gateway has the address of a shard now, sent.
    ShardAnnounced "shard_announced"
    /// Frames that no worker had room for.
    AnswerFull "answer_full"
    /// Addresses that could not be entered in the flow table.
    TableFull "table_full"
    /// Announced stations that were put behind an endpoint, new ones and moved ones.
    StationPlaced "station_placed"
    /// Announced stations and addresses that the configuration has elsewhere: not believed.
    AnnouncedConflict "announced_conflict"
    /// Announced stations and addresses that are the gateway's own, or that no station of the overlay can have: not
    /// believed.
    AnnouncedBad "announced_bad"
    /// Announced stations and addresses that the flow table had no room for: entered when there is.
    AnnouncedFull "announced_full"
    /// Announced endpoints that there was no room for, or no VTEP address of their family.
    EndpointRefused "endpoint_refused"
}

/// One writer, the slow path; many readers.
pub(crate) struct Tally([AtomicU64; Deed::ALL.len()]);

impl Tally {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn count(&self, deed: Deed) {
        self.0[deed as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, deed: Deed) -> u64 {
        self.0[deed as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::counters::Reason;

    #[test]
    fn names_are_unique_beside_those_of_reasons() {
        let reasons = Reason::ALL.iter().map(|reason| reason.name());
        let names: HashSet<_> = Deed::ALL.iter().map(|deed| deed.name()).chain(reasons).collect();
        assert_eq!(names.len(), Deed::ALL.len() + Reason::ALL.len());
        assert!(Deed::ALL.iter().all(|deed| deed.description().ends_with('.')));
    }
}
