//! Configurations of the FRR daemons around a cluster.

use std::net::IpAddr;
use std::time::Duration;

use super::Cluster;
use crate::error::Result;
use crate::frr::Frr;
use crate::namespace::Namespace;
use crate::topology::{Family, Topology};

/// Starts bgpd, and bfdd if peers' deaths are to be noticed by BFD: the peer group `c` of `bgpd`.
fn start(namespace: &Namespace, bgpd: &str, bfd: Option<Duration>) -> Result<Frr> {
    let Some(interval) = bfd else { return Frr::start(namespace, bgpd) };
    let ms = interval.as_millis();
    let profile = format!(
        "bfd\n profile lab\n  detect-multiplier 3\n  transmit-interval {ms}\n  receive-interval {ms}\n exit\nexit\n"
    );
    let bgpd = bgpd.replace(
        " neighbor c timers 1 3\n",
        " neighbor c timers 1 3\n neighbor c bfd\n neighbor c bfd profile lab\n",
    );
    Frr::start_daemons(namespace, &[("bfdd", &profile), ("bgpd", &bgpd)])
}

/// A route reflector for whoever connects on the underlay.
pub(super) fn reflector(namespace: &Namespace, bfd: Option<Duration>) -> Result<Frr> {
    let own = underlay(Cluster::REFLECTOR);
    let config = format!(
        "router bgp {asn}\n bgp router-id {own}\n bgp cluster-id {own}\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as {asn}\n neighbor c timers 1 3\n neighbor c timers connect 1\n \
         bgp listen range {v4}/24 peer-group c\n bgp listen range {v6}/64 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n",
        asn = Cluster::ASN,
        v4 = Topology::UNDERLAY.address(Family::V4, 0),
        v6 = Topology::UNDERLAY.address(Family::V6, 0),
    );
    start(namespace, &config, bfd)
}

/// The router on the uplink: unicast of both families with whoever connects from the cluster's AS.
pub(super) fn upstream(namespace: &Namespace, bfd: Option<Duration>) -> Result<Frr> {
    let config = format!(
        "router bgp {own_asn}\n bgp router-id {id}\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n \
         neighbor c peer-group\n neighbor c remote-as {asn}\n neighbor c timers 1 3\n neighbor c timers connect 1\n \
         bgp listen range {v4}/24 peer-group c\n bgp listen range {v6}/64 peer-group c\n \
         address-family ipv4 unicast\n  neighbor c activate\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor c activate\n exit-address-family\n",
        own_asn = Cluster::UPSTREAM_ASN,
        asn = Cluster::ASN,
        id = Topology::UPLINK.address(Family::V4, Topology::ROUTER),
        v4 = Topology::UPLINK.address(Family::V4, 0),
        v6 = Topology::UPLINK.address(Family::V6, 0),
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

fn underlay(number: u8) -> IpAddr {
    Topology::UNDERLAY.address(Family::V4, number)
}
