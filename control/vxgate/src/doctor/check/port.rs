//! One netdev: what it is, what its driver can do, who else has it.

use std::collections::BTreeSet;

use port::{BindRequest, MAX_MTU, XdpRequest};

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::{Machine, Netdev};
use super::{cores, offloads};
use crate::config::{PortSettings, Settings};

/// Descriptors of a receive ring that a burst between two turns of the worker fits into.
const RING: u32 = 1024;

/// `port` is `None` if the configuration does not name the netdev, or there is none: then nothing is worse than a
/// note. What keeps a configured port from running at all is preflight's to say.
pub(super) fn check(
    netdev: &Netdev,
    port: Option<&PortSettings>,
    settings: Option<&Settings>,
    machine: &Machine,
    all: &mut Vec<Finding>,
) {
    let mut findings = Findings::new(Topic::Port, all);
    let mut judge = Judge::new(&netdev.link.name, port.is_some(), &mut findings);
    link(netdev, &mut judge);
    stacking(netdev, &mut judge);
    xdp(netdev, port, machine, &mut judge);
    queues(netdev, settings, &mut judge);
    frames(netdev, &mut judge);
    offloads::check(netdev, &mut judge);
    node(netdev, settings, machine, &mut judge);
    if port.is_some() {
        addresses(netdev, machine, &mut judge);
    }
}

/// Says what is found on one netdev.
pub(super) struct Judge<'a, 'b> {
    pub(super) name: &'a str,
    configured: bool,
    findings: &'a mut Findings<'b>,
}

impl<'a, 'b> Judge<'a, 'b> {
    pub(super) fn new(name: &'a str, configured: bool, findings: &'a mut Findings<'b>) -> Self {
        Self { name, configured, findings }
    }

    pub(super) fn ok(&mut self, finding: impl Into<String>) {
        self.findings.ok(self.name, finding);
    }

    /// What hurts a port only deserves a note on a netdev that is none.
    pub(super) fn bad(&mut self, verdict: Verdict, finding: impl Into<String>, remedy: impl Into<String>) {
        let verdict = if self.configured { verdict } else { verdict.min(Verdict::Note) };
        self.findings.bad(verdict, self.name, finding, remedy);
    }

    /// What preflight says of a configured port, in words of its own.
    fn note_unless_configured(&mut self, finding: impl Into<String>, remedy: impl Into<String>) {
        if !self.configured {
            self.bad(Verdict::Note, finding, remedy);
        }
    }
}

fn link(netdev: &Netdev, judge: &mut Judge<'_, '_>) {
    let name = judge.name;
    let mut what = match (&netdev.kind, &netdev.driver) {
        (Some(kind), _) => kind.clone(),
        (None, Some(driver)) => format!("driver {}", driver.name),
        (None, None) => "unknown driver".into(),
    };
    if let Some(driver) = netdev.driver.as_ref().filter(|_| netdev.kind.is_none()) {
        for (label, value) in [("at", &driver.bus), ("firmware", &driver.firmware)] {
            if !value.is_empty() {
                what += &format!(", {label} {value}");
            }
        }
    }
    if !netdev.link.up {
        judge.note_unless_configured(
            format!("{what}, down"),
            format!("`ip link set dev {name} up` before use"),
        );
    } else if !netdev.link.carrier {
        judge.bad(
            Verdict::Warning,
            format!("{what}, up without carrier"),
            "look at the cable and at the far end",
        );
    } else {
        let speed = netdev.speed.map_or_else(String::new, |speed| format!(", {speed} Mbit/s"));
        judge.ok(format!("{what}, up{speed}"));
    }
}

