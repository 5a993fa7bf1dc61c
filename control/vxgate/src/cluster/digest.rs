//! What gateways of a cluster must have alike, as one SHA-256 a section: so that the section that differs can be named.
//!
//! A digest is over `vxgate settings 1`, the section's number (a byte), and its settings: numbers big endian, lists behind
//! their length (u32), addresses behind a byte that says the family (4 or 6), texts as lists of bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::session::hello::{Digest, Section};
use evpn::{RouteTarget, RouteTargets};
use graviola::hashing::{Hash, HashContext, Sha256};
use ipnet::IpNet;

use super::keys::{self, Pin};
use crate::config::{AddressRange, ClusterSettings, Mode, Settings};

const TITLE: &[u8] = b"vxgate settings 1";

/// The digests of all sections, given the pin of this gateway.
pub(super) fn sections(
    settings: &Settings,
    cluster: &ClusterSettings,
    own: Pin,
) -> BTreeMap<Section, Digest> {
    let mut sections = BTreeMap::new();
    let mut section = |section: Section, content: &dyn Fn(&mut Canon)| {
        let mut canon = Canon(Sha256::new());
        canon.0.update(TITLE);
        canon.0.update(&[section.0]);
        content(&mut canon);
        sections.insert(section, keys::digest(canon.0.finish()));
    };
    section(Section::MODE, &|canon| {
        match cluster.mode {
            Mode::Announce => {
                canon.byte(1);
                canon.number(cluster.move_limit.moves.into());
                canon.number(u32::try_from(cluster.move_limit.window.as_secs()).unwrap_or(u32::MAX));
                // Routers compare what the gateways say.
                if let Some(bgp) = &settings.bgp {
                    canon.number(bgp.ingress.med.base);
                    canon.number(bgp.ingress.med.step);
                }
            }
            Mode::Floating => canon.byte(2),
        }
    });
    section(Section::SHARDS, &|canon| {
        if let Some(floating) = &cluster.floating {
            canon.number(floating.shards.into());
            canon.list(&floating.vtep, Canon::range);
            canon.list(&floating.uplink, Canon::range);
            // Their routes are the same from all gateways.
            if let Some(bgp) = &settings.bgp {
                canon.list(&bgp.ingress.communities, |canon, &community| canon.number(community));
            }
        }
    });
    section(Section::ROUTER_MAC, &|canon| canon.0.update(&settings.router_mac.0));
    section(Section::BLOCKS, &|canon| {
        let mut blocks = settings.blocks.clone();
        blocks.sort_unstable();
        canon.list(&blocks, Canon::prefix);
    });
    section(Section::OVERLAYS, &|canon| {
        canon.list(&settings.overlays, |canon, overlay| {
            canon.number(overlay.vni.value());
            canon.number(settings.groups[overlay.group as usize].mtu.map_or(0, u32::from));
            canon.list(&overlay.subnets, |canon, subnet| {
                canon.prefix(&subnet.prefix);
                canon.address(&subnet.router);
            });
        });
    });
    section(Section::ROUTE_TARGETS, &|canon| {
        let Some(bgp) = &settings.bgp else { return };
        canon.number(bgp.local.asn);
        canon.targets(&bgp.derived);
        let explicit: BTreeMap<_, _> = bgp.explicit.iter().collect();
        let explicit: Vec<_> = explicit.into_iter().collect();
        canon.list(&explicit, |canon, (vni, targets)| {
            canon.number(vni.value());
            canon.targets(targets);
        });
    });
    section(Section::GATEWAYS, &|canon| {
        let others = cluster.gateways.iter().map(|gateway| (gateway.id, gateway.pin));
        let mut gateways: Vec<(u16, Pin)> = others.chain([(cluster.id, own)]).collect();
        gateways.sort_unstable();
        canon.list(&gateways, |canon, &(id, pin)| {
            canon.number(id.into());
            canon.0.update(&pin.0);
        });
        // With it a dead gateway leaves the list, and layouts of shards change.
        canon.byte(cluster.discover.into());
    });
    sections
}

/// Takes settings in their one form.
struct Canon(<Sha256 as Hash>::Context);

impl Canon {
    fn byte(&mut self, byte: u8) {
        self.0.update(&[byte]);
    }

    fn number(&mut self, number: u32) {
        self.0.update(&number.to_be_bytes());
    }

    fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(list.len() as u32);
        list.iter().for_each(|item| each(self, item));
    }

    fn address(&mut self, address: &IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.byte(4);
                self.0.update(&address.octets());
            }
            IpAddr::V6(address) => {
                self.byte(6);
                self.0.update(&address.octets());
            }
        }
    }

    fn prefix(&mut self, prefix: &IpNet) {
        self.address(&prefix.network());
        self.byte(prefix.prefix_len());
    }

    fn range(&mut self, range: &AddressRange) {
        self.address(&range.first);
        self.address(&range.last);
    }

    fn targets(&mut self, targets: &RouteTargets) {
        let text = |canon: &mut Self, target: &RouteTarget| {
            let text = target.to_string();
            canon.list(text.as_bytes(), |canon, &byte| canon.byte(byte));
        };
        match targets {
            RouteTargets::Frr => self.byte(1),
            RouteTargets::Rfc8365 => self.byte(2),
            RouteTargets::Explicit { import, export } => {
                self.byte(3);
                self.list(import, text);
                self.list(export, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
[gateway]
router-mac = "02:00:5e:00:00:01"
blocks = ["10.0.0.0/8", "fd00::/16"]

[[port]]
interface = "underlay0"
role = "underlay"
addresses = ["198.18.0.1"]

[[port]]
interface = "uplink0"
role = "uplink"

[[overlay-block]]
vnis = "1-2"
ipv4 = { range = "10.0.0.0/22", length = 24 }

[cluster]
number = 7
id = 1
mode = "floating"
key = "cluster.key"
certificate = "cluster.crt"

[[cluster.gateway]]
id = 2
session = "198.18.0.2"
pin = "sha256:0202020202020202020202020202020202020202020202020202020202020202"

[cluster.floating]
shards = 2
vtep = ["198.18.1.0/31"]
uplink = ["198.19.1.0/31"]
"#;

    fn of(text: &str, own: u8) -> BTreeMap<Section, Digest> {
        let settings = Settings::parse(Path::new("gw.toml"), text).unwrap();
        sections(&settings, settings.cluster.as_ref().unwrap(), Pin([own; 32]))
    }

    /// The sections that are not alike.
    fn between(one: &str, other: &str) -> Vec<Section> {
        assert_ne!(one, other, "nothing was replaced");
        let (one, other) = (of(one, 1), of(other, 1));
        one.keys().filter(|section| one[section] != other[section]).copied().collect()
    }

    fn changed(text: &str) -> Vec<Section> {
        between(TEXT, text)
    }

    /// Worked out by another program (Python's hashlib) from the description above.
    #[test]
    fn the_encoding_is_fixed() {
        let digests = of(TEXT, 1);
        let hex = |section: Section| Pin(digests[&section]).to_string();
        let expected = GOLDEN;
        for (section, digest) in expected {
            assert_eq!(hex(section), format!("sha256:{digest}"), "{section}");
        }
        assert_eq!(digests.len(), expected.len());
    }

    #[test]
    fn only_what_must_agree_counts_and_the_section_is_named() {
        let with = |old: &str, new: &str| changed(&TEXT.replacen(old, new, 1));
        assert_eq!(with("shards = 2", "shards = 1"), [Section::SHARDS]);
        assert_eq!(with("198.19.1.0/31", "198.19.1.0-198.19.1.2"), [Section::SHARDS]);
        assert_eq!(with("5e:00:00:01", "5e:00:00:02"), [Section::ROUTER_MAC]);
        assert_eq!(with(", \"fd00::/16\"", ""), [Section::BLOCKS]);
        assert_eq!(with("\"1-2\"", "\"1-3\""), [Section::OVERLAYS]);
        assert_eq!(with("length = 24 }", "length = 24 }\nmtu = 1400"), [Section::OVERLAYS]);
        assert_eq!(with("0202020", "0202021"), [Section::GATEWAYS]);
        let announce = &TEXT[..TEXT.find("[cluster.floating]").unwrap()].replace("floating", "announce");
        assert_eq!(changed(announce), [Section::MODE, Section::SHARDS]);
        let bgp = "[[bgp.peer]]\naddress = \"198.18.0.9\"\nremote-asn = 65000\n";
        let bgp = format!("{TEXT}\n[bgp]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n{bgp}");
        assert_eq!(changed(&bgp), [Section::SHARDS, Section::ROUTE_TARGETS]);
        let communities =
            bgp.replace("[[bgp.peer]]", "ingress = { communities = [\"65000:7\"] }\n[[bgp.peer]]");
        assert_eq!(between(&bgp, &communities), [Section::SHARDS]);
        // Each of these counts in mode `announce` alone, or with BGP.
        let discover = bgp.replace("mode = ", "discover = true\nmode = ");
        assert_eq!(between(&bgp, &discover), [Section::GATEWAYS]);
        let start = bgp.find("[cluster.floating]").unwrap();
        let end = bgp.find("[bgp]").unwrap();
        let announce = format!("{}{}", &bgp[..start].replace("floating", "announce"), &bgp[end..]);
        let limit = announce.replace("mode = ", "move-limit = { moves = 6, window = 180 }\nmode = ");
        assert_eq!(between(&announce, &limit), [Section::MODE]);
        let med = announce.replace("[[bgp.peer]]", "ingress = { med = { base = 7 } }\n[[bgp.peer]]");
        assert_eq!(between(&announce, &med), [Section::MODE]);
        let none: [Section; 0] = [];
        assert_eq!(with("[\"10.0.0.0/8\", \"fd00::/16\"]", "[\"fd00::/16\", \"10.0.0.0/8\"]"), none);
        assert_eq!(with("mode = ", "weight = 7\nmode = "), none);
        assert_eq!(with("[\"198.18.0.1\"]", "[\"198.18.0.3\"]"), none);
        // The other gateway's own view.
        let other = TEXT.replace("id = 1", "id = 9").replace("id = 2", "id = 1").replace("id = 9", "id = 2");
        let other = other.replace("0202020202020202", "0101010101010101");
        assert_eq!(of(&other, 2), of(TEXT, 1));
    }

    const GOLDEN: [(Section, &str); 7] = [
        (Section::MODE, "1ce59b24f7b34d99d86d63f5d2c3b130dbab28b79f6fff2c10743b0aadffa4f4"),
        (Section::SHARDS, "af1c40cc6408b67644d802629f1f86bdb33766afe06e88ae2a5860e929efd6b2"),
        (Section::ROUTER_MAC, "2887cad1829a6fd209ca157ee302a44818677f2d9c5a7f23030cb3040a5db291"),
        (Section::BLOCKS, "be2cca89e16a67eccaee4300d90e71d9ef46f32206f5138ee2390c069b0a6c31"),
        (Section::OVERLAYS, "153e277686b9df438ce3fbb8d72e36b563e2da1f73136e2a4d70e246b64f1a27"),
        (Section::ROUTE_TARGETS, "23f0e3df86e52882ea1440ef5706cff6a3e62672b5440f13bb5f672f8f2822b8"),
        (Section::GATEWAYS, "4a4d116d9b4599d7cef5c91cba65f65a566ab50a412c12bb21361a2e6683d13d"),
    ];
}
