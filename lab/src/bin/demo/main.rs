//! The demo: vxgate between two endpoints that are the Linux kernel's own VXLAN and an outer network, under real
//! traffic. Prints what was tried and what was seen; exits with 1 if anything was not as it should be.

mod cluster;
mod evpn;
mod forwarding;
mod router;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use lab::{Family, ROUTER_MAC, Scene, Site, TopologyOptions};

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "IPv4"), (Family::V6, "IPv6")];

/// What was tried, and how it went.
struct Trial {
    what: String,
    seen: String,
    ok: bool,
}

fn main() -> ExitCode {
    let Some(argument) = std::env::args_os().nth(1) else {
        eprintln!("usage: demo PATH-OF-VXGATE, or demo --clean to remove what one that was killed left");
        return ExitCode::from(2);
    };
    if argument == "--clean" {
        return match lab::clean() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        };
    }
    match run(PathBuf::from(argument)) {
        Ok(trials) => {
            print_table(&trials);
            let failed = trials.iter().filter(|trial| !trial.ok).count();
            println!("\n{} tried, {failed} not as it should be", trials.len());
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("demo: {error}");
    ExitCode::FAILURE
}

fn run(binary: PathBuf) -> Result<Vec<Trial>, Box<dyn Error>> {
    println!(
        "Building the network: two endpoints (kernel VXLAN over IPv4 and over IPv6), four overlays with a"
    );
    println!("station each, a router with a host behind it, and vxgate between them.");
    println!();
    println!("  station101,103 ─ endpoint ═══ IPv4 ═╗                         ╔═ router ─ outer host");
    println!("  station102,104 ─ endpoint ═══ IPv6 ═╬═ underlay0 vxgate uplink0 ═ neighbour");
    println!("  station105 ───── FRR ════════ IPv4 ═╣");
    println!("                   FRR, reflector ────╝  tells vxgate of the endpoint and the station before");
    println!();
    let sites: Vec<Site> = (1..=4).map(Site::numbered).collect();
    let mut scene = Scene::build(&binary, &TopologyOptions::new(&Scene::blocks()), &sites)?;
    let clients = router::join_clients(&scene)?;
    let before = scene.topology.gateway.interfaces()?;
    let network = evpn::build(&scene)?;
    scene.gateway.configure(&(router::config(&scene, &clients)? + "\n" + &network.config(&scene)))?;
    let started = scene.gateway.start()?;
    println!("vxgate is ready after {} ms and says:", started.as_millis());
    print_indented(&scene.gateway.log());
    println!();

    let mut trials = Vec::new();
    forwarding::show(&scene, &mut trials)?;
    router::show(&scene, &clients, &mut trials)?;
    network.show(&scene, &mut trials)?;

    let after = scene.topology.gateway.interfaces()?;
    trials.push(Trial {
        what: "kernel interfaces in the gateway, before and with vxgate".to_owned(),
        seen: format!("{} and {}", before.join(" "), after.join(" ")),
        ok: before == after,
    });

    for what in ["ports", "neighbours", "bgp peers", "bgp evpn", "counters"] {
        println!("\nvxgate show {what}:");
        print_indented(&scene.gateway.show_table(what)?);
    }
    println!();
    let status = scene.gateway.stop()?;
    trials.push(Trial {
        what: "vxgate ends when asked".to_owned(),
        seen: status.map_or("nothing ran".to_owned(), |status| status.to_string()),
        ok: status.is_some_and(|status| status.success()),
    });
    scene.gateway.run("cleanup")?;
    // One network at a time.
    drop((network, clients, scene));
    println!();
    for mode in cluster::Mode::all() {
        cluster::show(&binary, &mode, &mut trials)?;
    }
    Ok(trials)
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}

fn print_table(trials: &[Trial]) {
    let width = trials.iter().map(|trial| trial.what.chars().count()).max().unwrap_or(0);
    println!("What was tried, what was seen (router MAC {ROUTER_MAC} in every overlay):");
    for Trial { what, seen, ok } in trials {
        println!("  {} {what:width$}  {seen}", if *ok { "ok  " } else { "FAIL" });
    }
}
