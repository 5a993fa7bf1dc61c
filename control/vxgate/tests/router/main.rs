//! What a router is to its stations and to those who talk to them, tried with the Linux kernel at both ends. Stations
//! are configured by their MAC addresses alone: the gateway finds their addresses itself. Needs root.

mod admission;
mod advertisements;
mod dhcp;
mod echo;
mod ecn;
mod errors;
mod limits;
mod non_owner;
mod path_mtu;
mod proxy;
mod resolution;
mod rules;
mod stick;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{Family, Host, Namespace, Ping, Scene, Site, TopologyOptions, wait_until};
use wire::MacAddr;

/// How long anything may take that happens at once, or after the retries that protocols ask for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The link-local address made of the shared MAC address (RFC 4291, appendix A).
const ROUTER_LINK_LOCAL: &str = "fe80::5eff:fe00:1";

/// What a gateway is configured with beside the scene.
#[derive(Default)]
struct Plan<'a> {
    /// Keys of `[defaults]`, a line each.
    defaults: &'a str,
    /// Keys of the table of overlay `n`, by `n`.
    overlays: &'a [(u8, &'a str)],
    /// Tables that follow those of the overlays.
    tables: String,
}

/// Overlays 1 to `overlays`, stations alternately behind the endpoint over IPv4 and the one over IPv6; the gateway does
/// not run yet.
fn idle_scene(overlays: u8) -> Scene {
    let sites: Vec<Site> = (1..=overlays).map(Site::numbered).collect();
    Scene::build(binary(), &TopologyOptions::new(&Scene::blocks()), &sites).unwrap()
}

/// Both endpoints belong to all overlays. Stations are known by their MAC addresses.
fn start(scene: &mut Scene, plan: &Plan<'_>) {
    let mut config = scene.base_config() + "[defaults]\n" + plan.defaults + "\n\n";
    for station in &scene.stations {
        let keys = plan.overlays.iter().find(|(number, _)| Site::numbered(*number).vni == station.site.vni);
        let keys = keys.map_or("", |(_, keys)| keys);
        config += &scene.overlay_table(&station.site, &Family::BOTH, keys);
        config += &scene.station_table(&station.site, station.host.nic.mac, station.site.endpoint, &[]);
    }
    scene.gateway.configure(&(config + &plan.tables)).unwrap();
    scene.gateway.start().unwrap();
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vxgate"))
}

/// MAC address of the `number`th host beside the scene's.
const fn mac(number: u8) -> MacAddr {
    MacAddr([0x02, 0, 2, 0, 0, number])
}

/// One more station in an overlay of the scene, beside the one that is there, with the addresses of `number`. Nobody
/// knows it unless the configuration does.
fn another_station(scene: &Scene, index: usize, number: u8) -> Host {
    let site = scene.stations[index].site;
    let [v4, v6] = Family::BOTH.map(|family| site.address(family, number));
    let addresses = [format!("{v4}/24"), format!("{v6}/64")].map(|net| net.parse().unwrap());
    let name = format!("other{}", site.vni);
    scene.links[index].station(&scene.topology.lab, &name, mac(index as u8 + 1), &addresses).unwrap()
}

/// That an echo request is answered: the only one, so that a first one that is lost shows.
#[track_caller]
fn assert_answered(ping: &Ping, from: &Namespace) {
    let ping = ping.clone().count(1).timeout(PATIENCE);
    let report = ping.run(from).unwrap();
    assert!(report.is_complete(), "from {}: {ping:?}: {report:?}", from.name());
}

/// The MAC address that answers when the kernel of a host asks for a neighbour anew; `None`: nobody does.
#[track_caller]
fn neighbour_of(host: &Host, address: IpAddr) -> Option<String> {
    let ip = |line: String| host.namespace.ip(&line).unwrap();
    ip(format!("neighbour flush to {address} dev eth0"));
    // `use`: resolve it now.
    ip(format!("neighbour replace {address} dev eth0 use"));
    let verdict = wait_until(&format!("a verdict on {address}"), PATIENCE, || {
        let shown = neighbour_entry(host, address);
        match shown["state"][0].as_str() {
            Some("REACHABLE") => Ok(shown["lladdr"].as_str().map(str::to_owned)),
            Some("FAILED") => Ok(None),
            _ => Err(shown.to_string()),
        }
    });
    verdict.unwrap()
}

fn neighbour_entry(host: &Host, address: IpAddr) -> serde_json::Value {
    host.namespace.ip_json(&["neighbour", "show", "to", &address.to_string()]).unwrap()[0].clone()
}

/// Lets a host give up sooner on neighbours that do not answer.
fn ask_quickly(host: &Host) {
    for family in ["ipv4", "ipv6"] {
        host.namespace.set(&format!("net.{family}.neigh.eth0.retrans_time_ms"), "200").unwrap();
    }
}

/// What the gateway knows of an address: MAC address and state.
fn known(scene: &Scene, address: IpAddr) -> Option<(String, String)> {
    let rows = scene.gateway.show("neighbours").unwrap();
    let row = rows.as_array()?.iter().find(|row| row["address"] == address.to_string())?.clone();
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Some((text("mac"), text("state")))
}

/// Waits until a counter has risen by `least` since it was `before`.
fn wait_counter(scene: &Scene, name: &str, before: u64, least: u64) {
    wait_until(&format!("{least} more of {name}"), PATIENCE, || {
        let now = scene.gateway.counter(name).unwrap();
        if now >= before + least { Ok(()) } else { Err(format!("{}", now - before)) }
    })
    .unwrap();
}
