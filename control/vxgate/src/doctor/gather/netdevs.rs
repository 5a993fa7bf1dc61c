//! Netdevs: what rtnetlink tells of them beyond what the mirror needs, and what their drivers say.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use sys::ethtool::{Ethtool, Feature};

use super::super::machine::{Netdev, Peer};
use super::xdp_features::NetdevFamily;
use crate::mirror::kernel::Link;
use crate::numa;

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

impl Stacking {
    fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }
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
    let drivers = Drivers {
        ethtool: Ethtool::open().ok(),
        // Missing before Linux 6.3: then nobody tells.
        family: NetdevFamily::connect().ok(),
    };
    let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let stacked: HashMap<u32, &Stacking> = stacking.iter().map(|it| (it.index, it)).collect();
    let mut uppers: HashMap<u32, Vec<String>> = HashMap::new();
    for upper in stacking.iter().filter(|upper| !upper.is_veth()) {
        if let (Some((lower, true)), Some(name)) = (upper.lower, names.get(&upper.index)) {
            uppers.entry(lower).or_default().push((*name).to_owned());
        }
    }
    let netdev = |link: &Link| {
        let own = stacked.get(&link.index).copied();
        let peer = own.filter(|own| own.is_veth()).and_then(|own| own.lower).map(|(index, here)| match names
            .get(&index)
            .filter(|_| here)
        {
            Some(&name) => Peer::Here { features: drivers.features(name), name: name.into() },
            None => Peer::Elsewhere,
        });
        let controller = own.and_then(|own| names.get(&own.controller?));
        Netdev {
            kind: own.and_then(|own| own.kind.clone()),
            controller: controller.map(|name| (*name).to_owned()),
            uppers: uppers.remove(&link.index).unwrap_or_default(),
            peer,
            vxlan: own.and_then(|own| own.vxlan),
            ..drivers.netdev(link)
        }
    };
    links.iter().filter(|link| link.mac.is_some()).map(netdev).collect()
}

/// Who answers for drivers.
struct Drivers {
    ethtool: Option<Ethtool>,
    family: Option<NetdevFamily>,
}

impl Drivers {
    fn ask<T>(&self, question: impl FnOnce(&Ethtool) -> io::Result<T>) -> Option<T> {
        question(self.ethtool.as_ref()?).ok()
    }

    fn features(&self, name: &str) -> Vec<Feature> {
        self.ask(|it| it.features(name)).unwrap_or_default()
    }

    /// A netdev as its driver describes it, standing alone.
    fn netdev(&self, link: &Link) -> Netdev {
        let name = &link.name;
        let driver = self.ask(|it| it.driver(name));
        let bus = driver.as_ref().map_or("", |driver| driver.bus.as_str());
        Netdev {
            link: link.clone(),
            kind: None,
            controller: None,
            uppers: Vec::new(),
            peer: None,
            vxlan: None,
            node: numa::node_of_bus(bus),
            speed: self.ask(|it| it.speed(name)).flatten(),
            channels: self.ask(|it| it.channels(name)),
            rings: self.ask(|it| it.rings(name)),
            rss_entries: self.ask(|it| it.rss_entries(name)),
            features: self.features(name),
            xdp: self.family.as_ref().and_then(|family| family.features(link.index).ok()),
            driver,
        }
    }
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
