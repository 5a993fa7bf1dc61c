//! Several workers: flows are spread over them, they sleep when they may, and frames may be long. Needs root.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Family, Iperf, Namespace, Ping, Scene, Site, TopologyOptions, transfer, wait_until};
use port::xdp::{Classifier, ClassifierConfig, PortRole};
use port::{Batch, BindRequest, ChunkSize, Queue, Umem, Waker, XdpRequest};
use serde_json::Value;

/// How long anything may take that happens soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// A scene of two overlays, one behind an endpoint over IPv4 and one over IPv6; the gateway is not started.
fn scene(queues: u16, mtu: u16) -> Scene {
    let options = TopologyOptions { queues, mtu, ..TopologyOptions::new(&Scene::blocks()) };
    Scene::build(Path::new(env!("CARGO_BIN_EXE_vxgate")), &options, &[1, 2].map(Site::numbered)).unwrap()
}

/// Starts the gateway with this instead of the line that says how it polls.
fn start(scene: &mut Scene, keys: &str) {
    let config = scene.config(&scene.overlays());
    let changed = config.replace("polling = \"adaptive\"", keys);
    assert_ne!(config, changed);
    scene.gateway.configure(&changed).unwrap();
    scene.gateway.start().unwrap();
}

fn ping_both_ways(scene: &Scene, size: [u16; 2]) {
    let complete = |from: &Namespace, to, size| {
        for _ in 0..5 {
            let ping = Ping::to(to).size(size).count(1).timeout(PATIENCE);
            let report = ping.run(from).unwrap();
            assert!(report.is_complete(), "from {} to {to}: {report:?}", from.name());
        }
    };
    for station in &scene.stations {
        for (family, size) in Family::BOTH.into_iter().zip(size) {
            complete(&station.host.namespace, scene.outer_address(family), size);
            complete(&scene.outer.namespace, station.address(family), size);
        }
    }
}

fn rows(shown: &Value) -> &[Value] {
    shown.as_array().expect("rows")
}

fn column(shown: &Value, name: &str) -> Vec<u64> {
    rows(shown).iter().map(|row| row[name].as_u64().unwrap_or_else(|| panic!("no {name} in {row}"))).collect()
}

#[test]
fn flows_are_spread_over_two_workers_and_none_is_lost() {
    let mut scene = scene(2, 1500);
    start(&mut scene, "polling = \"adaptive\"\ncores = [0, 1]");
    ping_both_ways(&scene, [56, 56]);
    for station in &scene.stations {
        for family in Family::BOTH {
            for iperf in [Iperf::tcp().streams(8), Iperf::tcp().streams(8).reverse()] {
                let (inside, outside) = (&station.host.namespace, &scene.outer.namespace);
                let report = iperf.run(inside, outside, scene.outer_address(family)).unwrap();
                assert!(report.bits_per_second > 0.0, "{report:?}");
            }
        }
    }
    ping_both_ways(&scene, [56, 56]);

    let show = |what| scene.gateway.show(what).unwrap();
    let workers = show("workers");
    assert_eq!((column(&workers, "number"), column(&workers, "core")), (vec![0, 1], vec![0, 1]));
    assert!(rows(&workers).iter().all(|worker| worker["polling"] == "adaptive"), "{workers}");
    // A hash of some hundred connections leaves none without.
    assert!(column(&workers, "frames").iter().all(|frames| *frames > 1000), "{workers}");
    let ports = show("ports");
    assert_eq!(column(&ports, "queues"), [2, 2]);
    assert!(rows(&ports).iter().all(|port| port["xdp"] == "native"), "{ports}");
    assert_eq!(scene.gateway.counter("transmit_full").unwrap(), 0);

    // What they received is what the ports did, and each of these frames ended in a counter.
    wait_until("the sums of a quiet moment", PATIENCE, || {
        let before = column(&show("workers"), "frames");
        let ports: u64 = column(&show("ports"), "rx_packets").iter().sum();
        let counters = show("counters");
        let after = column(&show("workers"), "frames");
        let of_frames = rows(&counters).iter().filter(|row| row["outcome"] != "slow_path");
        let not_answers = of_frames.filter(|row| row["name"] != "slow_path");
        let ended: u64 = not_answers.filter_map(|row| row["value"].as_u64()).sum();
        let frames: u64 = after.iter().sum();
        let said = format!("{before:?}, {after:?}, ports {ports}, ended {ended}");
        // Those that waited for an address ended twice.
        (before == after && frames == ports && frames <= ended).then_some(()).ok_or(said)
    })
    .unwrap();
}

