//! What is wanted, and what changes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use cluster::assign::{Key, Member, Members, ShardCount, Weight};

use super::*;
use crate::config::Settings;
use crate::ranked::CHANGES_AT_ONCE;

const FLOATING: &str = "[cluster.floating]\nshards = 4\nvtep = [\"198.18.4.0/30\", \"2001:db8:0:4::/126\"]\n\
                        uplink = [\"198.18.132.0/30\", \"2001:db8:0:5::/126\"]\n";

/// A configuration with as many overlays, in gateway `id` of a cluster of three in this mode.
fn settings(id: u16, mode: Option<&str>, overlays: u32, peer: &str) -> Settings {
    let mut text = format!(
        "[gateway]\nrouter-mac = \"02:00:5e:00:00:01\"\nblocks = [\"10.0.0.0/8\", \"fd00::/16\"]\n\
         [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\naddresses = [\"198.18.0.{id}\"]\n\
         [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\
         addresses = [\"198.18.128.{id}\", \"2001:db8:0:2::{id}\"]\n\
         [[overlay-block]]\nvnis = \"1-{overlays}\"\nipv4 = {{ range = \"10.0.0.0/8\", length = 24 }}\n\
         ipv6 = {{ range = \"fd00::/48\", length = 64 }}\n\
         [bgp]\nasn = 65000\nrouter-id = \"198.18.0.{id}\"\ncluster-number = 1\n\
         ingress = {{ communities = [\"65000:7\", \"no-export\"], med = {{ base = 50, step = 5 }} }}\n\
         [[bgp.peer]]\naddress = \"198.18.128.254\"\nremote-asn = 65001\nfamilies = [\"ipv4\", \"ipv6\"]\n{peer}\n"
    );
    if let Some(mode) = mode {
        text += &format!(
            "[cluster]\nnumber = 1\nid = {id}\nmode = \"{mode}\"\nkey = \"k\"\ncertificate = \"c\"\n"
        );
        for other in (1..=3).filter(|&other| other != id) {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "[[cluster.gateway]]\nid = {other}\nsession = \"198.18.0.{other}\"\npin = \"sha256:{:064x}\"",
                other
            );
        }
        text += if mode == "floating" { FLOATING } else { "" };
    }
    Settings::parse(Path::new("gw.toml"), &text).unwrap()
}

/// What the engine is given, as far as routes follow from it.
fn config(settings: &Settings) -> Config {
    let floating = settings.cluster.as_ref().and_then(|cluster| cluster.floating.as_ref());
    let ports = settings.ports.iter().zip(1..).map(|(port, ifindex)| engine::PortConfig {
        interface: port.interface.clone(),
        ifindex,
        role: port.role,
        addresses: port.addresses.clone(),
        mac: settings.router_mac,
        mtu: 1600,
        xdp: port.xdp,
        bind: port.bind,
    });
    let overlays = settings.overlays.iter().map(|overlay| engine::Overlay {
        vni: overlay.vni,
        subnets: overlay.subnets.clone(),
        endpoints: [].into(),
        mtu: 1500,
        owner: settings.groups[overlay.group as usize].owner,
        shard: floating.map(|of| ShardCount::new(of.shards).unwrap().shard_of(overlay.vni.value())),
        own_mac: None,
        policy: Default::default(),
    });
    Config {
        ports: ports.collect(),
        vteps: settings.named_vteps(),
        shards: floating.map(|floating| floating.list()).unwrap_or_default(),
        polling: settings.polling,
        workers: vec![None],
        router_mac: settings.router_mac,
        blocks: settings.blocks.clone(),
        overlays: overlays.collect(),
        stations: Vec::new(),
        rules: Vec::new(),
        punt_limits: settings.punt_limits,
        max_flows: 1,
        stale_after: None,
    }
}

fn ingress(id: u16, mode: Option<&str>, overlays: u32, peer: &str) -> Ingress {
    let settings = settings(id, mode, overlays, peer);
    let bgp = settings.bgp.as_ref().unwrap();
    Ingress::new(bgp, &config(&settings), settings.cluster.as_ref()).unwrap()
}

