//! FRR as reflector, and two endpoints of FRR and the kernel's VXLAN.

use std::net::IpAddr;
use std::time::Duration;

use lab::{Endpoint, Family, Frr, Host, ROUTER_MAC, wait_until};
use wire::MacAddr;

use crate::stage::{OWN_MAC, PATIENCE, REFLECTOR, Stage, Streams, underlay};

const ENDPOINTS: [u8; 2] = [11, 13];
const STATIONS: [u8; 2] = [10, 20];
const INTERVAL: Duration = Duration::from_millis(1);

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 1, 0, 0, number])
}

fn reflector(host: &Host) -> Frr {
    let config = format!(
        "router bgp 65000\n bgp router-id {0}\n bgp cluster-id {0}\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as 65000\n neighbor c timers 1 3\n neighbor c timers connect 1\n \
         bgp listen range 198.18.0.0/24 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n",
        underlay(REFLECTOR)
    );
    Frr::start(&host.namespace, &config).unwrap()
}

fn daemon(endpoint: &Endpoint, number: u8) -> Frr {
    let (own, peer) = (underlay(number), underlay(REFLECTOR));
    let config = format!(
        "router bgp 65000\n bgp router-id {own}\n no bgp default ipv4-unicast\n neighbor {peer} remote-as 65000\n \
         neighbor {peer} timers 1 3\n neighbor {peer} timers connect 1\n address-family l2vpn evpn\n  \
         neighbor {peer} activate\n  advertise-all-vni\n exit-address-family\n"
    );
    Frr::start(&endpoint.namespace, &config).unwrap()
}

/// The forwarding entries of an endpoint's kernel toward the gateway.
fn entries_to_gateway(endpoint: &Endpoint) -> Vec<String> {
    let output = endpoint.namespace.run("bridge", &["fdb", "show", "dev", "vx101"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let gateway = format!("dst {} ", underlay(1));
    text.lines().filter(|line| line.contains(&gateway)).map(str::to_owned).collect()
}

/// Whether the kernel of an endpoint sends what is for `mac` to the gateway.
fn sends_to_gateway(endpoint: &Endpoint, mac: &str) -> Result<(), String> {
    let entries = entries_to_gateway(endpoint);
    if entries.iter().any(|line| line.starts_with(mac)) { Ok(()) } else { Err(entries.join("; ")) }
}

/// The station's entries of the router.
fn router_entries(station: &Host, routers: [IpAddr; 2]) -> Vec<String> {
    let shown = station.namespace.ip_json(&["neighbour", "show"]).unwrap();
    let rows = shown.as_array().unwrap().iter();
    let mut entries: Vec<String> = rows
        .filter(|row| routers.iter().any(|router| row["dst"] == router.to_string()))
        .map(|row| format!("{} {}", row["dst"], row["lladdr"]))
        .collect();
    entries.sort();
    entries
}

#[test]
fn stations_are_reached_where_frr_says_they_are() {
    let mut stage = Stage::new();
    let mut reflector = reflector(&stage.reflector);
    let [(one, one_link), (other, other_link)] =
        [("ep1", ENDPOINTS[0]), ("ep2", ENDPOINTS[1])].map(|(name, number)| stage.endpoint(name, number));
    let _daemons = [daemon(&one, ENDPOINTS[0]), daemon(&other, ENDPOINTS[1])];
    stage.start("");
    // What the gateway announces has come to the endpoints' kernels.
    for endpoint in [&one, &other] {
        for mac in [&ROUTER_MAC.to_string(), OWN_MAC, "00:00:00:00:00:00"] {
            wait_until(&format!("{mac} toward the gateway"), PATIENCE, || sends_to_gateway(endpoint, mac))
                .unwrap();
        }
    }
    let mut roamer = stage.station(&one_link, mac(STATIONS[0]), STATIONS[0]);
    let stayer = stage.station(&other_link, mac(STATIONS[1]), STATIONS[1]);
    // One whose address is announced, and one whose address the gateway has to ask for.
    let address = stage.site.address(Family::V4, STATIONS[0]);
    one.namespace
        .ip(&format!("neighbour replace {address} lladdr {} dev br101 nud permanent", mac(STATIONS[0])))
        .unwrap();
    stage.wait_pings(&roamer, STATIONS[0]);
    stage.wait_pings(&stayer, STATIONS[1]);
    stage.wait_station(mac(STATIONS[0]), one.vtep);
    stage.wait_station(mac(STATIONS[1]), other.vtep);

    // The station roams, and goes on with the router that it knows.
    let before = router_entries(&roamer, stage.site.routers());
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.iter().all(|entry| entry.contains(&ROUTER_MAC.to_string())), "{before:?}");
    let streams = Streams::start(&stage, &roamer, STATIONS[0], INTERVAL);
    streams.wait();
    one.namespace.ip(&format!("neighbour del {address} dev br101")).unwrap();
    other_link.roam(&mut roamer).unwrap();
    stage.wait_station(mac(STATIONS[0]), other.vtep);
    streams.wait();
    wait_until("the same router as before", PATIENCE, || {
        let now = router_entries(&roamer, stage.site.routers());
        if now == before { Ok(()) } else { Err(now.join("; ")) }
    })
    .unwrap();
    for report in streams.stop() {
        eprintln!(
            "=== roamed: {} of {} lost, longest gap {:?} ===",
            report.lost(),
            report.sent,
            report.longest_gap
        );
    }

    // The reflector dies: nobody is known any longer. It comes back, and all are.
    reflector.kill_bgpd().unwrap();
    stage.wait_no_stations();
    reflector.restart_bgpd().unwrap();
    stage.wait_pings(&roamer, STATIONS[0]);
    stage.wait_pings(&stayer, STATIONS[1]);
    wait_until("the session", PATIENCE, || {
        let peers = stage.gateway.show("bgp peers").unwrap();
        if peers[0]["state"] == "Established" { Ok(()) } else { Err(peers.to_string()) }
    })
    .unwrap();

    // The gateway leaves: endpoints know it no longer, though no session of theirs has ended.
    stage.gateway.stop().unwrap();
    for endpoint in [&one, &other] {
        wait_until("the gateway gone", PATIENCE, || {
            let entries = entries_to_gateway(endpoint);
            if entries.is_empty() { Ok(()) } else { Err(entries.join("; ")) }
        })
        .unwrap();
    }
}
