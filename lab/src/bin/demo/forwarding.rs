//! Forwarding: stations reach the outer network and are reached, at speed, and overlays stay apart.

use std::error::Error;
use std::net::IpAddr;

use lab::{Family, Iperf, Namespace, Ping, Scene, Station, Topology};

use crate::{FAMILIES, Trial};

/// Echo requests of each kind.
const PINGS: u32 = 5;
/// Bits a second of the UDP streams.
const UDP_RATE: u64 = 100_000_000;
/// Share of UDP datagrams that may be lost on a machine that is busy with the sender, the receiver and two kernels.
const UDP_LOSS: f64 = 0.05;

pub(crate) fn show(scene: &Scene, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    for station in &scene.stations {
        pings(scene, station, trials)?;
    }
    for station in &scene.stations[..2] {
        throughput(scene, station, trials)?;
    }
    isolation(scene, trials)
}

fn pings(scene: &Scene, station: &Station, trials: &mut Vec<Trial>) -> lab::Result<()> {
    let vni = station.site.vni;
    for (family, name) in FAMILIES {
        let outer = scene.outer_address(family);
        let inside = &station.host.namespace;
        trials.push(ping(format!("ping {name}, station {vni} → outer host"), inside, outer, true)?);
        let address = station.address(family);
        let outside = &scene.outer.namespace;
        trials.push(ping(format!("ping {name}, outer host → station {vni}"), outside, address, true)?);
        let neighbour = Topology::UPLINK.address(family, Scene::NEIGHBOUR);
        trials.push(ping(format!("ping {name}, station {vni} → neighbour"), inside, neighbour, true)?);
    }
    Ok(())
}

pub(crate) fn ping(what: String, from: &Namespace, to: IpAddr, expected: bool) -> lab::Result<Trial> {
    println!("{what}");
    let report = Ping::to(to).count(PINGS).run(from)?;
    let time = report.round_trip.map_or(String::new(), |time| format!(", mean {:?}", time.mean));
    let ok = if expected { report.is_complete() } else { report.received == 0 };
    Ok(Trial { what, seen: format!("{} of {} answered{time}", report.received, report.sent), ok })
}

fn throughput(scene: &Scene, station: &Station, trials: &mut Vec<Trial>) -> lab::Result<()> {
    let vni = station.site.vni;
    for (family, name) in FAMILIES {
        for (protocol, iperf) in [("TCP", Iperf::tcp()), ("UDP", Iperf::udp(UDP_RATE))] {
            for (direction, iperf) in [("out", iperf), ("in", iperf.reverse())] {
                let what = format!("iperf3 {protocol} over {name}, station {vni}, {direction}");
                println!("{what}");
                let outer = scene.outer_address(family);
                let report = iperf.seconds(2).run(&station.host.namespace, &scene.outer.namespace, outer)?;
                let rate = report.bits_per_second / 1e6;
                let (seen, ok) = if protocol == "TCP" {
                    (format!("{rate:.0} Mbit/s, {} sent again", report.retransmits), rate > 1.0)
                } else {
                    let loss = report.loss();
                    (format!("{rate:.0} Mbit/s, {:.2} % lost", loss * 100.0), loss <= UDP_LOSS)
                };
                trials.push(Trial { what, seen, ok });
            }
        }
    }
    Ok(())
}

/// Two overlays reach each other neither by the gateway nor by the router behind it.
fn isolation(scene: &Scene, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    let [one, other, across] = [0, 2, 1].map(|n| &scene.stations[n]);
    for (family, name) in FAMILIES {
        let before = scene.gateway.counter("between_overlays")?;
        for to in [other, across] {
            let what = format!("ping {name}, station {} → station {} must fail", one.site.vni, to.site.vni);
            trials.push(ping(what, &one.host.namespace, to.address(family), false)?);
        }
        let what = format!("between_overlays: {name} dropped by the gateway on the way out");
        trials.push(counted(scene, "between_overlays", what, before, 2 * PINGS)?);
    }
    // What a router that sends overlay traffic back would do: packets of one overlay reach the uplink from outside.
    for (family, name) in FAMILIES {
        let address = one.address(family);
        let len = if family == Family::V4 { 32 } else { 128 };
        scene.topology.router.ip(&format!("addr add {address}/{len} dev lo"))?;
        let before = scene.gateway.counter("overlay_source")?;
        let what =
            format!("ping {name}, router as station {} → station {} must fail", one.site.vni, other.site.vni);
        println!("{what}");
        let to = other.address(family).to_string();
        let output = scene
            .topology
            .router
            .command(
                "ping",
                &["-c", &PINGS.to_string(), "-i", "0.01", "-W", "1", "-I", &address.to_string(), &to],
            )
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let seen = text.lines().find(|line| line.contains("packet loss")).unwrap_or("no answer").to_owned();
        trials.push(Trial { what, seen, ok: !output.status.success() });
        scene.topology.router.ip(&format!("addr del {address}/{len} dev lo"))?;
        let what = format!("overlay_source: {name} dropped by the gateway on the way in");
        trials.push(counted(scene, "overlay_source", what, before, PINGS)?);
    }
    Ok(())
}

/// Compares how far a counter has risen with the pings that it is to have counted.
fn counted(scene: &Scene, name: &str, what: String, before: u64, pings: u32) -> lab::Result<Trial> {
    let dropped = scene.gateway.counter(name)? - before;
    Ok(Trial { what, seen: format!("{dropped} of {pings} pings"), ok: dropped == u64::from(pings) })
}
