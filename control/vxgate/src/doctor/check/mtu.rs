//! The underlay's MTU against the overlays', and the overlays' against the uplink's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::Netdev;
use super::Ports;
use crate::config::{OverlayGroup, Settings};

/// Bytes from the outer IP header to the inner Ethernet header (RFC 7348 §5).
const OVERHEAD_IPV4: u32 = 50;
const OVERHEAD_IPV6: u32 = 70;

/// What overlays have if there is room, and nothing else is configured.
const USUAL: u32 = 1500;

/// Overlays that are too large by the configuration are preflight's to say. Of several ports the smallest counts, since a
/// packet may take any.
pub(super) fn check(settings: &Settings, ports: &Ports<'_>, all: &mut Vec<Finding>) {
    let Some(underlay) = smallest(&ports.underlays) else { return };
    let uplink = smallest(&ports.uplinks);
    let mut findings = Findings::new(Topic::Mtu, all);
    let (name, mtu) = (&underlay.link.name, underlay.link.mtu);
    let mut largest = 0;
    for ((ipv6, wanted), groups) in alike(&settings.groups) {
        let (overhead, family) = if ipv6 { (OVERHEAD_IPV6, "IPv6") } else { (OVERHEAD_IPV4, "IPv4") };
        let room = mtu.saturating_sub(overhead);
        let of = overlays(&groups);
        let got = wanted.map_or(USUAL.min(room), u32::from);
        largest = largest.max(got);
        if got > room {
            continue;
        }
        let sum = format!("MTU {got} and {overhead} bytes of VXLAN over {family}");
        if wanted.is_none() && got < USUAL {
            findings.bad(
                Verdict::Warning,
                name,
                format!("{of}: {sum} fill the underlay's MTU {mtu}; stations expect {USUAL}"),
                format!(
                    "`ip link set dev {name} mtu {}` there and all along the underlay, or set the stations' MTU to {got}, \
                     and mtu = {got} of the overlays",
                    USUAL + overhead
                ),
            );
        } else {
            findings.ok(name, format!("{of}: {sum} fit the underlay's MTU {mtu}"));
        }
    }
    let Some(uplink) = uplink else { return };
    let (name, mtu) = (&uplink.link.name, uplink.link.mtu);
    if mtu < largest {
        findings.bad(
            Verdict::Note,
            name,
            format!("the uplink's MTU {mtu} is below the overlays' {largest}: larger packets outward are refused by ICMP"),
            format!("`ip link set dev {name} mtu {largest}` if the outer network carries it; else path MTU discovery finds {mtu}"),
        );
    } else {
        findings.ok(name, format!("the uplink's MTU {mtu} takes the overlays' {largest}"));
    }
}

fn smallest<'a>(netdevs: &[&'a Netdev]) -> Option<&'a Netdev> {
    netdevs.iter().copied().min_by_key(|netdev| netdev.link.mtu)
}

/// Tables by what their MTU depends on: tens of thousands of overlays make few lines.
fn alike(groups: &[OverlayGroup]) -> BTreeMap<(bool, Option<u16>), Vec<&OverlayGroup>> {
    let mut alike: BTreeMap<_, Vec<&OverlayGroup>> = BTreeMap::new();
    for group in groups {
        alike.entry((group.endpoints.iter().any(IpAddr::is_ipv6), group.mtu)).or_default().push(group);
    }
    alike
}

fn overlays(groups: &[&OverlayGroup]) -> String {
    match groups {
        [] => String::new(),
        [one] => format!("overlays of {}", one.place),
        [first, rest @ ..] => format!("overlays of {} and of {} tables more", first.place, rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CONFIG, machine, settings};
    use super::*;

    fn judge(config: &str, underlay: u32, uplink: u32) -> Vec<Finding> {
        let mut machine = machine();
        let [one, other] = &mut machine.netdevs[..] else { panic!() };
        (one.link.mtu, other.link.mtu) = (underlay, uplink);
        let mut all = Vec::new();
        check(&settings(config), &Ports { underlays: vec![one], uplinks: vec![other] }, &mut all);
        all
    }

    #[test]
    fn there_is_room() {
        let all = judge(CONFIG, 1600, 1500);
        assert_eq!(all.len(), 3, "over IPv4, over IPv6, the uplink: {all:?}");
        assert!(all.iter().all(|finding| finding.verdict == Verdict::Ok), "{all:?}");
    }

    #[test]
    fn overlays_that_are_made_smaller_than_stations_expect() {
        let all = judge(CONFIG, 1500, 1500);
        for (finding, got, wanted) in [(&all[0], "MTU 1450", "mtu 1550"), (&all[1], "MTU 1430", "mtu 1570")] {
            assert_eq!(finding.verdict, Verdict::Warning);
            assert!(finding.finding.contains(got), "{finding:?}");
            assert!(finding.remedy.as_ref().unwrap().contains(wanted), "{finding:?}");
        }
    }

    #[test]
    fn a_configured_mtu_is_meant() {
        let small = CONFIG.replace("[[overlay]]", "[[overlay]]\nmtu = 1400");
        assert!(judge(&small, 1500, 1500).iter().all(|finding| finding.verdict == Verdict::Ok));
        // Preflight refuses it.
        let large = CONFIG.replace("[[overlay]]", "[[overlay]]\nmtu = 1500");
        assert_eq!(judge(&large, 1500, 1500).len(), 1);
    }

    #[test]
    fn a_small_uplink_is_noted() {
        let all = judge(CONFIG, 1600, 1400);
        assert_eq!(all[2].verdict, Verdict::Note);
        assert!(all[2].finding.contains("1400"), "{all:?}");
    }
}
