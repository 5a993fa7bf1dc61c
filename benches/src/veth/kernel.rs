//! The kernel's gateway: for each overlay a bridge with the router's addresses and a VXLAN netdev for each family of
//! endpoints; forwarding between bridges and uplink. Nothing is learned, resolved or flooded: all entries are static.

use std::fmt::Write;

use vxgate_bench::population::{Family, ROUTER_MAC};

use super::stage::{self, Stage};
use super::traffic::{FIRST_STATION, FIRST_VNI, STATIONS, address, station_mac};
use crate::Error;

/// Number of the router in its overlay's subnets.
const ROUTER: u32 = 1;

/// Turns the stage's gateway namespace into a gateway with so many overlays for these families.
pub(crate) fn set_up(stage: &Stage, overlays: u32, families: &[Family]) -> Result<(), Error> {
    let gateway = &stage.gateway;
    stage.offloads_off()?;
    gateway.set("net.ipv4.ip_forward", "1")?;
    if families.contains(&Family::V6) {
        gateway.set("net.ipv6.conf.all.forwarding", "1")?;
    } else {
        // Thousands of netdevs would each speak of their addresses.
        gateway.set("net.ipv6.conf.default.disable_ipv6", "1")?;
    }
    let (mut links, mut entries) = (String::new(), String::new());
    for overlay in 0..overlays {
        write(&mut links, &mut entries, overlay, families)?;
    }
    gateway.ip(&links)?;
    Ok(gateway.bridge(&entries)?)
}

fn write(links: &mut String, entries: &mut String, overlay: u32, families: &[Family]) -> Result<(), Error> {
    let vni = FIRST_VNI + overlay;
    writeln!(
        links,
        "link add br{vni} address {ROUTER_MAC} type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n\
         link set br{vni} addrgenmode none up"
    )?;
    for &of in families {
        let (device, options) = match of {
            Family::V4 => (format!("vx{vni}"), "noudpcsum"),
            Family::V6 => (format!("vy{vni}"), "udp6zerocsumrx"),
        };
        let (vtep, endpoint) = (stage::vtep(of), stage::endpoint(of));
        writeln!(
            links,
            "link add {device} type vxlan id {vni} local {vtep} dstport 4789 nolearning {options}\n\
             link set {device} master br{vni} addrgenmode none up"
        )?;
        let (router, length) = (address(of, overlay, ROUTER), if of == Family::V4 { 24 } else { 64 });
        let nodad = if of == Family::V4 { "" } else { "nodad" };
        writeln!(links, "address add {router}/{length} dev br{vni} {nodad}")?;
        // That of the endpoint of this family.
        let number = if of == Family::V4 { 0 } else { STATIONS - 1 };
        let (station, mac) = (address(of, overlay, FIRST_STATION + number), station_mac(overlay, number));
        writeln!(links, "neighbour add {station} lladdr {mac} dev br{vni} nud permanent")?;
        writeln!(
            entries,
            "fdb add {mac} dev {device} dst {endpoint} self permanent\n\
             fdb replace {mac} dev {device} master static"
        )?;
    }
    Ok(())
}