/// Netdevs above and below share frames in ways that XDP cuts short.
fn stacking(netdev: &Netdev, judge: &mut Judge<'_, '_>) {
    let name = judge.name;
    if let Some(controller) = &netdev.controller {
        judge.bad(
            Verdict::Warning,
            format!("is a port of {controller}: what the gateway takes never gets there, and addresses are {controller}'s"),
            format!("`ip link set dev {name} nomaster`, or choose another netdev"),
        );
    }
    if let Some(kind @ ("bond" | "team" | "bridge" | "vlan" | "macvlan" | "vxlan" | "tun")) =
        netdev.kind.as_deref()
    {
        judge.bad(
            Verdict::Warning,
            format!("is a {kind} device: each frame goes through the kernel's own layers first"),
            "name a NIC of its own as port",
        );
    }
    if !netdev.uppers.is_empty() {
        judge.bad(
            Verdict::Note,
            format!(
                "carries {}: those get what the gateway does not take; it takes untagged frames only",
                netdev.uppers.join(", ")
            ),
            "keep VXLAN and the blocks' traffic untagged, or move those devices",
        );
    }
}

fn xdp(netdev: &Netdev, port: Option<&PortSettings>, machine: &Machine, judge: &mut Judge<'_, '_>) {
    let name = judge.name;
    let forced = |wanted| port.is_some_and(|port| port.xdp == wanted);
    let zero_copy_forced = port.is_some_and(|port| port.bind == BindRequest::ZeroCopy);
    match netdev.xdp {
        None => judge.bad(
            Verdict::Note,
            "the kernel does not tell what the driver can do with XDP",
            "`vxgate show ports` says what was got once the gateway runs",
        ),
        Some(features) => {
            match (features.native, features.multi_buffer) {
                (true, true) => judge.ok("native XDP with redirect and multi-buffer"),
                (true, false) => judge.ok("native XDP with redirect"),
                (false, _) if forced(XdpRequest::Native) => judge.bad(
                    Verdict::Failure,
                    "the driver has no native XDP, and xdp = \"native\" asks for it",
                    "set xdp = \"auto\" in the [[port]]",
                ),
                (false, _) => judge.bad(
                    Verdict::Warning,
                    "no native XDP: the generic hook is several times slower",
                    "take a NIC whose driver has native XDP",
                ),
            }
            match features.zero_copy {
                true => judge.ok("zero-copy AF_XDP"),
                false if zero_copy_forced => judge.bad(
                    Verdict::Failure,
                    "the driver has no zero-copy AF_XDP, and bind = \"zero-copy\" asks for it",
                    "set bind = \"auto\" in the [[port]]",
                ),
                false => judge.bad(
                    Verdict::Note,
                    "no zero-copy AF_XDP: the kernel copies each frame",
                    "take a NIC whose driver has zero-copy for more packets a second",
                ),
            }
        }
    }
    match netdev.link.xdp_program {
        None => judge.ok("the XDP hook is free"),
        Some(program) if machine.network.gateway_runs && judge.configured => {
            judge.ok(format!("the XDP hook has program {program}, taken to be the running gateway's"));
        }
        Some(program) => judge.note_unless_configured(
            format!("the XDP hook has program {program}"),
            format!("`bpftool prog show id {program}` says whose it is; `ip link set dev {name} xdp off`"),
        ),
    }
}

fn queues(netdev: &Netdev, settings: Option<&Settings>, judge: &mut Judge<'_, '_>) {
    let name = judge.name;
    let workers = settings.map_or(1, |settings| settings.workers.len() as u32);
    let served = match workers {
        1 => "1 worker serves".into(),
        _ => format!("{workers} workers serve"),
    };
    let rss = netdev
        .rss_entries
        .map_or_else(String::new, |entries| format!("; RSS over {entries} entries possible"));
    match netdev.channels {
        Some(channels) => {
            let (used, most) = (channels.rx + channels.combined, channels.max_rx + channels.max_combined);
            if used == workers {
                judge.ok(format!("receives on {used} of at most {most} queues, which {served}{rss}"));
            } else {
                let line = match channels.max_combined {
                    0 => format!("`ethtool -L {name} rx {workers} tx {workers}`"),
                    _ => format!("`ethtool -L {name} combined {workers}`"),
                };
                judge.note_unless_configured(
                    format!("receives on {used} of at most {most} queues, and {served} as many as there are workers{rss}"),
                    format!("{line} before it is a port, or workers = {used} in [gateway]"),
                );
            }
        }
        None if netdev.link.rx_queues == workers => {
            judge.ok(format!("has as many queues as {served}: {workers}"))
        }
        None => judge.bad(
            Verdict::Note,
            format!(
                "was made with {} receive queues; the driver does not tell how many it uses",
                netdev.link.rx_queues
            ),
            format!("there must be one for each worker: {workers}"),
        ),
    }
    if let Some(rings) = netdev.rings.filter(|rings| rings.rx > 0) {
        let wanted = RING.min(rings.max_rx);
        if rings.rx < wanted {
            judge.bad(
                Verdict::Note,
                format!("receive ring of {} descriptors: short bursts are lost", rings.rx),
                format!("`ethtool -G {name} rx {wanted}`"),
            );
        } else {
            judge.ok(format!(
                "rings: receive {} of {}, transmit {} of {}",
                rings.rx, rings.max_rx, rings.tx, rings.max_tx
            ));
        }
    }
}

