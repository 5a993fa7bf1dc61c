//! OSPF around gateways.

use lab::{Cluster, Family, Topology};

/// A gateway's or the router's identifier.
pub(crate) fn id(number: u8) -> String {
    Topology::UPLINK.address(Family::V4, number).to_string()
}

/// OSPF for both families on the router's side of the uplink.
pub(crate) fn configure_router(cluster: &mut Cluster) {
    let id = id(Topology::ROUTER);
    let timers = |protocol: &str| {
        format!(" {protocol} area 0\n {protocol} hello-interval 1\n {protocol} dead-interval 3\nexit\n")
    };
    // The router has addresses of two subnets there, and the gateways of one.
    let v4 = Topology::UPLINK.address(Family::V4, 0);
    let ospfd = format!(
        "interface uplink\n ip ospf hello-interval 1\n ip ospf dead-interval 3\nexit\n\
         router ospf\n ospf router-id {id}\n network {v4}/24 area 0\nexit\n"
    );
    let ospf6d =
        format!("interface uplink\n{}router ospf6\n ospf6 router-id {id}\nexit\n", timers("ipv6 ospf6"));
    cluster.upstream.add("ospfd", &ospfd).unwrap();
    cluster.upstream.add("ospf6d", &ospf6d).unwrap();
}