/// What the peers know.
#[derive(Default)]
struct Known(BTreeMap<String, PrefixAttributes>);

impl Known {
    /// Tells what has changed: how many routes.
    fn hear(&mut self, ingress: &mut Ingress, state: Option<&Uplink>) -> usize {
        let mut count = 0;
        ingress.begin();
        while let Some(changes) = ingress.step(state) {
            assert!(changes.len() <= CHANGES_AT_ONCE + 8, "{}", changes.len());
            for (route, attributes) in changes {
                count += 1;
                let route = match route {
                    Route::Prefix(prefix) => prefix.to_string(),
                    Route::Host(address) => format!("host {address}"),
                };
                match attributes {
                    Some(attributes) => drop(self.0.insert(route, attributes)),
                    None => drop(self.0.remove(&route).unwrap()),
                }
            }
        }
        count
    }

    fn of(&self, route: &str) -> (String, Option<u32>) {
        let attributes = &self.0[route];
        (attributes.next_hop.to_string(), attributes.med)
    }
}

fn serving(ids: &[u16]) -> Uplink {
    let member = |&id| Member { id: GatewayId::new(id).unwrap(), weight: Weight::default() };
    let serving = Members::new(ids.iter().map(member)).unwrap();
    Uplink { routes: true, serving, owned: vec![false; 4] }
}

#[test]
fn alone_all_is_told_at_once() {
    let mut known = Known::default();
    let mut ingress = ingress(1, None, 3, "");
    assert_eq!(known.hear(&mut ingress, None), 2 + 3 * 2);
    let own = |address: &str, med| (address.to_owned(), med);
    for floor in ["10.0.0.0/8", "fd00::/16"] {
        assert_eq!(known.of(floor).1, None);
    }
    assert_eq!(known.of("10.0.1.0/24"), own("198.18.128.1", Some(50)));
    assert_eq!(known.of("fd00:0:0:1::/64"), own("2001:db8:0:2::1", Some(50)));
    assert_eq!(known.0["10.0.1.0/24"].communities, [65000 << 16 | 7, 0xffff_ff01]);
    assert_eq!(known.hear(&mut ingress, None), 0, "nothing twice");
}

#[test]
fn a_shard_is_told_by_all_gateways_alike_and_no_death_changes_that() {
    let mut known = [1, 2].map(|id| {
        let (mut known, mut ingress) = (Known::default(), ingress(id, Some("floating"), 8, ""));
        known.hear(&mut ingress, Some(&serving(&[1, 2, 3])));
        assert_eq!(known.hear(&mut ingress, Some(&serving(&[id]))), 0, "the others died");
        known
    });
    // The floor is each one's own.
    for (id, known) in (1..).zip(&mut known) {
        assert_eq!(known.0.remove("10.0.0.0/8").unwrap().next_hop.to_string(), format!("198.18.128.{id}"));
        assert!(known.0.remove("fd00::/16").is_some());
    }
    assert_eq!(known[0].0, known[1].0);
    let shard = ShardCount::new(4).unwrap().shard_of(1);
    assert_eq!(known[0].of("10.0.0.0/24"), (format!("198.18.132.{shard}"), None));
    assert_eq!(known[0].of("fd00::/64").1, None);
    assert_eq!(known[0].0.len(), 16);
}

#[test]
fn who_does_not_serve_tells_nothing_not_even_the_floor() {
    for mode in ["floating", "announce"] {
        let (mut known, mut ingress) = (Known::default(), ingress(1, Some(mode), 8, ""));
        let unfit = Uplink { routes: false, ..serving(&[2, 3]) };
        assert_eq!(known.hear(&mut ingress, Some(&unfit)), 0);
        assert_eq!(known.hear(&mut ingress, Some(&serving(&[1, 2, 3]))), 18);
        assert_eq!(known.hear(&mut ingress, Some(&unfit)), 18);
        assert!(known.0.is_empty());
    }
}

