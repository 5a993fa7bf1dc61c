//! Where the kernel would send a packet of its own.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, route::RouteType};

use super::{Netlink, NetlinkError, gateway, route_address};

/// The kernel's choice for one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WayOut {
    /// The netdev.
    pub(crate) link: Option<u32>,
    /// Its own address toward there.
    pub(crate) source: Option<IpAddr>,
    /// `None`: the destination is on the link.
    pub(crate) gateway: Option<IpAddr>,
}

impl Netlink {
    /// Looks a route up, by all of the kernel's rules.
    pub(crate) async fn way_to(&self, destination: IpAddr) -> Result<WayOut, NetlinkError> {
        let mut request = RouteMessage::default();
        let (family, length, address) = match destination {
            IpAddr::V4(v4) => (AddressFamily::Inet, 32, RouteAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(v6)),
        };
        request.header.address_family = family;
        request.header.destination_prefix_length = length;
        request.attributes.push(RouteAttribute::Destination(address));
        let what = "look up a route";
        let mut answers = self.handle.route().get(request).execute();
        let answer = answers.try_next().await.map_err(|error| NetlinkError::new(what, error))?;
        let unreachable = || NetlinkError::Refused { what, source: io::ErrorKind::NetworkUnreachable.into() };
        let message =
            answer.filter(|answer| answer.header.kind == RouteType::Unicast).ok_or_else(unreachable)?;
        let mut way = WayOut { gateway: gateway(&message.attributes), ..WayOut::default() };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => way.link = Some(*index),
                RouteAttribute::PrefSource(source) => way.source = route_address(source),
                _ => {}
            }
        }
        Ok(way)
    }
}
