//! Rate limits of an overlay, each way.

use std::thread;

use lab::{Family, Iperf, IperfReport, Scene, Station};

use crate::{Plan, idle_scene, start};

/// Bits of IP packets a second.
const EGRESS: u64 = 20_000_000;
const INGRESS: u64 = 10_000_000;
/// What is offered, in bits a second: more than either.
const OFFERED: u64 = 40_000_000;
/// What may have been saved up is a tenth of a second's; a measurement is of a second.
const SLACK: f64 = 1.15;

fn measure(scene: &Scene, station: &Station, family: Family, iperf: Iperf) -> IperfReport {
    iperf.run(&station.host.namespace, &scene.outer.namespace, scene.outer_address(family)).unwrap()
}

#[test]
fn an_overlay_is_held_to_its_limits_and_others_are_not() {
    let mut scene = idle_scene(2);
    let limits = format!(
        "egress-limit = {{ bits = {EGRESS} }}\ningress-limit = {{ bits = \"{}M\" }}",
        INGRESS / 1_000_000
    );
    start(&mut scene, &Plan { overlays: &[(1, &limits)], ..Plan::default() });
    let [limited, free] = &scene.stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        for (limit, udp, tcp) in [
            (EGRESS, Iperf::udp(OFFERED), Iperf::tcp()),
            (INGRESS, Iperf::udp(OFFERED).reverse(), Iperf::tcp().reverse()),
        ] {
            // At the same time, so that one's excess could cost the other.
            let [held, other] = thread::scope(|scope| {
                let measuring =
                    [limited, free].map(|station| scope.spawn(|| measure(&scene, station, family, udp)));
                measuring.map(|measuring| measuring.join().unwrap())
            });
            let within = |report: &IperfReport, least: f64| {
                let share = report.bits_per_second / limit as f64;
                assert!(least < share && share < SLACK, "{family:?}, {limit}: {report:?}");
            };
            within(&held, 0.5);
            assert!(other.bits_per_second > OFFERED as f64 * 0.9, "{family:?}: {other:?}");
            // Without a queue, TCP finds a rate by losing whole windows.
            within(&measure(&scene, limited, family, tcp), 0.25);
        }
    }
    assert!(scene.gateway.counter("over_limit").unwrap() > 0);
}

#[test]
fn packets_are_limited_too() {
    const PACKETS: u64 = 500;
    let mut scene = idle_scene(1);
    let limits = format!("egress-limit = {{ packets = {PACKETS} }}");
    start(&mut scene, &Plan { defaults: &limits, ..Plan::default() });
    for family in Family::BOTH {
        let report = measure(&scene, &scene.stations[0], family, Iperf::udp(OFFERED));
        assert!(report.datagrams > 2 * PACKETS, "{report:?}");
        let share = (report.datagrams - report.lost) as f64 / PACKETS as f64;
        assert!(0.5 < share && share < SLACK, "{family:?}: {report:?}");
    }
}
