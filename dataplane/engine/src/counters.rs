//! What happened to every frame, by name.
//!
//! Each frame that a worker receives ends in exactly one of these counters. A counter has one writer, its worker;
//! readers add up the workers.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::PuntClass;
use crate::pipeline::Forwarded;
use crate::tables::OverlayIndex;

/// What became of the frames that a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Sent on.
    Forwarded,
    /// Given to the slow path, which answers, asks or drops.
    Punted,
    /// Dropped.
    Dropped,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $outcome:ident $name:literal)+) => {
        /// How the way of a frame ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// All reasons, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name of the counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the reason means, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }

            /// What became of the frame.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)+ }
            }
        }
    };
}

reasons! {
    /// Decapsulated and routed to the outer network.
    Egress Forwarded "egress"
    /// The same, from a station behind another endpoint than the one that it is known behind.
    EgressElsewhere Forwarded "egress_elsewhere"
    /// The same, though another gateway is the overlay's owner: on its way while that changed.
    EgressForOwner Forwarded "egress_for_owner"
    /// Routed into an overlay and encapsulated.
    Ingress Forwarded "ingress"
    /// The same, though another gateway is the overlay's owner.
    IngressForOwner Forwarded "ingress_for_owner"
    /// From an overlay into another, or back into the same, as rules allow.
    Across Forwarded "across"
    /// A frame of the slow path, sent: an answer, a question, or a packet that waited for its neighbour.
    SlowPath Forwarded "slow_path"

    /// ARP in an overlay.
    Arp Punted "arp"
    /// Neighbour discovery in an overlay.
    Ndp Punted "ndp"
    /// For the router itself.
    ToRouter Punted "to_router"
    /// DHCP of a station that has no address yet.
    Dhcp Punted "dhcp"
    /// ARP or neighbour solicitation on the link of a port, for an address of a shard.
    ShardQuestion Punted "shard_question"
    /// For a neighbour on the uplink that is being asked for its MAC address: a few packets wait for it.
    Resolving Punted "resolving"
    /// For an address of an overlay that no station is known to have: a few packets wait while it is asked for.
    Unresolved Punted "unresolved"
    /// From a MAC address that is no station of the overlay: it may be let in for a while.
    UnknownStation Punted "unknown_station"
    /// IPv4, longer than the MTU of the way out, and to be cut.
    Fragmented Punted "fragmented"

    /// Received or to be sent before a time in which this worker did not run, and in which another gateway may have taken over.
    Stale Dropped "stale"
    /// Shorter than its headers, or than they say.
    Truncated Dropped "truncated"
    /// A header that its protocol does not allow.
    Malformed Dropped "malformed"
    /// An IPv4 header checksum that is wrong.
    BadChecksum Dropped "bad_checksum"
    /// Neither IPv4 nor IPv6 nor ARP.
    UnknownEtherType Dropped "unknown_ethertype"
    /// A VLAN tag other than VID 0 on a port.
    Vlan Dropped "vlan"
    /// Not for the MAC address of the port.
    ForeignMac Dropped "foreign_mac"

    /// Not VXLAN to one of our VTEP addresses.
    NotVxlan Dropped "not_vxlan"
    /// A fragment of an outer packet.
    OuterFragment Dropped "outer_fragment"
    /// A VXLAN header without the I flag, or with VNI 0.
    NoVni Dropped "no_vni"
    /// A VNI that no overlay has.
    UnknownVni Dropped "unknown_vni"
    /// The sender is no endpoint of any overlay.
    UnknownEndpoint Dropped "unknown_endpoint"
    /// The sender is an endpoint, but not of this overlay.
    ForeignEndpoint Dropped "foreign_endpoint"
    /// An inner VLAN tag other than VID 0 (RFC 7348 section 6.1).
    InnerVlan Dropped "inner_vlan"
    /// VXLAN to the VTEP address of another shard than that of its overlay.
    ForeignVtep Dropped "foreign_vtep"
    /// For the shared MAC address of an overlay that another gateway owns, and has too: all gateways get what is flooded.
    NotOwner Dropped "not_owner"
    /// An inner frame that is not for the router: flooded, or for another station.
    NotForRouter Dropped "not_for_router"
    /// An inner source MAC that cannot be a station's: group, zero, or the router's own.
    BadSourceMac Dropped "bad_source_mac"
    /// A station behind another endpoint than the one that it is known behind, where admission is strict.
    WrongEndpoint Dropped "wrong_endpoint"
    /// A source address outside the overlay's subnets, or the router's own.
    SpoofedSource Dropped "spoofed_source"
    /// A link-local or unspecified source or destination: never leaves its overlay.
    LinkLocal Dropped "link_local"

    /// A multicast, broadcast, loopback or reserved destination.
    BadDestination Dropped "bad_destination"
    /// A station to an address of the host itself.
    ToHost Dropped "to_host"
    /// A station to another overlay, and no rule allows it.
    BetweenOverlays Dropped "between_overlays"
    /// Rejected by a rule.
    RuleReject Dropped "rule_reject"
    /// Dropped by a rule.
    RuleDrop Dropped "rule_drop"
    /// Over the overlay's rate limit.
    OverLimit Dropped "over_limit"
    /// Congestion was met in the underlay by a packet that cannot tell of it (RFC 6040 section 4.2).
    Congestion Dropped "congestion"
    /// TTL or hop limit used up.
    TtlExceeded Dropped "ttl_exceeded"
    /// IPv4 with a source route (RFC 7126 section 4.3 and 4.4).
    SourceRoute Dropped "source_route"
    /// No route to the destination, or one that leads elsewhere than the uplink.
    NoRoute Dropped "no_route"
    /// The MAC address of the next hop is not known.
    NoNeighbour Dropped "no_neighbour"
    /// Longer than the MTU of the way out.
    TooBig Dropped "too_big"

    /// From the uplink, with a source inside the overlay blocks.
    OverlaySource Dropped "overlay_source"
    /// From the uplink, with a source that no host has.
    MartianSource Dropped "martian_source"
    /// From the uplink, for an address in no overlay.
    NoOverlay Dropped "no_overlay"
    /// To the network or broadcast address of a subnet (RFC 2644).
    DirectedBroadcast Dropped "directed_broadcast"

    /// The port that it should leave by has its budget of frames in flight.
    TransmitFull Dropped "transmit_full"
    /// Over the limits of what the slow path is given.
    Policed Dropped "policed"
    /// The queue to the slow path is full.
    PuntFull Dropped "punt_full"
    /// No frame was free for one of the slow path.
    NoFrame Dropped "no_frame"
}

