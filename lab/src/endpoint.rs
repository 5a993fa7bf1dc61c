//! Endpoints: hypervisors whose VXLAN is the kernel's own.

use std::net::IpAddr;

use ipnet::IpNet;
use wire::{MacAddr, Vni};

use crate::error::Result;
use crate::link::Offloads;
use crate::namespace::Namespace;
use crate::segment::{Attach, Host, Nic, Segment};
use crate::state::Lab;

/// A VTEP of the kernel in a namespace of its own.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub namespace: Namespace,
    /// Its netdev on the underlay.
    pub nic: Nic,
    /// The address that it tunnels from.
    pub vtep: IpAddr,
    /// MTU inside overlays, in bytes.
    pub overlay_mtu: u16,
}

/// What an endpoint is told about an overlay.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The overlay.
    pub vni: Vni,
    /// VTEP of the gateway, of the endpoint's family.
    pub gateway: IpAddr,
    /// MAC address of the overlay's router, behind the gateway.
    pub router_mac: MacAddr,
    /// The router's addresses: default routes of the stations, at most one a family.
    pub routers: Vec<IpAddr>,
    /// VTEPs of the other endpoints with stations in the overlay, of the endpoint's family. What is to be
    /// flooded goes to them and to the gateway.
    pub remotes: Vec<IpAddr>,
}

/// An overlay at one endpoint: a bridge with a VXLAN netdev and stations.
#[derive(Clone, Debug)]
pub struct OverlayLink {
    segment: Segment,
    routers: Vec<IpAddr>,
}

impl Endpoint {
    /// Joins an overlay: bridge `brVNI`, and VXLAN netdev `vxVNI` that learns stations behind other endpoints
    /// from their frames (RFC 7348 §4.1).
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if it has joined already, or a VTEP is of the other family.
    pub fn join(&self, overlay: &Overlay) -> Result<OverlayLink> {
        let (segment, device) = self.bridge(overlay.vni, "")?;
        let mut entries = format!("fdb append {} dev {device} dst {}\n", overlay.router_mac, overlay.gateway);
        for vtep in std::iter::once(&overlay.gateway).chain(&overlay.remotes) {
            entries += &format!("fdb append {} dev {device} dst {vtep}\n", MacAddr::ZERO);
        }
        self.namespace.bridge(&entries)?;
        Ok(OverlayLink { segment, routers: overlay.routers.clone() })
    }
}

impl Endpoint {
    /// Joins an overlay as [`join`](Self::join), but for a routing daemon: where stations and other endpoints are it
    /// tells the kernel, and the VXLAN netdev learns nothing. `routers` are as in [`Overlay`].
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_evpn(&self, vni: Vni, routers: &[IpAddr]) -> Result<OverlayLink> {
        let (segment, device) = self.bridge(vni, "nolearning")?;
        self.namespace.bridge(&format!("link set dev {device} learning off"))?;
        Ok(OverlayLink { segment, routers: routers.to_vec() })
    }

    /// Bridge and VXLAN netdev of an overlay; the name of the latter.
    fn bridge(&self, vni: Vni, options: &str) -> Result<(Segment, String)> {
        let mtu = self.overlay_mtu;
        let segment = Segment::new(&self.namespace, &format!("br{vni}"), mtu, Offloads::Off)?;
        let device = format!("vx{vni}");
        self.namespace.ip(&format!(
            "link add {device} mtu {mtu} type vxlan id {vni} local {} dstport 4789 {options} {}",
            self.vtep,
            // RFC 7348 §5 wants no checksum, which RFC 6935 allows only by agreement over IPv6.
            if self.vtep.is_ipv4() { "noudpcsum" } else { "" },
        ))?;
        self.namespace.run("ethtool", &["-K", &device, "tx", "off", "gro", "off"])?;
        segment.add_port(&device)?;
        Ok((segment, device))
    }
}

impl OverlayLink {
    /// A station in a namespace of its own: `addresses` with the prefix lengths of the overlay's subnets,
    /// default routes by the overlay's router.
    ///
    /// # Errors
    /// As [`Segment::host`].
    pub fn station(&self, lab: &Lab, name: &str, mac: MacAddr, addresses: &[IpNet]) -> Result<Host> {
        let attach = Attach { mac: Some(mac), addresses: addresses.to_vec(), ..Attach::default() };
        self.segment.host(lab, name, attach, &self.routers)
    }

    /// A station in a namespace of its own without addresses: they come from the router ([`Nic::autoconf`]), from a
    /// server ([`DhcpClient`](crate::DhcpClient)), or are claimed ([`Nic::claim_ipv6`]).
    ///
    /// # Errors
    /// As [`Segment::client`].
    pub fn client(&self, lab: &Lab, name: &str, mac: MacAddr) -> Result<Host> {
        self.segment.client(lab, name, mac)
    }

    /// Keeps a station from all other isolated stations behind this endpoint: they can talk through the gateway only.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the station is not here.
    pub fn isolate(&self, station: &Host) -> Result<()> {
        self.segment.namespace().bridge(&format!("link set dev {} isolated on", station.nic.far_interface))
    }

    /// Lets a station roam: it is taken, as it is, from the endpoint that it is behind to this one. It says nothing
    /// about it, and no endpoint hears of it but by its frames.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if this endpoint has a netdev of its name already.
    pub fn roam(&self, station: &mut Host) -> Result<()> {
        self.segment.take(&mut station.nic)
    }

    /// The segment that the stations are on.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}
