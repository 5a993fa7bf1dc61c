//! The example gateway with a second port of each role, and two paths wherever there was one.

use std::sync::Arc;

use wire::MacAddr;

use super::{Harness, UNDERLAY, UPLINK, config, updates};
use crate::api::*;

pub(crate) const UNDERLAY_1: PortIndex = PortIndex(2);
pub(crate) const UPLINK_1: PortIndex = PortIndex(3);
pub(crate) const UNDERLAYS: [PortIndex; 2] = [UNDERLAY, UNDERLAY_1];
pub(crate) const UPLINKS: [PortIndex; 2] = [UPLINK, UPLINK_1];

/// A port's own address.
pub(crate) fn port_mac(port: PortIndex) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port.0 + 1])
}

/// The only neighbour at a port: a router, or a spine.
pub(crate) fn neighbour(port: PortIndex) -> NextHop {
    NextHop { port, address: [198, 18, 100 + port.0, 254].into() }
}

/// Its address.
pub(crate) fn neighbour_mac(port: PortIndex) -> MacAddr {
    MacAddr([2, 0, 0, 9, 0, port.0])
}

/// All paths by these ports.
pub(crate) fn paths(ports: &[PortIndex]) -> Paths {
    ports.iter().map(|&port| Path::via(neighbour(port))).collect()
}

/// The gateway with these paths.
pub(crate) fn gateway() -> Harness {
    let mut config = config();
    for (of, port) in [(UNDERLAY, UNDERLAY_1), (UPLINK, UPLINK_1)] {
        let like = config.ports[usize::from(of.0)].clone();
        config.ports.push(PortConfig { mac: port_mac(port), ..like });
    }
    let mut gateway = Harness::with(config);
    gateway.apply(updates().into_iter().map(|update| match update {
        Update::Routes(routes) => Update::Routes(routes.into_iter().map(doubled).collect()),
        Update::Endpoint { address, .. } => Update::Endpoint { address, paths: paths(&UNDERLAYS) },
        other => other,
    }));
    gateway.apply(
        UNDERLAYS
            .into_iter()
            .chain(UPLINKS)
            .map(|port| Update::Neighbour { next_hop: neighbour(port), mac: Some(neighbour_mac(port)) }),
    );
    gateway
}

fn doubled(route: Route) -> Route {
    let paths = match route.paths[..] {
        [Path { gateway: Some(_), .. }] => paths(&UPLINKS),
        [Path { gateway: None, .. }] => UPLINKS.map(Path::on_link).into(),
        _ => Arc::default(),
    };
    Route { paths, ..route }
}