#[test]
fn workers_without_a_queue_are_refused() {
    let mut scene = scene(2, 1500);
    for (workers, interface) in [(1, "underlay0"), (3, "uplink0")] {
        let config = scene.config(&scene.overlays());
        let config = config.replace("polling =", &format!("workers = {workers}\npolling ="));
        scene.gateway.configure(&config).unwrap();
        let error = scene.gateway.start().unwrap_err().to_string();
        let remedy = format!("ethtool -L {interface} combined {workers}");
        for text in ["receives on 2 queues", "set workers = 2", &remedy] {
            assert!(error.contains(text), "no {text:?} in {error}");
        }
    }
    let gateway = &scene.topology.gateway;
    for interface in ["underlay0", "uplink0"] {
        gateway.run("ethtool", &["-L", interface, "rx", "1", "tx", "1"]).unwrap();
    }
    start(&mut scene, "workers = 1");
    ping_both_ways(&scene, [56, 56]);
}

/// Clock ticks in which /proc counts, a second: the kernel's `USER_HZ`.
const TICKS: f64 = 100.0;

/// Processor time of the threads `worker-…`, each.
fn time_of_workers(pid: u32) -> Vec<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap());
    let time_of = |stat: String| {
        // proc_pid_stat(5): from the third field on, behind the name, which may hold blanks.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<i64> =
            rest.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        let used = (fields.get(10)? + fields.get(11)?) as f64 / TICKS;
        name.starts_with("worker-").then(|| Duration::from_secs_f64(used))
    };
    stats.filter_map(time_of).collect()
}

#[test]
fn idle_workers_sleep_and_wake_for_a_frame() {
    /// Sleeps that are watched, of 4 ms at most.
    const WATCHED: u64 = 500;
    let mut scene = scene(2, 1500);
    start(&mut scene, "polling = \"adaptive\"\nworkers = 2");
    let pid = scene.gateway.process().unwrap().pid();
    let activity = |scene: &Scene| {
        let workers = scene.gateway.show("workers").unwrap();
        column(&workers, "sleeps").into_iter().zip(column(&workers, "rounds")).collect::<Vec<_>>()
    };
    let (began, before, time_before) = (Instant::now(), activity(&scene), time_of_workers(pid));
    assert_eq!((before.len(), time_before.len()), (2, 2));
    let after = wait_until("many sleeps", PATIENCE, || {
        let after = activity(&scene);
        let enough = after.iter().zip(&before).all(|(after, before)| after.0 - before.0 >= WATCHED);
        if enough { Ok(after) } else { Err(format!("{before:?}, {after:?}")) }
    })
    .unwrap();
    for ((sleeps, rounds), (sleeps_before, rounds_before)) in after.iter().zip(&before) {
        // One look after each, and some more where a frame came.
        let (slept, looked) = (sleeps - sleeps_before, rounds - rounds_before);
        assert!(looked < 100 * slept, "{slept} sleeps, {looked} rounds");
    }
    let elapsed = began.elapsed();
    for (after, before) in time_of_workers(pid).into_iter().zip(time_before) {
        assert!(after - before < elapsed / 4, "{:?} of {elapsed:?}", after - before);
    }
    ping_both_ways(&scene, [56, 56]);

    start(&mut scene, "polling = \"busy\"\nworkers = 2");
    wait_until("many rounds", PATIENCE, || {
        let activity = activity(&scene);
        activity
            .iter()
            .all(|(sleeps, rounds)| *sleeps == 0 && *rounds > 100_000)
            .then_some(())
            .ok_or(format!("{activity:?}"))
    })
    .unwrap();
    ping_both_ways(&scene, [56, 56]);
}

