//! EVPN: an endpoint and a station that the configuration does not know, told of by FRR through a route reflector of FRR.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use lab::{Attach, Endpoint, Family, Frr, Host, Scene, Site, Topology, wait_until};
use wire::MacAddr;

use crate::forwarding::ping;
use crate::{FAMILIES, Trial};

const REFLECTOR: u8 = 9;
const ENDPOINT: u8 = 13;
const MAC: MacAddr = MacAddr([0x02, 0, 1, 0, 0, 0x69]);
/// How long routes may take on a machine that is busy with the demo.
const PATIENCE: Duration = Duration::from_secs(30);

/// What routes come from, and what they are about.
pub(crate) struct Network {
    site: Site,
    endpoint: Endpoint,
    station: Host,
    _daemons: [Frr; 2],
}

/// Builds reflector, endpoint and station.
pub(crate) fn build(scene: &Scene) -> Result<Network, Box<dyn Error>> {
    let site = Site::numbered(5);
    let topology = &scene.topology;
    let attach = Attach { addresses: Topology::UNDERLAY.addresses(REFLECTOR), ..Attach::default() };
    let reflector = topology.underlay.host(&topology.lab, "rr", attach, &[])?;
    let own = underlay(REFLECTOR);
    let config = format!(
        "router bgp 65000\n bgp router-id {own}\n bgp cluster-id {own}\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as 65000\n bgp listen range 198.18.0.0/24 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n"
    );
    let reflector = Frr::start(&reflector.namespace, &config)?;

    let endpoint = topology.endpoint("ep-frr", ENDPOINT, Family::V4)?;
    let link = endpoint.join_evpn(site.vni, &site.routers())?;
    let addresses: Vec<IpNet> = [(Family::V4, 24), (Family::V6, 64)]
        .into_iter()
        .map(|(family, length)| IpNet::new(site.address(family, Scene::STATION), length))
        .collect::<Result<_, _>>()?;
    let station = link.station(&topology.lab, &format!("station{}", site.vni), MAC, &addresses)?;
    let config = format!(
        "router bgp 65000\n bgp router-id {}\n no bgp default ipv4-unicast\n neighbor {own} remote-as 65000\n \
         neighbor {own} timers connect 1\n address-family l2vpn evpn\n  neighbor {own} activate\n  \
         advertise-all-vni\n exit-address-family\n",
        underlay(ENDPOINT)
    );
    let daemon = Frr::start(&endpoint.namespace, &config)?;
    Ok(Network { site, endpoint, station, _daemons: [reflector, daemon] })
}

impl Network {
    /// The overlay, of which no endpoint and no station is named, and the peer.
    pub(crate) fn config(&self, scene: &Scene) -> String {
        scene.overlay_table(&self.site, &[], "")
            + &format!(
                "[bgp]\nasn = 65000\nrouter-id = \"{}\"\ncluster-number = 1\n\n\
                 [[bgp.peer]]\naddress = \"{}\"\nremote-asn = 65000\nconnect-retry = 1\n",
                underlay(Topology::GATEWAY),
                underlay(REFLECTOR)
            )
    }

    /// The station reaches the outer network, and is reached.
    pub(crate) fn show(&self, scene: &Scene, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
        let vni = self.site.vni;
        // It says something, so that its endpoint knows of it.
        let known = || {
            let _ = lab::Ping::to(self.site.address(Family::V4, 1)).count(1).run(&self.station.namespace)?;
            let stations = scene.gateway.show("stations")?;
            let row = stations.as_array().into_iter().flatten().find(|row| row["mac"] == MAC.to_string());
            let endpoint = row.map(|row| row["endpoint"] == self.endpoint.vtep.to_string());
            Ok::<_, lab::Error>(endpoint == Some(true))
        };
        wait_until("the station's route", PATIENCE, || match known() {
            Ok(true) => Ok(()),
            Ok(false) => Err("no route yet".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        for (family, name) in FAMILIES {
            let what = format!("ping {name}, station {vni} (by EVPN) → outer host");
            trials.push(ping(what, &self.station.namespace, scene.outer_address(family), true)?);
            let what = format!("ping {name}, outer host → station {vni} (by EVPN)");
            let address = self.site.address(family, Scene::STATION);
            trials.push(ping(what, &scene.outer.namespace, address, true)?);
        }
        Ok(())
    }
}

fn underlay(number: u8) -> IpAddr {
    Topology::UNDERLAY.address(Family::V4, number)
}