#[test]
fn without_shards_the_med_is_by_rank_and_a_death_changes_those_behind_alone() {
    let (all, rest) = (serving(&[1, 2, 3]), serving(&[1, 3]));
    let mut ranks = [0; 3];
    let (mut known, mut ingress) = (Known::default(), ingress(1, Some("announce"), 5000, ""));
    known.hear(&mut ingress, Some(&all));
    let mut behind = 0;
    for vni in 1..=5000 {
        let (key, id) = (Key::overlay(vni), GatewayId::new(1).unwrap());
        let place = all.serving.rank(key).iter().position(|&of| of == id).unwrap();
        ranks[place] += 1;
        behind += usize::from(rest.serving.place(key, id) != place);
        let prefix = format!("10.{}.{}.0/24", (vni - 1) >> 8, (vni - 1) & 255);
        assert_eq!(known.of(&prefix), ("198.18.128.1".into(), Some(50 + 5 * place as u32)));
    }
    assert!(ranks.iter().all(|&count| (1500..1850).contains(&count)), "{ranks:?}");
    assert_eq!(known.hear(&mut ingress, Some(&rest)), 2 * behind);
    // One that leaves is behind all others.
    known.hear(&mut ingress, Some(&serving(&[2, 3])));
    assert_eq!(known.of("10.0.0.0/24").1, Some(60));
}

#[test]
fn a_gateway_that_is_no_owner_is_behind_the_owner() {
    let settings = settings(1, None, 1, "");
    let mut config = config(&settings);
    config.overlays[0].owner = false;
    let mut ingress = Ingress::new(settings.bgp.as_ref().unwrap(), &config, None).unwrap();
    let mut known = Known::default();
    known.hear(&mut ingress, None);
    assert_eq!(known.of("10.0.0.0/24").1, Some(55));
}

#[test]
fn host_routes_of_shards_are_by_rank_with_the_owner_before_all() {
    let mut known = Known::default();
    let mut ingress = ingress(1, Some("floating"), 8, "host-routes = true");
    let mut state = serving(&[1, 2, 3]);
    state.owned[2] = true;
    assert_eq!(known.hear(&mut ingress, Some(&state)), 4, "of the family of the VTEP, and no prefixes");
    assert_eq!(known.of("host 198.18.4.2"), ("198.18.0.1".into(), Some(50)));
    for shard in [0, 1, 3] {
        let place = state.serving.place(Key::shard(shard), GatewayId::new(1).unwrap()) as u32;
        assert_eq!(known.of(&format!("host 198.18.4.{shard}")).1, Some(50 + 5 * (place + 1)));
    }
    state.owned[2] = false;
    assert_eq!(known.hear(&mut ingress, Some(&state)), 1);
    state.routes = false;
    assert_eq!(known.hear(&mut ingress, Some(&state)), 4);
}

#[test]
fn the_next_hop_must_be_clear() {
    let mut settings = settings(1, None, 1, "");
    let mut config = config(&settings);
    config.ports[1].addresses.push("198.18.129.1".parse().unwrap());
    let bgp = settings.bgp.as_mut().unwrap();
    let problem = next_hops(bgp, &config).unwrap_err().to_string();
    assert!(problem.contains("198.18.128.1, 198.18.129.1"), "{problem}");
    bgp.ingress.next_hops.push("198.18.129.1".parse().unwrap());
    let chosen = next_hops(bgp, &config).unwrap();
    assert_eq!(chosen, NextHops::of(&["198.18.129.1", "2001:db8:0:2::1"].map(|text| text.parse().unwrap())));
    // Without IPv6 there, its prefixes are not told.
    config.ports[1].addresses.retain(IpAddr::is_ipv4);
    let mut ingress = Ingress::new(bgp, &config, None).unwrap();
    assert_eq!(Known::default().hear(&mut ingress, None), 2);
}
