//! Random announcements, against a model that knows them all.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wire::Vni;

use super::*;
use crate::tables::flow::FlowKey;
use crate::tables::{OverlayIndex, Writer};

const ENDPOINTS: [&str; 5] = [ENDPOINT_V4, ENDPOINT_V6, "198.18.0.13", "198.18.0.14", "2001:db8:0:1::15"];

fn any_announcement() -> impl Strategy<Value = Announcement> {
    // The configured station of overlay 100 is among them, and its address.
    let mac =
        || prop_oneof![1 => Just(STATION_MAC), 4 => (0..4_u8).prop_map(|n| MacAddr([2, 0, 0, 0, 9, n]))];
    let vni = || prop_oneof![Just(100), Just(200)].prop_map(|vni| Vni::new(vni).unwrap());
    let endpoint = || (0..ENDPOINTS.len()).prop_map(|n| address(ENDPOINTS[n]));
    let ip = || {
        (0..5_u8, 0..3).prop_map(|(n, kind)| match kind {
            0 => IpAddr::from([10, 0, 1, 10 + n]),
            1 => IpAddr::from([10, 0, 2, 10 + n]),
            _ => format!("fe80::{n}").parse().unwrap(),
        })
    };
    prop_oneof![
        4 => (vni(), mac(), endpoint())
            .prop_map(|(vni, mac, endpoint)| Announcement::Station { vni, mac, endpoint }),
        1 => (vni(), mac()).prop_map(|(vni, mac)| Announcement::StationGone { vni, mac }),
        6 => (vni(), mac(), ip()).prop_map(|(vni, mac, address)| Announcement::Address { vni, mac, address }),
        2 => (vni(), mac(), ip()).prop_map(|(vni, mac, address)| Announcement::AddressGone { vni, mac, address }),
        2 => (vni(), endpoint()).prop_map(|(vni, endpoint)| Announcement::Member { vni, endpoint }),
        2 => (vni(), endpoint()).prop_map(|(vni, endpoint)| Announcement::MemberGone { vni, endpoint }),
    ]
}

type Key = (Vni, MacAddr);

#[derive(Default)]
struct Model {
    configured: BTreeMap<Key, IpAddr>,
    configured_addresses: BTreeMap<(Vni, IpAddr), MacAddr>,
    /// Announced ones that are not configured, and where.
    stations: BTreeMap<Key, IpAddr>,
    /// Those of all that were announced, in this order.
    addresses: Vec<(Vni, IpAddr, MacAddr)>,
    announced: std::collections::BTreeSet<Key>,
    members: std::collections::BTreeSet<(Vni, IpAddr)>,
    configured_members: std::collections::BTreeSet<(Vni, IpAddr)>,
}

impl Model {
    fn new(config: &Config) -> Self {
        let mut model = Self::default();
        for station in &config.stations {
            model.configured.insert((station.vni, station.mac), station.endpoint);
            for &address in &station.addresses {
                model.configured_addresses.insert((station.vni, address), station.mac);
            }
        }
        for overlay in &config.overlays {
            model.configured_members.extend(overlay.endpoints.iter().map(|&at| (overlay.vni, at)));
        }
        model
    }