/// A worker that sleeps without end is woken by a frame. (Where it wakes by itself, nobody would see the difference.)
#[test]
fn a_frame_ends_the_sleep() {
    let scene = scene(1, 1500);
    let nic = &scene.topology.uplink0;
    let links = nic.namespace.ip_json(&["link", "show", "dev", &nic.interface]).unwrap();
    let ifindex = links[0]["ifindex"].as_u64().unwrap() as u32;
    let program = ClassifierConfig {
        role: PortRole::Uplink,
        mac: nic.mac,
        vteps: Vec::new(),
        answered: Vec::new(),
        blocks: Scene::blocks(),
        queues: 1,
        frame_limit: 1514,
    };
    let waker = Waker::new().unwrap();
    let sleep = || {
        let (umem, mut pool) = Umem::new(port::frames_for(1), ChunkSize::Small).unwrap();
        let queue = Queue { interface: &nic.interface, ifindex, queue: 0 };
        let mut ports = port::open(&umem, &[queue], BindRequest::Copy).unwrap().ports;
        ports[0].refill(&mut pool);
        let mut classifier = Classifier::load(&program).unwrap();
        classifier.set_socket(0, ports[0].socket().unwrap()).unwrap();
        classifier.attach(ifindex, &nic.interface, XdpRequest::Native).unwrap();
        port::wait(&ports, &waker, Duration::from_secs(3600));
        let mut batch = Batch::new();
        ports[0].receive(&mut batch)
    };
    let frames = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| nic.namespace.enter(sleep).unwrap());
        let ended = wait_until("the end of the sleep", PATIENCE, || {
            let station = scene.stations[0].address(Family::V4);
            let ping = Ping::to(station).count(1).timeout(Duration::from_millis(1));
            ping.run(&scene.neighbour.namespace).unwrap();
            sleeper.is_finished()
        });
        // If no frame did it; else it is awake.
        waker.wake();
        let frames = sleeper.join().unwrap();
        ended.map(|()| frames).unwrap()
    });
    assert!(frames > 0);
}

#[test]
fn long_packets_pass_both_ways() {
    /// Near the most that veth takes together with native XDP.
    const MTU: u16 = 3300;
    let mut scene = scene(2, MTU);
    let overlays = scene.overlays().replace("endpoints =", &format!("mtu = {MTU}\nendpoints ="));
    let config = scene.config(&overlays).replace("polling =", "workers = 2\npolling =");
    scene.gateway.configure(&config).unwrap();
    scene.gateway.start().unwrap();
    let ports = scene.gateway.show("ports").unwrap();
    assert_eq!(column(&ports, "mtu"), [u64::from(MTU) + 100, MTU.into()]);
    assert!(rows(&ports).iter().all(|port| port["xdp"] == "native"), "{ports}");
    // IP takes 20 or 40 bytes of a packet, ICMP 8.
    ping_both_ways(&scene, [MTU - 28, MTU - 48]);
    for station in &scene.stations {
        for family in Family::BOTH {
            let (inside, outside) = (&station.host.namespace, &scene.outer.namespace);
            transfer(inside, outside, scene.outer_address(family), 4 << 20).unwrap();
            transfer(outside, inside, station.address(family), 4 << 20).unwrap();
        }
    }
    assert_eq!(scene.gateway.counter("too_big").unwrap(), 0);
    let ports = scene.gateway.show("ports").unwrap();
    assert!(rows(&ports).iter().all(|port| port["socket"]["rx_dropped"] == 0), "{ports}");
}
