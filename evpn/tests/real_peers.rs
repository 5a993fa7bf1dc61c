//! FRR and GoBGP as peers, in namespaces. Needs root.

#[allow(dead_code, reason = "the rest is for speakers in virtual time")]
#[path = "speaker/support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use evpn::net::{Driver, Handle, Told};
use evpn::{
    DownReason, DuplicatePolicy, Event, Family, Identity, Local, PeerConfig, PrefixAttributes, Reach,
    RouteTargets, SessionState, Speaker,
};
use lab::{Attach, Frr, GoBgp, Host, Lab, Namespace, Offloads, Segment, wait_until};
use support::{ASN, View, vni};
use wire::MacAddr;

const PATIENCE: Duration = Duration::from_secs(60);
const SHARED: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 0, 1]);
const STATION: MacAddr = MacAddr([0x02, 0, 0, 0, 1, 0x0a]);

/// Hosts on one link, each with the addresses 198.18.9.N and 2001:db8:9::N.
struct Link {
    lab: Lab,
    segment: Segment,
}

impl Link {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let segment = Segment::new(&lab.namespace("link").unwrap(), "bridge", 1600, Offloads::Off).unwrap();
        Self { lab, segment }
    }

    fn host(&self, name: &str, number: u8) -> Host {
        let addresses = vec![
            format!("198.18.9.{number}/24").parse().unwrap(),
            format!("2001:db8:9::{number}/64").parse().unwrap(),
        ];
        let attach = Attach { addresses, ..Attach::default() };
        self.segment.host(&self.lab, name, attach, &[]).unwrap()
    }
}

fn v4(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 9, number).into()
}

fn v6(number: u8) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, number.into()])
}

/// Our speaker, running in a namespace.
struct Gateway {
    handle: Option<Handle>,
    runtime: tokio::runtime::Runtime,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<(View, Vec<Event>)>>,
}

impl Gateway {
    /// In AS 65000, identifier and VTEP 198.18.9.NUMBER, overlay 100.
    fn start(namespace: &Namespace, number: u8, peers: Vec<PeerConfig>) -> Self {
        Self::start_in(ASN, namespace, number, peers)
    }

    fn start_in(asn: u32, namespace: &Namespace, number: u8, peers: Vec<PeerConfig>) -> Self {
        let IpAddr::V4(router_id) = v4(number) else { unreachable!() };
        let local = Local { asn, router_id, cluster: number.into() };
        let identity = Identity {
            vteps: [v4(number), v6(number)].into(),
            shared_macs: [SHARED].into(),
            ..Identity::default()
        };
        let mut speaker = Speaker::new(local, identity, DuplicatePolicy::default(), number.into());
        speaker.set_overlays([(vni(100), RouteTargets::Frr)]);
        peers.into_iter().for_each(|peer| {
            speaker.add_peer(peer).unwrap();
        });
        let seen = Arc::new(Mutex::new((View::default(), Vec::new())));
        let (started, start) = mpsc::channel();
        let (namespace, shared) = (namespace.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let inside = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listen: [SocketAddr; 2] =
                        [SocketAddr::new(v4(number), 179), SocketAddr::new(v6(number), 179)];
                    let (driver, handle, mut told) = Driver::new(speaker, &listen).unwrap();
                    started.send(handle).unwrap();
                    let follow = async {
                        while let Some(told) = told.recv().await {
                            let mut seen = shared.lock().unwrap();
                            match told {
                                Told::Change(change) => seen.0.apply(change),
                                Told::Event(event) => seen.1.push(event),
                            }
                        }
                    };
                    tokio::join!(driver.run("the test is over"), follow);
                });
            };
            namespace.enter(inside).unwrap();
        });
        let handle = start.recv().unwrap();
        // For the calls alone.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { handle: Some(handle), runtime, thread: Some(thread), seen }
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut Speaker) -> T + Send + 'static) -> T {
        let handle = self.handle.as_ref().unwrap();
        self.runtime.block_on(handle.call(|speaker, _| call(speaker))).unwrap()
    }

    fn wait(&self, what: &str, mut so: impl FnMut(&View, &[Event]) -> bool) {
        wait_until(what, PATIENCE, || {
            let seen = self.seen.lock().unwrap();
            if so(&seen.0, &seen.1) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .unwrap();
    }

    fn wait_up(&self) {
        self.wait("all sessions", |_, _| true);
        wait_until("established sessions", PATIENCE, || {
            let peers: Vec<_> = self.call(|speaker| speaker.peers().collect());
            let up = peers.iter().all(|peer| peer.state == SessionState::Established);
            if up { Ok(()) } else { Err(format!("{peers:?} {:?}", self.seen.lock().unwrap().1)) }
        })
        .unwrap();
    }

    /// Announces the shared MAC address at a VTEP, with an IPv4 and an IPv6 address, and the VTEP itself.
    fn announce(&self, vtep: IpAddr) {
        self.call(move |speaker| {
            speaker.join_flood(vni(100), vtep);
            for ip in [None, Some("10.1.0.1".parse().unwrap()), Some("fd00:1::1".parse().unwrap())] {
                speaker.reach(&Reach {
                    vni: vni(100),
                    mac: SHARED,
                    ip,
                    endpoint: vtep,
                    sequence: 3,
                    sticky: false,
                    default_gateway: true,
                    router: true,
                    local_pref: None,
                });
            }
        });
    }

    /// Leaves the network in good order.
    fn leave(&mut self) {
        self.handle = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.leave();
        }
    }
}

