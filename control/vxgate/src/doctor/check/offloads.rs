//! Offloads: of the NIC, which change frames before XDP sees them, and of the other end of a veth, whose kernel sends
//! frames that no wire would carry.

use sys::ethtool::Feature;

use super::super::finding::Verdict;
use super::super::machine::{Netdev, Peer};
use super::port::Judge;

/// What a NIC must not do on its own, by the kernel's name, and why.
const HARMFUL: [(&str, &str); 4] = [
    ("rx-lro", "LRO is on: packets are merged to longer ones than came, and DF and headers are lost"),
    ("rx-gro-hw", "hardware GRO is on: packets are merged before XDP sees them"),
    ("rx-vlan-hw-parse", "VLAN tags are taken off by the NIC: tagged frames pass for untagged ones"),
    (
        "rx-vlan-stag-hw-parse",
        "service tags (802.1ad) are taken off by the NIC: tagged frames pass for untagged ones",
    ),
];

/// What the kernel at the other end of a veth must not leave unfinished: the beginnings of the kernel's names, and what
/// `ethtool -K` calls all of them.
const UNFINISHED: [(&str, &str); 5] = [
    ("tx-checksum-", "tx"),
    ("tx-tcp", "tso"),
    ("tx-generic-segmentation", "gso"),
    ("tx-vlan-hw-insert", "txvlan"),
    ("tx-vlan-stag-hw-insert", "tx-vlan-stag-hw-insert"),
];

pub(super) fn check(netdev: &Netdev, judge: &mut Judge<'_, '_>) {
    let name = judge.name;
    let on = |name: &str| netdev.features.iter().find(|feature| feature.name == name && feature.on);
    let mut harmless = true;
    for (offload, harm) in HARMFUL {
        let Some(feature) = on(offload) else { continue };
        harmless = false;
        if !feature.fixed {
            judge.bad(Verdict::Warning, harm, format!("`ethtool -K {name} {offload} off`"));
        } else if offload.starts_with("rx-vlan") {
            let remedy = "the driver cannot switch it off: let no tagged frames come from the switch";
            judge.bad(Verdict::Warning, harm, remedy);
        } else {
            let remedy = "it cannot be switched off by hand; drivers do so while an XDP program is attached";
            judge.bad(Verdict::Note, harm, remedy);
        }
    }
    if harmless && !netdev.features.is_empty() {
        judge.ok("no receive offload in the way");
    }
    match &netdev.peer {
        Some(Peer::Here { name: peer, features }) => peer_here(peer, features, judge),
        Some(Peer::Elsewhere) => judge.bad(
            Verdict::Note,
            "its other end is in another network namespace, where unfinished frames may come from: that cannot be seen",
            format!("in the other namespace, with the other end's name for PEER: {}", switch_off("PEER", &UNFINISHED.map(|it| it.1))),
        ),
        None => {}
    }
}

fn peer_here(peer: &str, features: &[Feature], judge: &mut Judge<'_, '_>) {
    let on: Vec<&str> = UNFINISHED
        .iter()
        .filter(|(prefix, _)| features.iter().any(|it| it.on && !it.fixed && it.name.starts_with(prefix)))
        .map(|(_, name)| *name)
        .collect();
    if on.is_empty() {
        judge.ok(format!("its other end, {peer}, sends whole frames"));
    } else {
        judge.bad(
            Verdict::Warning,
            format!("its other end, {peer}, sends unfinished frames: {} on", on.join(", ")),
            switch_off(peer, &on),
        );
    }
}

fn switch_off(interface: &str, offloads: &[&str]) -> String {
    format!("`ethtool -K {interface} {} off`", offloads.join(" off "))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::{Finding, Findings, Topic};
    use super::super::testing::{feature, machine};
    use super::*;

    fn judge(spoil: impl FnOnce(&mut Netdev)) -> Vec<Finding> {
        let mut netdev = machine().netdevs.remove(1);
        spoil(&mut netdev);
        let mut all = Vec::new();
        check(&netdev, &mut Judge::new("uplink0", true, &mut Findings::new(Topic::Port, &mut all)));
        all
    }

    #[test]
    fn each_harmful_offload_has_its_remedy() {
        for (offload, _) in HARMFUL {
            let all = judge(|netdev| netdev.features.push(feature(offload, true)));
            let [finding] = &all[..] else { panic!("{all:?}") };
            assert_eq!(finding.verdict, Verdict::Warning);
            assert_eq!(finding.remedy.as_deref(), Some(&*format!("`ethtool -K uplink0 {offload} off`")));
        }
        let fixed = |name| {
            let all = judge(|netdev| netdev.features.push(Feature { fixed: true, ..feature(name, true) }));
            (all[0].verdict, all[0].remedy.clone().unwrap())
        };
        let (verdict, remedy) = fixed("rx-vlan-hw-parse");
        assert!(verdict == Verdict::Warning && remedy.contains("no tagged frames"), "{remedy}");
        assert_eq!(fixed("rx-gro-hw").0, Verdict::Note);
        assert_eq!(judge(|_| {})[0].verdict, Verdict::Ok);
    }

    #[test]
    fn the_other_end_of_a_veth() {
        let with = |on| {
            let features = ["tx-checksum-ip-generic", "tx-tcp6-segmentation", "tx-generic-segmentation"];
            let features = features.map(|name| feature(name, on)).to_vec();
            judge(|netdev| netdev.peer = Some(Peer::Here { name: "far0".into(), features }))
        };
        let all = with(true);
        assert_eq!(all[1].verdict, Verdict::Warning);
        assert_eq!(all[1].remedy.as_deref(), Some("`ethtool -K far0 tx off tso off gso off`"));
        assert_eq!(with(false)[1].verdict, Verdict::Ok);
        let unseen = judge(|netdev| netdev.peer = Some(Peer::Elsewhere));
        assert_eq!(unseen[1].verdict, Verdict::Note);
        assert!(unseen[1].remedy.as_ref().unwrap().contains("ethtool -K PEER tx off"), "{unseen:?}");
    }
}
