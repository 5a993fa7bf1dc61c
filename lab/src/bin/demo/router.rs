//! What a good router is to its stations: it configures them, tells them what became of their packets, and finds them.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use lab::{
    DhcpClient, DhcpPool, DhcpServer, Family, Host, Scene, Topology, Traceroute, learned_path_mtu, transfer,
};
use wire::MacAddr;

use crate::forwarding::ping;
use crate::{FAMILIES, Trial};

/// Bytes of a TCP transfer that must find out the path MTU.
const TRANSFER: usize = 1 << 20;
/// MTU of the last overlay, in bytes: less than stations and outer hosts believe.
const SMALL_MTU: u16 = 1400;
/// How long a client may take for its addresses.
const PATIENCE: Duration = Duration::from_secs(30);

/// A station without addresses in each of the first two overlays: one behind each endpoint.
pub(crate) fn join_clients(scene: &Scene) -> lab::Result<Vec<Host>> {
    let join = |number: usize| {
        let mac = MacAddr([0x02, 0, 2, 0, 0, number as u8]);
        scene.links[number].client(&scene.topology.lab, &format!("client{}", 101 + number), mac)
    };
    (0..2).map(join).collect()
}

/// The scene's configuration with router advertisements and DHCP relaying, and the clients by their MAC addresses alone.
pub(crate) fn config(scene: &Scene, clients: &[Host]) -> Result<String, Box<dyn Error>> {
    let [v4, v6] = Family::BOTH.map(|family| scene.outer_address(family));
    let mut overlays = format!(
        "[defaults]\nadvertise = {{ other = true, dns-servers = [\"{v6}\"], dns-search = [\"example.net\"] }}\n\
         dhcp-servers = [\"{v4}\", \"{v6}\"]\n\n{}mtu = {SMALL_MTU}\n\n",
        scene.overlays().trim_end().to_owned() + "\n",
    );
    for (client, station) in clients.iter().zip(&scene.stations) {
        overlays += &format!(
            "[[station]]\nvni = {}\nmac = \"{}\"\nendpoint = \"{}\"\n\n",
            station.site.vni, client.nic.mac, scene.endpoints[station.site.endpoint as usize].vtep,
        );
    }
    Ok(scene.config(&overlays))
}

pub(crate) fn show(scene: &Scene, clients: &[Host], trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    trace(scene, trials)?;
    discover_path_mtu(scene, trials)?;
    configure_by_advertisement(scene, clients, trials)?;
    configure_by_dhcp(scene, clients, trials)
}

/// The gateway is the first hop, as the router of the overlay.
fn trace(scene: &Scene, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    let station = &scene.stations[0];
    for (family, name) in FAMILIES {
        let what = format!("traceroute {name}, station {} → outer host", station.site.vni);
        println!("{what}");
        let hops = Traceroute::to(scene.outer_address(family)).run(&station.host.namespace)?;
        let addresses: Vec<Option<IpAddr>> = hops.iter().map(|hop| hop.address).collect();
        let expected = [
            station.site.address(family, 1),
            Topology::UPLINK.address(family, Topology::ROUTER),
            scene.outer_address(family),
        ];
        let seen: Vec<String> =
            addresses.iter().map(|hop| hop.map_or("*".to_owned(), |hop| hop.to_string())).collect();
        let ok = addresses == expected.map(Some);
        trials.push(Trial { what, seen: seen.join(", "), ok });
    }
    Ok(())
}

/// The last overlay takes shorter packets than both ends believe: TCP into it finds out.
fn discover_path_mtu(scene: &Scene, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    let station = &scene.stations[3];
    for (family, name) in FAMILIES {
        let what = format!("path MTU, TCP over {name}, outer host → station {}", station.site.vni);
        println!("{what}");
        let (outside, inside) = (&scene.outer.namespace, &station.host.namespace);
        transfer(outside, inside, station.address(family), TRANSFER)?;
        let learned = learned_path_mtu(outside, station.address(family))?;
        let seen = match learned {
            Some(mtu) => format!("{} KiB arrived whole, MTU {mtu} learned", TRANSFER >> 10),
            None => format!("{} KiB arrived whole, no MTU learned", TRANSFER >> 10),
        };
        trials.push(Trial { what, seen, ok: learned == Some(SMALL_MTU.into()) });
    }
    Ok(())
}

fn configure_by_advertisement(
    scene: &Scene,
    clients: &[Host],
    trials: &mut Vec<Trial>,
) -> Result<(), Box<dyn Error>> {
    for (client, station) in clients.iter().zip(&scene.stations) {
        let what = format!("SLAAC with privacy addresses, client {}", station.site.vni);
        println!("{what}");
        let got = client.nic.autoconf(PATIENCE)?;
        let addresses: Vec<String> =
            got.stable.iter().chain(&got.temporary).map(ToString::to_string).collect();
        let ok = got.stable.iter().chain(&got.temporary).all(|address| station.site.v6.contains(address));
        let seen = format!("{}, router {}, MTU {}", addresses.join(", "), got.router, got.mtu);
        trials.push(Trial { what, seen, ok });
        let what = format!("ping IPv6, client {} by its privacy address → outer host", station.site.vni);
        trials.push(ping(what, &client.namespace, scene.outer_address(Family::V6), true)?);
    }
    Ok(())
}

/// From a server behind the outer router, through the gateway as relay.
fn configure_by_dhcp(scene: &Scene, clients: &[Host], trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    let mut pools = Vec::new();
    for station in &scene.stations[..clients.len()] {
        for family in Family::BOTH {
            let (first, last) = (station.site.address(family, 100), station.site.address(family, 199));
            let router = match station.site.address(family, 1) {
                IpAddr::V4(router) => Some(router),
                IpAddr::V6(_) => None,
            };
            let prefix_len = if family == Family::V4 { 24 } else { 64 };
            pools.push(DhcpPool { first, last, prefix_len, router, dns: None });
        }
    }
    let _server = DhcpServer::start(&scene.outer.namespace, &pools)?;
    for (client, station) in clients.iter().zip(&scene.stations) {
        for (family, name) in FAMILIES {
            let vni = station.site.vni;
            let what = format!("DHCP over {name} by relay, client {vni}");
            println!("{what}");
            let got = DhcpClient::start(&client.nic, family, PATIENCE)?;
            let lease = got.lease();
            let address = lease.address.addr();
            let ok = match address {
                IpAddr::V4(address) => station.site.v4.contains(&address),
                IpAddr::V6(address) => station.site.v6.contains(&address),
            };
            trials.push(Trial { what, seen: format!("{address} for {:?}", lease.lifetime), ok });
            // The client makes sure first that nobody else has it (RFC 4862 §5.4).
            lab::wait_until("a usable address", PATIENCE, || {
                let addresses = client.nic.current_addresses().map_err(|error| error.to_string())?;
                let is_usable = addresses.iter().any(|has| has.net == lease.address && has.is_usable());
                is_usable.then_some(()).ok_or(format!("{addresses:?}"))
            })?;
            let what = format!("ping {name}, outer host → client {vni} by its leased address");
            trials.push(ping(what, &scene.outer.namespace, address, true)?);
        }
    }
    Ok(())
}
