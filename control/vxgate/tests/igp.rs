//! A router that speaks OSPF alone: FRR on each gateway tells it what the gateway has put into the kernel. Needs root.

use std::path::Path;
use std::time::Duration;

use lab::{Cluster, ClusterOptions, Failure, Family, Frr, Topology, wait_until};

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const DOCS: &str = include_str!("../../../docs/ingress.md");
const OVERLAYS: u32 = 4;

/// Gives FRR a configuration that the documentation has, with another router id if one is given.
fn configure(frr: &Frr, name: &str, router_id: &str) {
    let start = format!("```frr {name}\n");
    let text = DOCS.split(&start).nth(1).and_then(|rest| rest.split("```").next());
    let text =
        text.unwrap_or_else(|| panic!("docs/ingress.md has no {name}")).replace("198.18.1.1\n", router_id);
    let lines: Vec<&str> = text.lines().collect();
    frr.vtysh(&[&["configure terminal"], &lines[..]].concat()).unwrap();
}

/// Waits until the router sends to an overlay by this gateway, both families; `None`: nowhere.
fn wait_by(cluster: &Cluster, overlay: u32, gateway: Option<u8>) {
    let prefixes = [format!("10.0.{}.0/24", overlay - 1), format!("fd00:0:0:{:x}::/64", overlay - 1)];
    for (prefix, family) in prefixes.iter().zip(Family::BOTH) {
        wait_until(&format!("the way to {prefix}"), PATIENCE, || {
            let option = if family == Family::V4 { "-4" } else { "-6" };
            let shown = cluster.topology.router.run("ip", &[option, "route", "show", prefix]).unwrap();
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            let is_so = match (gateway, family) {
                (None, _) => shown.is_empty(),
                (Some(number), Family::V4) => {
                    shown.contains(&format!("via {} ", Topology::UPLINK.address(family, number)))
                }
                // OSPFv3 has link-local next hops (RFC 5340).
                (Some(number), Family::V6) => {
                    let member = &cluster.gateways[usize::from(number) - 1];
                    let own = member
                        .namespace
                        .run("ip", &["-6", "address", "show", "uplink0", "scope", "link"])
                        .unwrap();
                    let own = String::from_utf8_lossy(&own.stdout).into_owned();
                    let own = own.split("inet6 ").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
                    shown.contains(&format!("via {own} "))
                }
            };
            if is_so { Ok(()) } else { Err(shown) }
        })
        .unwrap();
    }
}

#[test]
fn ospf_leads_to_the_gateway_that_is_first_and_to_the_next_when_it_dies() {
    let options = ClusterOptions {
        gateways: 2,
        overlays: OVERLAYS,
        probed: 2,
        ingress: false,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    cluster.upstream.add("ospfd", "").unwrap();
    cluster.upstream.add("ospf6d", "").unwrap();
    configure(&cluster.upstream, "ospf-router", "");
    let mut daemons = Vec::new();
    for number in [1, 2] {
        let namespace = cluster.gateway(number).namespace.clone();
        let frr = Frr::start_daemons(&namespace, &[("ospfd", ""), ("ospf6d", "")]).unwrap();
        configure(&frr, "ospf-gateway", &format!("198.18.1.{number}\n"));
        daemons.push(frr);
        let config = cluster.config(number, &format!("owner = {}\n", number == 1), "");
        let config = config.replace("[gateway]\n", "[gateway]\nigp = \"kernel\"\n");
        let gateway = &mut cluster.gateway(number).gateway;
        gateway.configure(&config).unwrap();
        gateway.start().unwrap();
    }
    for overlay in 2..=OVERLAYS {
        wait_by(&cluster, overlay, Some(1));
    }
    cluster.wait_open(PATIENCE).unwrap();

    // Its devices die with it, and so do its routes.
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    for overlay in 2..=OVERLAYS {
        wait_by(&cluster, overlay, Some(2));
    }
    cluster.gateway(1).mend().unwrap();
    wait_by(&cluster, OVERLAYS, Some(1));
    cluster.wait_open(PATIENCE).unwrap();
    for number in [1, 2] {
        assert!(cluster.gateway(number).gateway.stop().unwrap().is_some_and(|status| status.success()));
    }
    wait_by(&cluster, OVERLAYS, None);
}
