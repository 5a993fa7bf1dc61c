//! Netdevs: what rtnetlink tells of them beyond what the mirror needs, and what their drivers say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use sys::ethtool::Ethtool;

use super::super::machine::{Netdev, Peer};
use super::host::number;
use super::xdp_features::NetdevFamily;
use crate::mirror::kernel::Link;

/// What netlink tells of how netdevs are stacked.
#[derive(Debug, Default)]
pub(super) struct Stacking {
    index: u32,
    kind: Option<String>,
    controller: Option<u32>,
    /// The netdev below, or the other end of a veth, and whether it is in this network namespace.
    lower: Option<(u32, bool)>,
    vxlan: Option<(IpAddr, u16)>,
}

pub(super) fn stacking(message: &LinkMessage) -> Stacking {
    let mut stacking = Stacking { index: message.header.index, ..Stacking::default() };
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Controller(index) => stacking.controller = Some(*index),
            LinkAttribute::Link(index) => stacking.lower = Some((*index, true)),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => stacking.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Vxlan(infos)) => stacking.vxlan = Some(vxlan(infos)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if let Some((_, here)) = &mut stacking.lower {
        *here = !elsewhere;
    }
    stacking
}

/// Local address and port.
fn vxlan(infos: &[InfoVxlan]) -> (IpAddr, u16) {
    let (mut local, mut port, mut ipv6) = (None, 0, false);
    for info in infos {
        match info {
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            InfoVxlan::Group6(_) => ipv6 = true,
            InfoVxlan::Port(number) => port = *number,
            _ => {}
        }
    }
    let any = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    (local.unwrap_or(any), port)
}

/// Completes the Ethernet netdevs with all that can be asked.
pub(super) fn netdevs(links: &[Link], stacking: &[Stacking]) -> Vec<Netdev> {
    let ethtool = Ethtool::open().ok();
    // Missing before Linux 6.3: then nobody tells.
    let family = NetdevFamily::connect().ok();
    let name_of = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let features = |name: &str| ethtool.as_ref().and_then(|it| it.features(name).ok()).unwrap_or_default();
    let netdev = |link: &Link| {
        let own = stacking.iter().find(|stacking| stacking.index == link.index);
        let kind = own.and_then(|own| own.kind.clone());
        let is_veth = kind.as_deref() == Some("veth");
        let peer = own.and_then(|own| own.lower).filter(|_| is_veth).map(|(index, here)| {
            match name_of(index).filter(|_| here) {
                Some(name) => Peer::Here { features: features(&name), name },
                None => Peer::Elsewhere,
            }
        });
        let uppers = stacking
            .iter()
            .filter(|upper| upper.lower == Some((link.index, true)) && upper.kind.as_deref() != Some("veth"))
            .filter_map(|upper| name_of(upper.index))
            .collect();
        let driver = ethtool.as_ref().and_then(|it| it.driver(&link.name).ok());
        Netdev {
            // By the bus and not by /sys/class/net, which shows another network namespace sometimes.
            node: driver
                .as_ref()
                .filter(|driver| !driver.bus.is_empty() && !driver.bus.contains('/'))
                .and_then(|driver| number(format!("/sys/bus/pci/devices/{}/numa_node", driver.bus))),
            driver,
            kind,
            controller: own.and_then(|own| own.controller).and_then(name_of),
            uppers,
            peer,
            vxlan: own.and_then(|own| own.vxlan),
            speed: ethtool.as_ref().and_then(|it| it.speed(&link.name).ok()?),
            channels: ethtool.as_ref().and_then(|it| it.channels(&link.name).ok()),
            rings: ethtool.as_ref().and_then(|it| it.rings(&link.name).ok()),
            rss_entries: ethtool.as_ref().and_then(|it| it.rss_entries(&link.name).ok()),
            features: features(&link.name),
            xdp: family.as_ref().and_then(|family| family.features(link.index).ok()),
            link: link.clone(),
        }
    };
    links.iter().filter(|link| link.mac.is_some()).map(netdev).collect()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_veth_whose_peer_is_elsewhere() {
        let infos = vec![LinkInfo::Kind(InfoKind::Veth)];
        let attributes = |more: &[LinkAttribute]| {
            [&[LinkAttribute::LinkInfo(infos.clone()), LinkAttribute::Link(3)], more].concat()
        };
        let here = stacking(&message(attributes(&[])));
        assert_eq!((here.kind.as_deref(), here.lower), (Some("veth"), Some((3, true))));
        let elsewhere = stacking(&message(attributes(&[LinkAttribute::LinkNetNsId(0)])));
        assert_eq!(elsewhere.lower, Some((3, false)), "3 is the number of another netdev here");
    }

    #[test]
    fn vxlan_devices_have_a_local_address_or_any() {
        let of = |infos: &[InfoVxlan]| vxlan(infos);
        let local = "198.18.0.1".parse().unwrap();
        let expected = (IpAddr::V4(local), 4789);
        assert_eq!(of(&[InfoVxlan::Port(4789), InfoVxlan::Local(local)]), expected);
        assert_eq!(of(&[InfoVxlan::Port(8472)]), ("0.0.0.0".parse().unwrap(), 8472));
        let group = "ff05::1".parse().unwrap();
        assert_eq!(of(&[InfoVxlan::Group6(group), InfoVxlan::Port(4789)]).0, "::".parse::<IpAddr>().unwrap());
    }
}