fn peer(address: IpAddr) -> PeerConfig {
    PeerConfig { hold_time: 3, connect_retry: Duration::from_millis(500), ..PeerConfig::new(address, ASN) }
}

/// FRR as route reflector for all on the link, of both IP versions.
fn reflector(extra: &str) -> String {
    format!(
        "router bgp 65000\n bgp router-id 198.18.9.1\n bgp cluster-id 198.18.9.1\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as 65000\n neighbor c timers 1 3\n neighbor c timers connect 1\n \
         {extra}\n bgp listen range 198.18.9.0/24 peer-group c\n bgp listen range 2001:db8:9::/64 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n"
    )
}

/// FRR as endpoint 198.18.9.NUMBER: the kernel's VXLAN 100, with a station on the bridge.
fn endpoint(host: &Host, number: u8) -> Frr {
    host.namespace
        .ip(&format!(
            "link add br100 type bridge\n\
             link set br100 addrgenmode none\n\
             address add 10.1.0.{number}/24 dev br100\n\
             link add vx100 type vxlan id 100 dstport 4789 local {vtep} nolearning\n\
             link set vx100 master br100 addrgenmode none\n\
             link add s0 type veth peer name s1\n\
             link set s0 master br100\n\
             link set s1 up\nlink set s0 up\nlink set vx100 up\nlink set br100 up",
            vtep = v4(number)
        ))
        .unwrap();
    let config = format!(
        "router bgp 65000\n bgp router-id {0}\n no bgp default ipv4-unicast\n neighbor 198.18.9.1 remote-as 65000\n \
         neighbor 198.18.9.1 timers 1 3\n neighbor 198.18.9.1 timers connect 1\n address-family l2vpn evpn\n  \
         neighbor 198.18.9.1 activate\n  advertise-all-vni\n exit-address-family\n",
        v4(number)
    );
    let frr = Frr::start(&host.namespace, &config).unwrap();
    host.namespace.bridge(&format!("fdb replace {STATION} dev s0 master dynamic")).unwrap();
    host.namespace
        .ip(&format!("neighbour replace 10.1.0.10 lladdr {STATION} dev br100 nud reachable"))
        .unwrap();
    frr
}