/// A counter's value over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// How the way of these frames ended.
    pub reason: Reason,
    /// What became of them.
    pub outcome: Outcome,
    /// How many there were since the start.
    pub value: u64,
}

/// Packets and bytes of one port, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames that came in.
    pub rx_packets: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames given to the port to send.
    pub tx_packets: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
}

/// Packets and bytes of one overlay, each way; what comes across from an overlay counts where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverlayTraffic {
    /// Packets out of the overlay.
    pub egress_packets: u64,
    /// Bytes of those IP packets.
    pub egress_bytes: u64,
    /// Packets into the overlay.
    pub ingress_packets: u64,
    /// Bytes of those IP packets.
    pub ingress_bytes: u64,
}

macro_rules! sum {
    ($name:ident { $($field:ident),+ }) => {
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
                parts.fold(Self::default(), |sum, part| Self { $($field: sum.$field + part.$field),+ })
            }
        }
    };
}

sum!(Traffic { rx_packets, rx_bytes, tx_packets, tx_bytes });
sum!(OverlayTraffic { egress_packets, egress_bytes, ingress_packets, ingress_bytes });

/// A counter that only one thread writes: no locked instruction is needed.
#[derive(Default)]
struct SingleWriter(AtomicU64);

impl SingleWriter {
    #[inline]
    fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one worker, on cache lines of their own.
#[repr(align(128))]
pub(crate) struct Counters {
    reasons: [SingleWriter; Reason::ALL.len()],
    /// Handed to the slow path, and not, by class.
    punts: [[SingleWriter; 2]; PuntClass::ALL.len()],
    /// Frames that the slow path gave back to be looked at again: received once, counted twice.
    again: SingleWriter,
    /// Rounds of the worker, and its sleeps.
    activity: [SingleWriter; 2],
    ports: Box<[[SingleWriter; 4]]>,
    /// Half a cache line each.
    overlays: Box<[OverlayCells]>,
}

#[repr(align(32))]
#[derive(Default)]
struct OverlayCells([SingleWriter; 4]);

impl Counters {
    pub(crate) fn new(ports: usize, overlays: usize) -> Self {
        Self {
            reasons: std::array::from_fn(|_| SingleWriter::default()),
            punts: Default::default(),
            again: SingleWriter::default(),
            activity: Default::default(),
            ports: (0..ports).map(|_| Default::default()).collect(),
            overlays: (0..overlays).map(|_| Default::default()).collect(),
        }
    }