    fn apply(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Station { vni, mac, endpoint } => {
                self.announced.insert((vni, mac));
                if !self.configured.contains_key(&(vni, mac)) {
                    self.stations.insert((vni, mac), endpoint);
                }
            }
            Announcement::StationGone { vni, mac } => {
                self.announced.remove(&(vni, mac));
                self.stations.remove(&(vni, mac));
                self.addresses.retain(|(at, _, of)| (*at, *of) != (vni, mac));
            }
            Announcement::Address { vni, mac, address } => {
                let subnet = [("10.0.1.", 100), ("10.0.2.", 200)]
                    .into_iter()
                    .find(|(prefix, _)| address.to_string().starts_with(prefix));
                let fits = subnet.is_none_or(|(_, of)| of == vni.value());
                let free = !self.configured_addresses.contains_key(&(vni, address));
                let is_new = !self.addresses.contains(&(vni, address, mac));
                if fits && free && is_new && self.announced.contains(&(vni, mac)) {
                    self.addresses.push((vni, address, mac));
                }
            }
            Announcement::AddressGone { vni, mac, address } => {
                self.addresses.retain(|entry| *entry != (vni, address, mac));
            }
            Announcement::Member { vni, endpoint } => _ = self.members.insert((vni, endpoint)),
            Announcement::MemberGone { vni, endpoint } => _ = self.members.remove(&(vni, endpoint)),
        }
    }

    fn place(&self, key: Key) -> Option<IpAddr> {
        self.configured.get(&key).or_else(|| self.stations.get(&key)).copied()
    }

    /// The tables must say the same.
    fn check(&self, writer: &Writer) -> Result<(), TestCaseError> {
        let tables = writer.current();
        let place = |key| {
            let flow = writer.flow(key)?;
            Some((tables.endpoints.get(flow.endpoint).address, flow.mac, flow.vni))
        };
        for (index, overlay) in (0..).zip(tables.overlays.iter()) {
            let vni = overlay.vni;
            let macs = (0..4).map(|n| MacAddr([2, 0, 0, 0, 9, n])).chain([STATION_MAC, OTHER_STATION_MAC]);
            for mac in macs {
                let expected = self.place((vni, mac)).map(|endpoint| (endpoint, mac, vni));
                prop_assert_eq!(place(FlowKey::mac(vni, mac)), expected);
            }
            let ips = (0..5_u8).flat_map(|n| {
                let subnet = if vni.value() == 100 { 1 } else { 2 };
                [IpAddr::from([10, 0, subnet, 10 + n]), format!("fe80::{n}").parse().unwrap()]
            });
            for ip in ips {
                let announced = self.addresses.iter().rev().find(|(at, own, _)| (*at, *own) == (vni, ip));
                let holder = self.configured_addresses.get(&(vni, ip)).copied();
                let expected = holder.or(announced.map(|(.., mac)| *mac)).and_then(|mac| {
                    let endpoint = self.place((vni, mac))?;
                    Some((endpoint, mac, vni))
                });
                prop_assert_eq!(place(FlowKey::address(vni, ip)), expected, "{} in {}", ip, vni);
            }
            for endpoint in ENDPOINTS.map(address) {
                let member = (vni, endpoint);
                let expected = self.members.contains(&member) || self.configured_members.contains(&member);
                prop_assert_eq!(tables.admits(OverlayIndex(index), endpoint), expected);
            }
        }
        // Endpoints are there as long as something leads to them.
        for endpoint in ENDPOINTS.map(address) {
            let in_use = self.stations.values().any(|at| *at == endpoint)
                || self.members.iter().chain(&self.configured_members).any(|(_, at)| *at == endpoint);
            prop_assert_eq!(tables.endpoints.index_of(endpoint).is_some(), in_use, "{}", endpoint);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_follow_what_is_announced(batches in prop::collection::vec(
        (prop::collection::vec(any_announcement(), 1..8), any::<bool>()), 1..30)
    ) {
        let config = config();
        let mut model = Model::new(&config);
        let mut gateway = Harness::with(config);
        gateway.apply(updates());
        for (batch, looks) in batches {
            batch.iter().for_each(|announcement| model.apply(*announcement));
            gateway.apply([Update::Announced(batch)]);
            if looks {
                gateway.worker.round();
            }
            model.check(gateway.slow_path.writer())?;
        }
    }

    /// However little room there is, nothing leads where the network does not say.
    #[test]
    fn a_full_table_leads_nobody_astray(
        announcements in prop::collection::vec(any_announcement(), 1..150),
        room in 0..6_u32,
    ) {
        let mut config = config();
        config.max_flows = 6 + room;
        let mut model = Model::new(&config);
        let mut gateway = Harness::with(config);
        for announcement in announcements {
            model.apply(announcement);
            gateway.apply([Update::Announced(vec![announcement])]);
            let writer = gateway.slow_path.writer();
            for &(vni, ip, _) in &model.addresses {
                let Some(flow) = writer.flow(FlowKey::address(vni, ip)) else { continue };
                let endpoint = writer.current().endpoints.get(flow.endpoint).address;
                prop_assert_eq!(model.place((vni, flow.mac)), Some(endpoint));
                prop_assert!(model.addresses.contains(&(vni, ip, flow.mac)));
            }
        }
        // All goes, and with it what there was no room for.
        let mut goodbyes: Vec<Announcement> =
            model.announced.iter().map(|&(vni, mac)| Announcement::StationGone { vni, mac }).collect();
        goodbyes.extend(model.members.iter().map(|&(vni, endpoint)| Announcement::MemberGone { vni, endpoint }));
        goodbyes.iter().for_each(|goodbye| model.apply(*goodbye));
        gateway.apply([Update::Announced(goodbyes)]);
        prop_assert_eq!(gateway.slow_path.announced_statistics(), AnnouncedStatistics::default());
        model.check(gateway.slow_path.writer())?;
    }
}
