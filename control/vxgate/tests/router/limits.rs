//! Rate limits of an overlay, each way.
//!
//! What passes is held against the time that passed, by the gateway's own counters: a token bucket never lets more through
//! than its rate and what it has saved up, however unevenly a busy machine sends.

use std::thread;
use std::time::{Duration, Instant};

use lab::{Family, Iperf, IperfReport, Scene, Station};

use crate::{Plan, idle_scene, start};

/// Bits of IP packets a second.
const EGRESS: u64 = 20_000_000;
const INGRESS: u64 = 10_000_000;
/// What is offered, in bits a second: more than either.
const OFFERED: u64 = 40_000_000;
/// What may have been saved up.
const BURST: Duration = Duration::from_millis(100);

fn measure(scene: &Scene, station: &Station, family: Family, iperf: Iperf) -> IperfReport {
    iperf.run(&station.host.namespace, &scene.outer.namespace, scene.outer_address(family)).unwrap()
}

/// What has passed in the overlay of a station, of a unit of the counters.
fn passed(scene: &Scene, station: &Station, counter: &str) -> u64 {
    let rows = scene.gateway.show("overlays").unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["vni"] == station.site.vni.value());
    row.and_then(|row| row[counter].as_u64()).unwrap_or_else(|| panic!("no {counter} in {rows}"))
}

/// That what passes during `work`, which takes a second at least, is within `rate` units a second, and of a second's
/// worth at least that part.
#[track_caller]
fn held_to<T>(rate: u64, least: f64, passed: impl Fn() -> u64, work: impl FnOnce() -> T) -> T {
    let (began, before) = (Instant::now(), passed());
    let done = work();
    let units = (passed() - before) as f64;
    let most = rate as f64 * (began.elapsed() + BURST).as_secs_f64();
    assert!(rate as f64 * least < units && units <= most, "{units} of at most {most}, at {rate} a second");
    done
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
    let over_limit = || scene.gateway.counter("over_limit").unwrap();
    for family in Family::BOTH {
        for (limit, counter, udp, tcp) in [
            (EGRESS, "egress_bytes", Iperf::udp(OFFERED), Iperf::tcp()),
            (INGRESS, "ingress_bytes", Iperf::udp(OFFERED).reverse(), Iperf::tcp().reverse()),
        ] {
            let bits = || passed(&scene, limited, counter) * 8;
            let before = over_limit();
            // At the same time, so that one's excess could cost the other.
            let [held, other] = held_to(limit, 0.3, bits, || {
                thread::scope(|scope| {
                    let measuring =
                        [limited, free].map(|station| scope.spawn(|| measure(&scene, station, family, udp)));
                    measuring.map(|measuring| measuring.join().unwrap())
                })
            });
            let refused = over_limit() - before;
            assert!(refused > 0);
            // The free one was offered as much; were it held to anything, it would have lost a good part.
            assert!(refused < held.lost + other.datagrams / 10, "{refused} refused: {held:?}, {other:?}");
            // Without a queue, TCP finds a rate by losing whole windows.
            held_to(limit, 0.1, bits, || measure(&scene, limited, family, tcp));
        }
    }
}

#[test]
fn packets_are_limited_too() {
    const PACKETS: u64 = 500;
    let mut scene = idle_scene(1);
    let limits = format!("egress-limit = {{ packets = {PACKETS} }}");
    start(&mut scene, &Plan { defaults: &limits, ..Plan::default() });
    let station = &scene.stations[0];
    for family in Family::BOTH {
        let packets = || passed(&scene, station, "egress_packets");
        let report = held_to(PACKETS, 0.3, packets, || measure(&scene, station, family, Iperf::udp(OFFERED)));
        assert!(report.datagrams > 2 * PACKETS, "{report:?}");
    }
}