    #[inline]
    pub(crate) fn count(&self, reason: Reason) {
        self.reasons[reason as usize].add(1);
    }

    /// Counts a frame for the slow path, which got it or did not.
    pub(crate) fn punted(&self, class: PuntClass, handed_over: bool) {
        self.punts[class as usize][usize::from(!handed_over)].add(1);
    }

    /// Counts a frame that the slow path gave back.
    pub(crate) fn again(&self) {
        self.again.add(1);
    }

    /// Counts a look at the ports.
    #[inline]
    pub(crate) fn looked(&self) {
        self.activity[0].add(1);
    }

    /// Counts a sleep.
    pub(crate) fn slept(&self) {
        self.activity[1].add(1);
    }

    /// How often the worker has looked at its ports, and slept.
    pub(crate) fn activity(&self) -> (u64, u64) {
        (self.activity[0].read(), self.activity[1].read())
    }

    /// What was handed over and what was not, by class.
    pub(crate) fn punts(&self) -> [[u64; 2]; PuntClass::ALL.len()] {
        self.punts.each_ref().map(|cells| cells.each_ref().map(SingleWriter::read))
    }

    /// How many frames were given back.
    pub(crate) fn given_back(&self) -> u64 {
        self.again.read()
    }

    /// Hints that a frame of the overlay will be counted.
    #[inline]
    pub(crate) fn prefetch_overlay(&self, overlay: OverlayIndex) {
        sys::prefetch::read_at(&self.overlays, overlay.0 as usize);
    }

    /// Counts a frame that was forwarded.
    #[inline]
    pub(crate) fn forwarded(&self, frame: &Forwarded) {
        self.count(frame.reason);
        if let Some(OverlayCells(cells)) = self.overlays.get(frame.overlay.0 as usize) {
            let first = if matches!(
                frame.reason,
                Reason::Egress | Reason::EgressElsewhere | Reason::EgressForOwner
            ) {
                0
            } else {
                2
            };
            cells[first].add(1);
            cells[first + 1].add(frame.bytes.into());
        }
    }

    pub(crate) fn overlay(&self, overlay: usize) -> OverlayTraffic {
        let Some(OverlayCells([egress_packets, egress_bytes, ingress_packets, ingress_bytes])) =
            self.overlays.get(overlay)
        else {
            return OverlayTraffic::default();
        };
        OverlayTraffic {
            egress_packets: egress_packets.read(),
            egress_bytes: egress_bytes.read(),
            ingress_packets: ingress_packets.read(),
            ingress_bytes: ingress_bytes.read(),
        }
    }

    #[inline]
    pub(crate) fn received(&self, port: usize, packets: u64, bytes: u64) {
        self.ports[port][0].add(packets);
        self.ports[port][1].add(bytes);
    }

    #[inline]
    pub(crate) fn sent(&self, port: usize, bytes: u64) {
        self.ports[port][2].add(1);
        self.ports[port][3].add(bytes);
    }

    /// Each reason once.
    pub(crate) fn all(&self) -> Vec<Counter> {
        let counter = |reason: &Reason| Counter {
            reason: *reason,
            outcome: reason.outcome(),
            value: self.reason(*reason),
        };
        Reason::ALL.iter().map(counter).collect()
    }

    pub(crate) fn reason(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].read()
    }

    pub(crate) fn traffic(&self, port: usize) -> Traffic {
        let [rx_packets, rx_bytes, tx_packets, tx_bytes] = &self.ports[port];
        Traffic {
            rx_packets: rx_packets.read(),
            rx_bytes: rx_bytes.read(),
            tx_packets: tx_packets.read(),
            tx_bytes: tx_bytes.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.description().ends_with('.')));
    }
}