fn frames(netdev: &Netdev, judge: &mut Judge<'_, '_>) {
    let (name, mtu) = (judge.name, netdev.link.mtu);
    if mtu <= u32::from(MAX_MTU) {
        judge.ok(format!("MTU {mtu} of at most {MAX_MTU}: a frame fits one buffer"));
    } else {
        judge.note_unless_configured(
            format!("MTU {mtu}: the gateway takes frames of one buffer, MTU {MAX_MTU} at most"),
            format!("`ip link set dev {name} mtu {MAX_MTU}` before it is a port"),
        );
    }
}

fn node(netdev: &Netdev, settings: Option<&Settings>, machine: &Machine, judge: &mut Judge<'_, '_>) {
    let Some(node) = netdev.node.and_then(|node| machine.memory.nodes.iter().find(|it| it.number == node))
    else {
        return;
    };
    let near = cores(&node.cores);
    let workers = settings.map_or(&[][..], |settings| &settings.workers);
    let far: BTreeSet<usize> =
        workers.iter().flatten().copied().filter(|core| !node.cores.contains(core)).collect();
    if !far.is_empty() {
        judge.bad(
            Verdict::Warning,
            format!(
                "is attached to NUMA node {}, and cores of workers are of another: {}",
                node.number,
                cores(&far)
            ),
            format!("set cores in [gateway] to some of {near}"),
        );
    } else if workers.contains(&None) && machine.memory.nodes.len() > 1 {
        judge.bad(
            Verdict::Note,
            format!("is attached to NUMA node {}, and workers may run on any", node.number),
            format!("set cores in [gateway] to some of {near}"),
        );
    } else {
        judge.ok(format!("is attached to NUMA node {} (cores {near})", node.number));
    }
}

