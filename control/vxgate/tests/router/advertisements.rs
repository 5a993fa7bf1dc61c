//! Stations that configure themselves by router advertisements.

use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};

use lab::{Family, Ping, ROUTER_MAC};

use crate::{PATIENCE, Plan, ROUTER_LINK_LOCAL, assert_answered, idle_scene, known, mac, start};

const DEFAULTS: &str = "advertise = { other = true, dns-servers = [\"2001:db8::53\", \"2001:db8::54\"], \
     dns-search = [\"example.net\", \"lab.example.net\"] }";

/// Of the second overlay: its own word replaces all that the defaults say.
const SECOND: &str = "mtu = 1400\nadvertise = { managed = true, interval = 60, preferred-lifetime = 900, \
     valid-lifetime = 1800 }";

#[test]
fn stations_configure_themselves() {
    let mut scene = idle_scene(3);
    let clients: Vec<_> = (0..2)
        .map(|index| {
            let name = format!("client{index}");
            scene.links[index].client(&scene.topology.lab, &name, mac(index as u8)).unwrap()
        })
        .collect();
    let tables = clients
        .iter()
        .zip(&scene.stations)
        .map(|(client, beside)| scene.station_table(&beside.site, client.nic.mac, beside.site.endpoint, &[]))
        .collect();
    let overlays = [(2, SECOND), (3, "advertise = false")];
    start(&mut scene, &Plan { defaults: DEFAULTS, overlays: &overlays, tables });

    let router: IpAddr = ROUTER_LINK_LOCAL.parse().unwrap();
    for ((client, station), mtu) in clients.iter().zip(&scene.stations).zip([1500, 1400]) {
        // Clients ask less and less often; on a busy machine they may have asked a few times before the gateway is there.
        let got = client.nic.autoconf(3 * PATIENCE).unwrap();
        assert_eq!((got.router, got.mtu), (router, mtu));
        assert!(got.stable.iter().chain(&got.temporary).all(|address| station.site.v6.contains(address)));

        // What it says for itself, and that the answer finds it.
        let address = scene.outer_address(Family::V6);
        let listener = scene.outer.namespace.enter(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let target = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&target, PATIENCE);
        let _stream = client.namespace.enter(connect).unwrap().unwrap();
        let (_, peer) = listener.accept().unwrap();
        let IpAddr::V6(peer) = peer.ip() else { panic!("{peer}") };
        assert!(got.temporary.contains(&peer), "{peer}, not of {got:?}");
        let (mac, _) = known(&scene, peer.into()).unwrap();
        assert_eq!(mac, client.nic.mac.to_string());
        for address in got.stable.iter().chain(&got.temporary) {
            assert_answered(&Ping::to(address), &scene.outer.namespace);
        }
    }

    let [first, second] = [0, 1].map(|index: usize| clients[index].nic.solicit_router().unwrap());
    for (advertisement, station) in [&first, &second].into_iter().zip(&scene.stations) {
        assert_eq!((IpAddr::V6(advertisement.router), advertisement.mac), (router, Some(ROUTER_MAC)));
        let [prefix] = advertisement.prefixes[..] else { panic!("{advertisement:?}") };
        assert!(prefix.net == station.site.v6 && prefix.on_link && prefix.autonomous, "{prefix:?}");
    }
    assert_eq!((first.managed, first.other, first.lifetime), (false, true, 1800));
    assert_eq!(
        first.dns_servers,
        ["2001:db8::53", "2001:db8::54"].map(|server| server.parse::<Ipv6Addr>().unwrap())
    );
    assert_eq!(first.search, ["example.net", "lab.example.net"]);
    assert_eq!((first.prefixes[0].preferred, first.prefixes[0].valid), (604_800, 2_592_000));
    assert_eq!((second.managed, second.other, second.lifetime), (true, false, 180));
    assert_eq!((second.dns_servers.len(), second.search.len(), second.mtu), (0, 0, Some(1400)));
    assert_eq!((second.prefixes[0].preferred, second.prefixes[0].valid), (900, 1800));

    // Nothing is advertised where that is not configured.
    let silent = &scene.stations[2].host.namespace;
    silent.run("rdisc6", &["-1", "-r", "1", "-w", "500", "eth0"]).unwrap_err();
}
