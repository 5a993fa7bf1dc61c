//! What peers of BGP are not told.

use std::net::IpAddr;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Network;
use crate::config::Settings;
use crate::preflight;

/// Whether all VTEP addresses are announced to all peers.
pub(super) fn check(settings: &Settings, network: &Network, all: &mut Vec<Finding>) {
    let Some(bgp) = &settings.bgp else { return };
    let mut findings = Findings::new(Topic::Network, all);
    let vteps = preflight::vteps(settings, &network.tables);
    let Some(vtep) = vteps.iter().find(|vtep| vtep.is_ipv6()) else { return };
    let spared: Vec<IpAddr> =
        bgp.peers.iter().filter(|peer| peer.is_spared_ipv6_vteps()).map(|peer| peer.address()).collect();
    let Some(first) = spared.first() else {
        return findings.ok("IPv6 VTEP", format!("{vtep} is announced to all peers"));
    };
    findings.bad(
        Verdict::Note,
        "IPv6 VTEP",
        format!(
            "{vtep} is not announced to {} of {} peers, {first} among them: endpoints over IPv6 do not learn of the \
             gateway there. FRR 8.4 knows IPv4 VTEPs alone, and ends the session (NOTIFICATION 3/5) on others",
            spared.len(),
            bgp.peers.len()
        ),
        "announce-ipv6-vtep = true for peers that take IPv6 VTEPs, and pass them on to none that do not",
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CONFIG, machine, settings, verdicts};
    use super::*;

    #[test]
    fn it_says_which_peers_do_not_hear_of_an_ipv6_vtep() {
        let bgp = "\n[bgp]\nasn = 65000\nrouter-id = \"192.0.2.1\"\ncluster-number = 1\n[[bgp.peer]]\n\
                   address = \"192.0.2.9\"\nremote-asn = 65000\n";
        let found = |text: &str| {
            let mut all = Vec::new();
            check(&settings(text), &machine().network, &mut all);
            all
        };
        assert!(found(CONFIG).is_empty());
        let note = found(&format!("{CONFIG}{bgp}"));
        assert_eq!(verdicts(&note, "IPv6 VTEP"), [Verdict::Note]);
        assert!(note[0].finding.contains("192.0.2.9") && note[0].finding.contains("FRR 8.4"));
        let told = found(&format!("{CONFIG}{bgp}announce-ipv6-vtep = true\n"));
        assert_eq!(verdicts(&told, "IPv6 VTEP"), [Verdict::Ok]);
    }
}
