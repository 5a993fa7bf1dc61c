//! The probe for gaps, over a link that is cut for a while. Needs root.

use std::thread;
use std::time::{Duration, Instant};

use lab::{Family, GapProbe, Lab, Namespace, ProbeFlow, Subnets, Topology, VethEnd, VethOptions, veth};

const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(1);
const CUT: Duration = Duration::from_millis(200);
const NET: Subnets = Topology::OUTER;

fn flow(from: &Namespace, to: &Namespace, family: Family, number: u8) -> ProbeFlow {
    let name = format!("{} to {}, {family:?}", from.name(), to.name());
    ProbeFlow { name, from: from.clone(), to: to.clone(), destination: NET.address(family, number) }
}

#[test]
fn a_cut_link_is_a_gap_and_losses_each_way() {
    let lab = Lab::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| lab.namespace(name).unwrap());
    veth(VethEnd::new(&one, "eth0"), VethEnd::new(&other, "eth0"), VethOptions::default()).unwrap();
    for (namespace, number) in [(&one, 1), (&other, 2)] {
        // A link that comes back finds the addresses still there.
        namespace.set("net.ipv6.conf.eth0.keep_addr_on_down", "1").unwrap();
        for address in NET.addresses(number) {
            namespace.ip(&format!("address add {address} dev eth0")).unwrap();
        }
    }
    let flows: Vec<ProbeFlow> = Family::BOTH
        .into_iter()
        .flat_map(|family| [flow(&one, &other, family, 2), flow(&other, &one, family, 1)])
        .collect();
    let begin = Instant::now();
    let probe = GapProbe::start(&flows, INTERVAL).unwrap();
    probe.wait_flowing(100, PATIENCE).unwrap();

    let fault = Instant::now();
    one.ip("link set eth0 down").unwrap();
    let down = Instant::now();
    // How long the fault lasts is what is measured.
    thread::sleep(CUT);
    let cut = down.elapsed();
    one.ip("link set eth0 up").unwrap();
    probe.wait_flowing(100, PATIENCE).unwrap();
    let report = probe.stop().unwrap();

    let window = report.since(fault);
    assert_eq!(window.flows.len(), 4);
    for flow in &window.flows {
        eprintln!(
            "=== {}: {:?}, {} of {} lost in {:?}; the probe's own {:?}, {:?}, {} skipped, real-time {} ===",
            flow.name,
            flow.gap_length(),
            flow.lost(),
            flow.sent,
            flow.lost_numbers,
            window.sender_gap,
            window.receiver_gap,
            flow.skipped,
            window.is_realtime,
        );
        assert!(flow.gap_length() >= cut, "{flow:?}");
        assert!(flow.recovery.is_some_and(|time| time >= cut), "{flow:?}");
        // The other end's kernel keeps some until the link is back.
        assert!(flow.lost() > 0 || flow.name.starts_with("other"), "{flow:?}");
        assert!(flow.received >= 100, "{flow:?}");
        let runs = flow.lost_numbers.iter().map(|run| run.end() - run.start() + 1).sum::<u64>();
        assert!(runs >= flow.lost(), "{flow:?}");
        assert_eq!(flow.duplicates, 0, "{flow:?}");
    }
    let all = report.since(begin);
    assert!(all.flows.iter().zip(&window.flows).all(|(all, part)| all.sent > part.sent));
}