/// Whether the kernel of an endpoint sends what is for `mac` to `vtep`.
fn forwards(host: &Host, mac: &str, vtep: IpAddr) -> Result<(), String> {
    let output = host.namespace.run("bridge", &["fdb", "show", "dev", "vx100"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().any(|line| line.starts_with(mac) && line.contains(&format!("dst {vtep}")));
    if found { Ok(()) } else { Err(text) }
}

#[test]
fn frr_reflects_both_ways_over_ipv4_and_ipv6() {
    for reach_reflector in [v4(1), v6(1)] {
        let link = Link::new();
        let (rr, gw, ep) = (link.host("rr", 1), link.host("gw", 2), link.host("ep", 3));
        let mut reflector_frr = Frr::start(&rr.namespace, &reflector("")).unwrap();
        let _endpoint = endpoint(&ep, 3);
        let mut gateway = Gateway::start(&gw.namespace, 2, vec![peer(reach_reflector)]);
        gateway.wait_up();
        gateway.announce(v4(2));

        // In.
        gateway.wait("the endpoint and its station", |view, _| {
            view.floods.contains(&(vni(100), v4(3)))
                && view.stations.get(&(vni(100), STATION)) == Some(&v4(3))
                && view.addresses.contains(&(vni(100), STATION, "10.1.0.10".parse().unwrap()))
        });
        // Out: the endpoint's kernel knows where the router is, and where to flood.
        let out = || {
            forwards(&ep, &SHARED.to_string(), v4(2)).and_then(|()| forwards(&ep, "00:00:00:00:00:00", v4(2)))
        };
        wait_until("the router in the endpoint's kernel", PATIENCE, out).unwrap();
        let route = reflector_frr.vtysh(&["show bgp l2vpn evpn"]).unwrap();
        assert!(route.contains(&format!("[2]:[0]:[48]:[{SHARED}]:[128]:[fd00:1::1]")), "{route}");
        assert!(route.contains("Default Gateway") && route.contains("MM:3"), "{route}");
        // Our own come back, which is nothing to tell of.
        let own = || gateway.call(|speaker| speaker.peers().all(|peer| peer.own_routes >= 4));
        wait_until("our own routes back", PATIENCE, own).unwrap();
        gateway.wait("no refusal", |_, events| {
            !events.iter().any(|event| matches!(event, Event::Rejected { .. }))
        });

        // The reflector dies, and comes back.
        reflector_frr.kill_bgpd().unwrap();
        gateway
            .wait("nothing known any longer", |view, _| view.stations.is_empty() && view.floods.is_empty());
        reflector_frr.restart_bgpd().unwrap();
        gateway.wait("all known again", |view, _| view.stations.contains_key(&(vni(100), STATION)));
        wait_until("the router in the endpoint's kernel again", PATIENCE, out).unwrap();

        // Leaving takes back what was announced.
        gateway.leave();
        let gone = || forwards(&ep, &SHARED.to_string(), v4(2)).is_err();
        wait_until("the router gone", PATIENCE, gone).unwrap();
    }
}

/// How many segments the kernel of a namespace refused for their signature or the lack of one.
fn md5_failures(namespace: &Namespace) -> u64 {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).unwrap().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let counters = names.split_whitespace().zip(values.split_whitespace());
    counters
        .filter(|(name, _)| name.starts_with("TCPMD5"))
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_password_must_be_right_whoever_connects() {
    for number in [1, 2] {
        let link = Link::new();
        let (rr, gw) = (link.host("rr", 1), link.host("gw", 2));
        // FRR connects in one case, and listens alone in the other.
        let passive = if number == 1 { " neighbor 198.18.9.2 passive\n" } else { "" };
        let frr = format!(
            "router bgp 65000\n bgp router-id 198.18.9.1\n no bgp default ipv4-unicast\n \
             neighbor 198.18.9.2 remote-as 65000\n neighbor 198.18.9.2 password secret\n \
             neighbor 198.18.9.2 timers 1 3\n neighbor 198.18.9.2 timers connect 1\n{passive} \
             address-family l2vpn evpn\n  neighbor 198.18.9.2 activate\n exit-address-family\n"
        );
        let _frr = Frr::start(&rr.namespace, &frr).unwrap();
        let with = |password: &str| {
            let mut config = peer(v4(1));
            config.passive = number == 2;
            config.transport.password = Some(password.to_owned());
            // FRR on the link is one hop away: the check of hops lets it in, and what it sends is let in there.
            config.transport.ttl_security = None;
            vec![config]
        };
        let before = md5_failures(&rr.namespace) + md5_failures(&gw.namespace);
        let mut wrong = Gateway::start(&gw.namespace, 2, with("wrong"));
        let refused = || md5_failures(&rr.namespace) + md5_failures(&gw.namespace) > before + 2;
        wait_until("refused segments", PATIENCE, refused).unwrap();
        assert!(wrong.call(|speaker| speaker.peers().all(|peer| peer.state < SessionState::OpenSent)));
        wrong.leave();
        let right = Gateway::start(&gw.namespace, 2, with("secret"));
        right.wait_up();
    }
}

#[test]
fn a_peer_too_far_away_is_not_heard() {
    let link = Link::new();
    let (rr, gw) = (link.host("rr", 1), link.host("gw", 2));
    let config = |security: &str| {
        format!(
            "router bgp 65000\n bgp router-id 198.18.9.1\n no bgp default ipv4-unicast\n \
             neighbor 198.18.9.2 remote-as 65001\n neighbor 198.18.9.2 timers connect 1\n {security}\n \
             no bgp ebgp-requires-policy\n address-family l2vpn evpn\n  neighbor 198.18.9.2 activate\n \
             exit-address-family\n"
        )
    };
    // FRR sends TTL 255 with this, and takes no less.
    let frr = Frr::start(&rr.namespace, &config("neighbor 198.18.9.2 ttl-security hops 1")).unwrap();
    let mut secured = peer(v4(1));
    secured.transport.ttl_security = Some(1);
    let speaker = Gateway::start_in(65001, &gw.namespace, 2, vec![secured]);
    speaker.wait_up();
    drop(speaker);
    drop(frr);
}

#[test]
fn gobgp_is_a_client_with_ipv6_vteps() {
    let link = Link::new();
    let (go, gw) = (link.host("go", 1), link.host("gw", 2));
    let families: String = ["l2vpn-evpn", "ipv4-unicast", "ipv6-unicast"]
        .map(|name| {
            format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n")
        })
        .concat();
    let config = format!(
        "[global.config]\nas = 65000\nrouter-id = \"198.18.9.1\"\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"198.18.9.2\"\npeer-as = 65000\n[neighbors.timers.config]\nconnect-retry = 1\n\
         hold-time = 3\nkeepalive-interval = 1\n{families}"
    );
    let gobgp = GoBgp::start(&go.namespace, &config).unwrap();
    let mut client = peer(v4(1));
    client.families = Family::ALL.to_vec();
    client.announce_ipv6_vtep = true;
    // GoBGP 3.10 would drop the routes that have it.
    client.announce_router_flag = false;
    let gateway = Gateway::start(&gw.namespace, 2, vec![client]);
    gateway.wait_up();

    for command in [
        "global rib -a evpn add macadv 02:00:00:00:01:0a 10.1.0.10 etag 0 label 100 rd 198.18.9.3:2 rt 65000:100 encap vxlan",
        "global rib -a evpn add macadv 02:00:00:00:01:0a fd00:1::10 etag 0 label 100 rd 198.18.9.3:2 rt 65000:100 encap vxlan",
        "global rib -a evpn add multicast 198.18.9.1 etag 0 rd 198.18.9.3:2 rt 65000:100 encap vxlan pmsi ingress-repl 100 198.18.9.1",
        "global rib -a evpn add prefix 10.100.0.0/24 gw 0.0.0.0 etag 0 label 5000 rd 198.18.9.3:5 rt 65000:5000 encap vxlan router-mac 02:00:00:00:00:02",
        "global rib -a ipv4 add 192.0.2.0/24",
    ] {
        gobgp.run(command).unwrap();
    }
    gateway.wait("what GoBGP announces", |view, _| {
        view.floods.contains(&(vni(100), v4(1)))
            && view.stations.get(&(vni(100), STATION)) == Some(&v4(1))
            && view.addresses.len() == 2
            && view.prefixes.get(&"192.0.2.0/24".parse().unwrap()) == Some(&v4(1))
    });
    assert!(gateway.call(|speaker| speaker.routes(Family::Evpn).any(|route| route.route_type == Some(5))));

    gateway.announce(v6(2));
    gateway.call(|speaker| {
        let prefix =
            PrefixAttributes { next_hop: v6(9), med: Some(7), local_pref: None, communities: vec![] };
        speaker.announce_prefix("2001:db8:100::/48".parse().unwrap(), prefix);
    });
    wait_until("what we announce in GoBGP's RIB", PATIENCE, || {
        let evpn = gobgp.run("global rib -a evpn").unwrap();
        let unicast = gobgp.run("global rib -a ipv6").unwrap();
        let all = evpn.contains(&format!("[type:macadv][rd:2:100][etag:0][mac:{SHARED}][ip:fd00:1::1]"))
            && evpn.contains("[type:multicast][rd:2:100][etag:0][ip:2001:db8:9::2]")
            && evpn.contains("2001:db8:9::2")
            && unicast.contains("2001:db8:9::9");
        if all { Ok(()) } else { Err(format!("{evpn}\n{unicast}")) }
    })
    .unwrap();
    gobgp
        .run("global rib -a evpn del macadv 02:00:00:00:01:0a fd00:1::10 etag 0 label 100 rd 198.18.9.3:2")
        .unwrap();
    gateway.wait("one address withdrawn", |view, _| view.addresses.len() == 1 && !view.stations.is_empty());
}

#[test]
fn frr_hears_our_last_words_and_forgets_our_routes() {
    let link = Link::new();
    let (rr, gw) = (link.host("rr", 1), link.host("gw", 2));
    // Configured by name: FRR forgets a neighbour that came by itself, and with it what that said.
    let config = "router bgp 65000\n bgp router-id 198.18.9.1\n no bgp default ipv4-unicast\n \
                  bgp log-neighbor-changes\n neighbor 198.18.9.2 remote-as 65000\n \
                  neighbor 198.18.9.2 timers 1 3\n address-family l2vpn evpn\n  neighbor 198.18.9.2 activate\n exit-address-family\n";
    let frr = Frr::start(&rr.namespace, config).unwrap();
    let mut gateway = Gateway::start(&gw.namespace, 2, vec![peer(v4(1))]);
    gateway.wait_up();
    // Enough that not all of it is written at once.
    const OVERLAYS: u32 = 3000;
    gateway.call(|speaker| {
        speaker.set_overlays((1..=OVERLAYS).map(|number| (vni(number), RouteTargets::Frr)));
        (1..=OVERLAYS).for_each(|number| speaker.join_flood(vni(number), v4(2)));
    });
    let routes = || {
        let table = frr.vtysh(&["show bgp l2vpn evpn"]).unwrap();
        table.lines().filter(|line| line.contains("[3]:[0]:")).count()
    };
    wait_until("all routes in FRR", PATIENCE, || routes() == OVERLAYS as usize).unwrap();
    gateway.leave();
    wait_until("the words in FRR", PATIENCE, || {
        let neighbor = frr.vtysh(&["show bgp neighbors 198.18.9.2"]).unwrap();
        // FRR 8.4 has the codes there, and the words in its log alone.
        let log = frr.log();
        let heard =
            neighbor.contains("Cease/Administrative Shutdown") && log.contains("\"the test is over\"");
        if heard { Ok(()) } else { Err(format!("{neighbor}\n{log}")) }
    })
    .unwrap();
    assert_eq!(routes(), 0);
}

#[test]
fn frr_hears_a_hard_reset_where_graceful_restart_is_agreed() {
    let link = Link::new();
    let (rr, gw) = (link.host("rr", 1), link.host("gw", 2));
    let config = "router bgp 65000\n bgp router-id 198.18.9.1\n no bgp default ipv4-unicast\n \
                  bgp log-neighbor-changes\n bgp graceful-restart\n bgp graceful-restart notification\n \
                  neighbor 198.18.9.2 remote-as 65000\n neighbor 198.18.9.2 timers 1 3\n \
                  address-family l2vpn evpn\n  neighbor 198.18.9.2 activate\n exit-address-family\n";
    let frr = Frr::start(&rr.namespace, config).unwrap();
    let mut config = peer(v4(1));
    config.graceful_restart = Some(120);
    let gateway = Gateway::start(&gw.namespace, 2, vec![config]);
    gateway.wait_up();
    gateway.announce(v4(2));
    let routes = || frr.vtysh(&["show bgp l2vpn evpn"]).unwrap().matches("[2]:[0]:").count();
    wait_until("all routes in FRR", PATIENCE, || routes() == 3).unwrap();
    // Nothing is withdrawn before.
    gateway.call(|speaker| speaker.stop_peer(evpn::PeerId(0), "the test is over", std::time::Instant::now()));
    wait_until("the words in FRR", PATIENCE, || {
        let log = frr.log();
        let heard = log.contains("(Hard Reset)") && log.contains("\"the test is over\"");
        if heard { Ok(()) } else { Err(log) }
    })
    .unwrap();
    wait_until("no routes in FRR", PATIENCE, || routes() == 0).unwrap();
}

#[test]
fn last_words_of_frr_are_heard() {
    let link = Link::new();
    let (rr, gw) = (link.host("rr", 1), link.host("gw", 2));
    let frr = Frr::start(&rr.namespace, &reflector("")).unwrap();
    let gateway = Gateway::start(&gw.namespace, 2, vec![peer(v4(1))]);
    gateway.wait_up();
    let shut = ["configure terminal", "router bgp 65000", "neighbor c shutdown message new batteries"];
    frr.vtysh(&shut).unwrap();
    gateway.wait("its words", |_, events| {
        events.iter().any(|event| {
            let Event::Down { reason: DownReason::Received { communication, .. }, .. } = event else {
                return false;
            };
            communication.as_deref() == Some("new batteries")
        })
    });
}
