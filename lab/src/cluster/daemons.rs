//! Configurations of the FRR daemons around a cluster.

use std::net::IpAddr;
use std::time::Duration;

use super::Cluster;
use crate::error::Result;
use crate::frr::Frr;
use crate::namespace::Namespace;
use crate::topology::{Family, Subnets, Topology};

/// A route reflector for whoever connects on the underlay.
pub(super) fn reflector(namespace: &Namespace, bfd: Option<Duration>) -> Result<Frr> {
    let config = format!(
        "router bgp {asn}\n bgp router-id {own}\n bgp cluster-id {own}\n no bgp default ipv4-unicast\n{peers} \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n",
        asn = Cluster::ASN,
        own = underlay(Cluster::REFLECTOR),
        peers = peers(Topology::UNDERLAY, bfd),
    );
    start(namespace, &config, bfd)
}

/// The router on the uplink: unicast of both families with whoever connects from the cluster's AS.
pub(super) fn upstream(namespace: &Namespace, bfd: Option<Duration>) -> Result<Frr> {
    let config = format!(
        "router bgp {asn}\n bgp router-id {own}\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n{peers} \
         address-family ipv4 unicast\n  neighbor c activate\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor c activate\n exit-address-family\n",
        asn = Cluster::UPSTREAM_ASN,
        own = Topology::UPLINK.address(Family::V4, Topology::ROUTER),
        peers = peers(Topology::UPLINK, bfd),
    );
    start(namespace, &config, bfd)
}

/// The endpoint's daemon: it tells the kernel what the reflector says, and the reflector of the kernel's stations.
pub(super) fn endpoint(namespace: &Namespace) -> Result<Frr> {
    let (own, peer) = (underlay(Cluster::ENDPOINT), underlay(Cluster::REFLECTOR));
    let config = format!(
        "router bgp {asn}\n bgp router-id {own}\n no bgp default ipv4-unicast\n neighbor {peer} remote-as {asn}\n \
         neighbor {peer} timers 1 3\n neighbor {peer} timers connect 1\n address-family l2vpn evpn\n  \
         neighbor {peer} activate\n  advertise-all-vni\n exit-address-family\n",
        asn = Cluster::ASN,
    );
    Frr::start(namespace, &config)
}

/// The peer group `c`: whoever connects from these subnets and is of the cluster's AS.
fn peers(subnets: Subnets, bfd: Option<Duration>) -> String {
    let bfd = bfd.map_or("", |_| " neighbor c bfd\n neighbor c bfd profile lab\n");
    let [v4, v6] = subnets.both(0);
    format!(
        " neighbor c peer-group\n neighbor c remote-as {}\n neighbor c timers 1 3\n neighbor c timers connect 1\n{bfd} \
         bgp listen range {v4}/24 peer-group c\n bgp listen range {v6}/64 peer-group c\n",
        Cluster::ASN
    )
}

/// Starts bgpd, and bfdd if peers' deaths are to be noticed by BFD.
fn start(namespace: &Namespace, bgpd: &str, bfd: Option<Duration>) -> Result<Frr> {
    let Some(interval) = bfd else { return Frr::start(namespace, bgpd) };
    let ms = interval.as_millis();
    let bfdd = format!(
        "bfd\n profile lab\n  detect-multiplier 3\n  transmit-interval {ms}\n  receive-interval {ms}\n exit\nexit\n"
    );
    Frr::start_daemons(namespace, &[("bfdd", &bfdd), ("bgpd", bgpd)])
}

fn underlay(number: u8) -> IpAddr {
    Topology::UNDERLAY.address(Family::V4, number)
}
