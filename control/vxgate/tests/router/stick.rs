//! A router on a stick: underlay and uplink on one netdev.

use lab::{
    Attach, Endpoint, Family, Gateway, Host, Lab, Offloads, Overlay, Ping, ROUTER_MAC, Scene, Segment, Site,
    Topology, Traceroute, transfer,
};

use crate::{PATIENCE, assert_answered, binary, mac};

/// Bytes that are sent by TCP each way.
const BYTES: usize = 100_000;

/// A segment with the gateway's only netdev, both endpoints, and a host to which overlays are what the gateway routes.
struct Stick {
    gateway: Gateway,
    stations: Vec<(Site, Host)>,
    host: Host,
}

impl Stick {
    fn build() -> Self {
        let lab = Lab::new().unwrap();
        let segment =
            Segment::new(&lab.namespace("lan").unwrap(), "bridge", Topology::UNDERLAY_MTU, Offloads::Off)
                .unwrap();
        let attach = |addresses| Attach { addresses, ..Attach::default() };
        let namespace = lab.namespace("gw").unwrap();
        let addresses =
            [Topology::UNDERLAY, Topology::UPLINK].map(|subnets| subnets.addresses(Topology::GATEWAY));
        segment.attach(&namespace, "stick0", attach(addresses.concat())).unwrap();
        let mut gateway = Gateway::new(&namespace, binary());

        let host =
            segment.host(&lab, "host", attach(Topology::UPLINK.addresses(Scene::NEIGHBOUR)), &[]).unwrap();
        let mut routes = String::new();
        for (family, block) in Family::BOTH.into_iter().zip(Scene::BLOCKS) {
            routes +=
                &format!("route add {block} via {}\n", Topology::UPLINK.address(family, Topology::GATEWAY));
        }
        host.namespace.ip(&routes).unwrap();

        let vteps = Family::BOTH.map(|family| Topology::UNDERLAY.address(family, Topology::GATEWAY));
        let mut config = format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"stick0\"\nrole = [\"underlay\", \"uplink\"]\naddresses = [\"{}\", \"{}\"]\n\n",
            Scene::BLOCKS,
            gateway.socket().display(),
            vteps[0],
            vteps[1],
        );
        let mut stations = Vec::new();
        for (number, family) in [1, 2].into_iter().zip(Family::BOTH) {
            let site = Site::numbered(number);
            let address = Topology::UNDERLAY.address(family, 10 + number);
            let addresses = Topology::UNDERLAY.addresses(10 + number);
            let Host { namespace, nic } =
                segment.host(&lab, &format!("ep{number}"), attach(addresses), &[]).unwrap();
            let overlay = Overlay {
                vni: site.vni,
                gateway: vteps[family as usize],
                router_mac: ROUTER_MAC,
                routers: site.routers().to_vec(),
                remotes: Vec::new(),
            };
            let link = Endpoint { namespace, nic, vtep: address, overlay_mtu: 1500 }.join(&overlay).unwrap();
            let [v4, v6] = Family::BOTH.map(|family| site.address(family, Scene::STATION));
            let addresses = [format!("{v4}/24"), format!("{v6}/64")].map(|net| net.parse().unwrap());
            let station = link.station(&lab, &format!("station{number}"), mac(number), &addresses).unwrap();
            config += &format!(
                "[[overlay]]\nvni = {}\nsubnets = [\"{}\", \"{}\"]\nendpoints = [\"{address}\"]\n\n\
                 [[station]]\nvni = {}\nmac = \"{}\"\nendpoint = \"{address}\"\n\n",
                site.vni,
                site.v4,
                site.v6,
                site.vni,
                mac(number),
            );
            stations.push((site, station));
        }
        gateway.configure(&config).unwrap();
        gateway.start().unwrap();
        Self { gateway, stations, host }
    }
}

#[test]
fn one_netdev_is_enough() {
    let stick = Stick::build();
    let Stick { gateway, stations, host } = &stick;
    for (site, station) in stations {
        for family in Family::BOTH {
            let [inside, outside] =
                [site.address(family, Scene::STATION), Topology::UPLINK.address(family, Scene::NEIGHBOUR)];
            assert_answered(&Ping::to(inside), &host.namespace);
            assert_answered(&Ping::to(outside), &station.namespace);
            transfer(&host.namespace, &station.namespace, inside, BYTES).unwrap();
            transfer(&station.namespace, &host.namespace, outside, BYTES).unwrap();
            assert_answered(&Ping::to(site.address(family, 1)), &station.namespace);
            // Errors come from the netdev's own address.
            let way = Traceroute::to(inside).run(&host.namespace).unwrap();
            let way: Vec<_> = way.into_iter().map(|hop| hop.address).collect();
            let vtep = Topology::UNDERLAY.address(family, Topology::GATEWAY);
            assert_eq!(way, [Some(vtep), Some(inside)]);
        }
    }
    // Overlays are as far from each other as ever.
    let [(_, one), (other, _)] = &stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        let report = Ping::to(other.address(family, Scene::STATION))
            .count(1)
            .timeout(PATIENCE)
            .run(&one.namespace)
            .unwrap();
        assert_eq!((report.received, report.errors), (0, 1), "{family:?}: {report:?}");
    }
    let ports = gateway.show("ports").unwrap();
    assert_eq!(ports.as_array().unwrap().len(), 1, "{ports}");
    assert!(gateway.counter("ingress").unwrap() > 0 && gateway.counter("egress").unwrap() > 0);
}
