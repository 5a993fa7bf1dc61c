//! Stations and their addresses in the flow table.

use std::net::IpAddr;

use wire::MacAddr;

use super::Writer;
use super::endpoints::NoEndpoint;
use crate::api::Station;
use crate::tables::OverlayIndex;
use crate::tables::flow::{Flow, FlowKey, TableFull};

/// Why a station is not where it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPlaced {
    /// The flow table is full.
    Full(TableFull),
    /// Its endpoint cannot be had.
    Endpoint(NoEndpoint),
}

impl Writer {
    /// Enters a station with its addresses, or moves it. One whose overlay or endpoint is not known is left out.
    pub(crate) fn set_station(&mut self, station: &Station) -> Result<(), TableFull> {
        let Some(overlay) = self.current.overlays.by_vni(station.vni) else { return Ok(()) };
        if self.current.endpoints.index_of(station.endpoint).is_none() {
            return Ok(());
        }
        match self.place(overlay, station.mac, station.endpoint) {
            Ok(_) | Err(NotPlaced::Endpoint(_)) => {}
            Err(NotPlaced::Full(full)) => return Err(full),
        }
        let Some(flow) = self.flow(FlowKey::mac(station.vni, station.mac)) else { return Ok(()) };
        self.entries.clear();
        let address = |address: &IpAddr| (FlowKey::address(station.vni, *address), flow);
        self.entries.extend(station.addresses.iter().map(address));
        self.flows.insert_all(&self.entries)
    }

    /// Puts a station behind an endpoint, without its addresses; what was known of its MAC address before.
    pub(crate) fn place(
        &mut self,
        overlay: OverlayIndex,
        mac: MacAddr,
        endpoint: IpAddr,
    ) -> Result<Option<Flow>, NotPlaced> {
        let mtu = self.current.overlays.get(overlay).mtu;
        self.enter(overlay, mac, endpoint, mtu)
    }

    /// Takes a station out, whose addresses are out already.
    pub(crate) fn displace(&mut self, overlay: OverlayIndex, mac: MacAddr) {
        let vni = self.current.overlays.get(overlay).vni;
        if let Some(flow) = self.flows.remove(FlowKey::mac(vni, mac)) {
            self.release_endpoint(flow.endpoint);
        }
    }

    fn enter(
        &mut self,
        overlay: OverlayIndex,
        mac: MacAddr,
        endpoint: IpAddr,
        mtu: u16,
    ) -> Result<Option<Flow>, NotPlaced> {
        let vni = self.current.overlays.get(overlay).vni;
        let endpoint = self.use_endpoint(endpoint).map_err(NotPlaced::Endpoint)?;
        let flow = Flow { vni, overlay: overlay.0, endpoint, mac, mtu };
        match self.flows.insert(FlowKey::mac(vni, mac), flow) {
            Ok(before) => {
                if let Some(before) = before {
                    self.release_endpoint(before.endpoint);
                }
                Ok(before)
            }
            Err(full) => {
                self.release_endpoint(endpoint);
                Err(NotPlaced::Full(full))
            }
        }
    }

    /// Lets a MAC address that is no station's send from behind `endpoint`; nothing is sent to it. Whether there was
    /// room.
    pub(crate) fn begin_visit(&mut self, overlay: OverlayIndex, mac: MacAddr, endpoint: IpAddr) -> bool {
        self.current.endpoints.index_of(endpoint).is_some()
            && self.enter(overlay, mac, endpoint, Flow::VISITOR).is_ok()
    }

    /// Ends that, unless it has become a station.
    pub(crate) fn end_visit(&mut self, overlay: OverlayIndex, mac: MacAddr) {
        let key = FlowKey::mac(self.current.overlays.get(overlay).vni, mac);
        if self.flow(key).is_some_and(|flow| flow.is_visitor()) {
            self.displace(overlay, mac);
        }
    }

    /// Leads an address of an overlay to a station there; nowhere, if it is no station.
    pub(crate) fn bind(
        &mut self,
        overlay: OverlayIndex,
        address: IpAddr,
        mac: MacAddr,
    ) -> Result<(), TableFull> {
        let vni = self.current.overlays.get(overlay).vni;
        let Some(station) = self.flow(FlowKey::mac(vni, mac)).filter(|flow| !flow.is_visitor()) else {
            return Ok(());
        };
        self.flows.insert(FlowKey::address(vni, address), station).map(|_| ())
    }

    /// Leads an address nowhere.
    pub(crate) fn unbind(&mut self, overlay: OverlayIndex, address: IpAddr) {
        let vni = self.current.overlays.get(overlay).vni;
        self.flows.remove(FlowKey::address(vni, address));
    }

    /// What the flow table has.
    pub(crate) fn flow(&self, key: FlowKey) -> Option<Flow> {
        self.flows.get(key)
    }

    /// Entries that the flow table may hold.
    pub(crate) fn max_flows(&self) -> usize {
        self.max_flows
    }

    /// Whether it may hold more.
    pub(crate) fn has_room(&self) -> bool {
        self.flows.len() < self.max_flows
    }
}