fn addresses(netdev: &Netdev, machine: &Machine, judge: &mut Judge<'_, '_>) {
    let addresses = machine.network.tables.addresses.iter();
    let addresses: Vec<String> = addresses
        .filter(|address| address.link == netdev.link.index && address.global)
        .map(|address| address.address.to_string())
        .collect();
    if !addresses.is_empty() {
        judge.ok(format!("addresses {}", addresses.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use sys::ethtool::{Channels, Rings};

    use super::super::super::machine::XdpFeatures;
    use super::super::testing::{CONFIG, machine, settings};
    use super::*;

    /// What is not right with the uplink of a machine that was right before.
    fn judge(config: Option<&str>, spoil: impl FnOnce(&mut Machine)) -> Vec<(Verdict, String)> {
        let mut machine = machine();
        spoil(&mut machine);
        let settings = config.map(settings);
        let port = settings.as_ref().map(|settings| &settings.ports[1]);
        let mut all = Vec::new();
        check(&machine.netdevs[1], port, settings.as_ref(), &machine, &mut all);
        let not_right = all.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
        not_right
            .map(|finding| (finding.verdict, finding.finding + " -> " + &finding.remedy.expect("a remedy")))
            .collect()
    }

    /// Expects one finding with both verdicts, on a port and on a netdev that is none, and with these words.
    #[track_caller]
    fn found(spoil: impl Fn(&mut Netdev), on_port: Verdict, words: &[&str]) {
        for (config, verdict) in [(Some(CONFIG), on_port), (None, on_port.min(Verdict::Note))] {
            let found = judge(config, |machine| spoil(&mut machine.netdevs[1]));
            let [(got, text)] = &found[..] else { panic!("{found:?}") };
            assert_eq!(*got, verdict, "{text}");
            words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in {text}"));
        }
    }

    #[test]
    fn a_good_nic() {
        assert_eq!(judge(Some(CONFIG), |_| {}), []);
        assert_eq!(judge(None, |_| {}), []);
    }

    #[test]
    fn links() {
        found(|it| it.link.carrier = false, Verdict::Warning, &["without carrier", "cable"]);
        found(
            |it| it.controller = Some("bond0".into()),
            Verdict::Warning,
            &["port of bond0", "uplink0 nomaster"],
        );
        found(|it| it.kind = Some("bond".into()), Verdict::Warning, &["is a bond"]);
        found(|it| it.uppers = vec!["uplink0.7".into()], Verdict::Note, &["uplink0.7"]);
    }

    #[test]
    fn xdp_features() {
        let features = |native, zero_copy| XdpFeatures { native, zero_copy, multi_buffer: false };
        found(|it| it.xdp = None, Verdict::Note, &["show ports"]);
        found(|it| it.xdp = Some(features(false, true)), Verdict::Warning, &["generic hook"]);
        found(|it| it.xdp = Some(features(true, false)), Verdict::Note, &["no zero-copy"]);
        let forced =
            CONFIG.replace("role = \"uplink\"", "role = \"uplink\"\nxdp = \"native\"\nbind = \"zero-copy\"");
        let found = judge(Some(&forced), |machine| machine.netdevs[1].xdp = Some(features(false, false)));
        let failures =
            found.iter().filter(|(verdict, text)| *verdict == Verdict::Failure && text.contains("auto"));
        assert_eq!(failures.count(), 2, "{found:?}");
    }

    #[test]
    fn queues_and_rings() {
        let short = Rings { rx: 256, tx: 256, max_rx: 4096, max_tx: 4096 };
        found(|it| it.rings = Some(short), Verdict::Note, &["256", "ethtool -G uplink0 rx 1024"]);
        let tiny = Rings { rx: 512, tx: 512, max_rx: 512, max_tx: 512 };
        assert_eq!(judge(Some(CONFIG), |machine| machine.netdevs[1].rings = Some(tiny)), []);
    }

    #[test]
    fn what_preflight_says_is_noted_on_other_netdevs_only() {
        type Spoil = fn(&mut Netdev);
        let spoilers: [(Spoil, &str); 4] = [
            (|it| it.link.up = false, "ip link set dev uplink0 up"),
            (|it| it.link.xdp_program = Some(42), "bpftool prog show id 42"),
            (|it| it.link.mtu = 9000, "mtu "),
            (
                |it| it.channels = Some(Channels { combined: 8, max_combined: 8, ..Channels::default() }),
                "ethtool -L uplink0 combined 1",
            ),
        ];
        for (spoil, words) in spoilers {
            assert_eq!(judge(Some(CONFIG), |machine| spoil(&mut machine.netdevs[1])), []);
            let found = judge(None, |machine| spoil(&mut machine.netdevs[1]));
            assert!(matches!(&found[..], [(Verdict::Note, text)] if text.contains(words)), "{found:?}");
        }
    }

    #[test]
    fn the_node_of_the_port_and_of_the_core() {
        let far = judge(Some(CONFIG), |machine| machine.netdevs[1].node = Some(1));
        assert!(matches!(&far[..], [(Verdict::Warning, text)] if text.contains("some of 4-7")), "{far:?}");
        let free = judge(Some(&CONFIG.replace("cores = [2]", "")), |_| {});
        assert!(matches!(&free[..], [(Verdict::Note, text)] if text.contains("some of 0-3")), "{free:?}");
    }
}
