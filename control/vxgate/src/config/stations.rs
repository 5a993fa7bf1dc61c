//! Stations one by one and by the block: checked without listing a block's, and listed for the engine.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use engine::Station;
use toml::Spanned;
use wire::{MacAddr, Vni};

use super::expand::{nth_address, placed, placed_all};
use super::file::{self, Mac, VniNumber, VniRange};
use super::rules::among;
use super::validate::{Placed, fail, is_host_address};
use super::{Fault, Lines, OverlayGroup, OverlaySettings, Place, Problem};

/// All stations of a configuration.
#[derive(Debug)]
pub(crate) struct Stations {
    single: Vec<Station>,
    blocks: Vec<StationBlock>,
}

/// As many stations in each of many overlays.
#[derive(Debug)]
struct StationBlock {
    vnis: RangeInclusive<u32>,
    per_overlay: u32,
    /// That of the first station of the first overlay; the others' follow.
    first_mac: u64,
    /// Of each subnet's addresses, that of each overlay's first station.
    first_address: u32,
    /// The stations in turn are behind each of them.
    endpoints: Arc<[IpAddr]>,
}

impl Stations {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.single.len() + self.blocks.iter().map(|block| block.len() as usize).sum::<usize>()
    }

    /// All of them, given the overlays by VNI.
    pub(crate) fn list(&self, overlays: &[OverlaySettings]) -> Vec<Station> {
        let mut stations = Vec::with_capacity(self.len());
        stations.extend_from_slice(&self.single);
        for block in &self.blocks {
            let overlays = among(overlays, &block.vnis);
            stations.extend(
                overlays
                    .iter()
                    .flat_map(|overlay| (0..block.per_overlay).map(move |n| block.station(overlay, n))),
            );
        }
        stations
    }
}

impl StationBlock {
    fn len(&self) -> u64 {
        u64::from(self.vnis.end() - self.vnis.start() + 1) * u64::from(self.per_overlay)
    }

    /// How many stations of the block come before those of an overlay.
    fn before(&self, vni: Vni) -> u64 {
        u64::from(vni.value() - self.vnis.start()) * u64::from(self.per_overlay)
    }

    fn station(&self, overlay: &OverlaySettings, n: u32) -> Station {
        let number = self.before(overlay.vni) + u64::from(n);
        let offset = u128::from(self.first_address) + u128::from(n);
        Station {
            vni: overlay.vni,
            mac: mac(self.first_mac + number),
            endpoint: self.endpoints[(number % self.endpoints.len() as u64) as usize],
            addresses: overlay.subnets.iter().map(|subnet| nth_address(subnet.prefix, offset)).collect(),
        }
    }
}

fn mac(number: u64) -> MacAddr {
    let [_, _, mac @ ..] = number.to_be_bytes();
    MacAddr(mac)
}

fn mac_number(MacAddr(octets): MacAddr) -> u64 {
    octets.iter().fold(0, |number, &octet| number << 8 | u64::from(octet))
}

fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Successive MAC addresses, or addresses of a family, that stations of one overlay have.
#[derive(Clone, Copy)]
struct Claim {
    vni: Vni,
    ipv6: bool,
    first: u128,
    last: u128,
    place: Place,
}

/// The first of what two claims have in common, and the places: where it is claimed again, and where it was before.
fn twice(claims: &mut [Claim]) -> Option<(Claim, Place, Place)> {
    let key = |claim: &Claim| (claim.vni, claim.ipv6, claim.first, claim.place);
    claims.sort_unstable_by_key(key);
    // By the first, so that one that overlaps others overlaps its successor.
    claims.array_windows().find_map(|&[a, b]| {
        let same = a.vni == b.vni && a.ipv6 == b.ipv6 && b.first <= a.last;
        same.then(|| (b, a.place.max(b.place), a.place.min(b.place)))
    })
}

/// Takes stations in.
pub(super) struct Collector<'a> {
    overlays: &'a [OverlaySettings],
    groups: &'a [OverlayGroup],
    lines: &'a Lines,
    router_mac: MacAddr,
    max_flows: u32,
    entries: u64,
    macs: Vec<Claim>,
    addresses: Vec<Claim>,
    stations: Stations,
}

impl<'a> Collector<'a> {
    /// For overlays that are sorted by VNI.
    pub(super) fn new(
        overlays: &'a [OverlaySettings],
        groups: &'a [OverlayGroup],
        lines: &'a Lines,
        router_mac: MacAddr,
        max_flows: u32,
    ) -> Self {
        Self {
            overlays,
            groups,
            lines,
            router_mac,
            max_flows,
            entries: 0,
            macs: Vec::new(),
            addresses: Vec::new(),
            stations: Stations { single: Vec::new(), blocks: Vec::new() },
        }
    }

    /// A `[[station]]`.
    pub(super) fn add(&mut self, table: Spanned<file::Station>) -> Result<(), Fault> {
        let (place, table) = placed(table, self.lines);
        let (vni_place, VniNumber(vni)) = placed(table.vni, self.lines);
        let (mac_place, Mac(mac)) = placed(table.mac, self.lines);
        let (endpoint_place, endpoint) = placed(table.endpoint, self.lines);
        let addresses = placed_all(table.addresses, self.lines);
        let Ok(index) = self.overlays.binary_search_by_key(&vni, |overlay| overlay.vni) else {
            return fail(vni_place, Problem::StationVni { vni });
        };
        let overlay = &self.overlays[index];
        if !mac.is_unicast() {
            return fail(mac_place, Problem::StationMac { mac });
        }
        self.claim_macs(overlay, mac_place, mac_number(mac), mac_number(mac))?;
        self.check_endpoint(overlay, (endpoint_place, endpoint))?;
        for &(place, address) in &addresses {
            if !overlay.subnets.iter().any(|subnet| is_host_address(subnet.prefix, address)) {
                return fail(place, Problem::StationAddress { address, vni });
            }
            self.claim_addresses(overlay, place, address, address)?;
        }
        self.count(place, 1 + addresses.len() as u64)?;
        let addresses = addresses.into_iter().map(|(_, address)| address).collect();
        self.stations.single.push(Station { vni, mac, endpoint, addresses });
        Ok(())
    }

    /// A `[[station-block]]`.
    pub(super) fn add_block(&mut self, table: Spanned<file::StationBlock>) -> Result<(), Fault> {
        let (place, table) = placed(table, self.lines);
        let (vnis_place, VniRange(vnis)) = placed(table.vnis, self.lines);
        let (mac_place, Mac(first_mac)) = placed(table.first_mac, self.lines);
        let (address_place, first_address) = placed(table.first_address, self.lines);
        let (endpoints_place, file::OneOrMany(endpoints)) = placed(table.endpoints, self.lines);
        let overlays = among(self.overlays, &vnis);
        let mut missing = vnis.clone().zip(overlays.iter().map(|overlay| Some(overlay.vni)).chain([None]));
        if let Some((missing, _)) = missing.find(|&(vni, overlay)| Vni::new(vni) != overlay)
            && let Some(vni) = Vni::new(missing)
        {
            return fail(vnis_place, Problem::StationVni { vni });
        }
        if !first_mac.is_unicast() {
            return fail(mac_place, Problem::StationMac { mac: first_mac });
        }
        let block = StationBlock {
            vnis,
            per_overlay: table.per_overlay.get(),
            first_mac: mac_number(first_mac),
            first_address: first_address.get(),
            endpoints: endpoints.into(),
        };
        // Within the vendor's or local part, so that none becomes a group's.
        let room = (1 << 40) - (block.first_mac & ((1 << 40) - 1));
        if block.len() > room {
            return fail(
                mac_place,
                Problem::StationBlockMacs { first: first_mac, wanted: block.len(), room },
            );
        }
        let last_offset = u128::from(block.first_address) + u128::from(block.per_overlay) - 1;
        let mut checked_group = None;
        for overlay in overlays {
            if checked_group != Some(overlay.group) {
                for &endpoint in &*block.endpoints {
                    self.check_endpoint(overlay, (endpoints_place, endpoint))?;
                }
                checked_group = Some(overlay.group);
            }
            let first = block.first_mac + block.before(overlay.vni);
            let last = first + u64::from(block.per_overlay) - 1;
            self.claim_macs(overlay, mac_place, first, last)?;
            for &engine::Subnet { prefix, .. } in &overlay.subnets {
                // Below 2³³ on the one side, and not zero on the other.
                let last_address = address_number(prefix.broadcast()) - address_number(prefix.network());
                let room = last_address - u128::from(prefix.addr().is_ipv4());
                if last_offset > room {
                    let (vni, last) = (overlay.vni, last_offset);
                    return fail(address_place, Problem::StationBlockAddresses { prefix, vni, last, room });
                }
                let [first, last] = [block.first_address.into(), last_offset].map(|n| nth_address(prefix, n));
                self.claim_addresses(overlay, address_place, first, last)?;
            }
            self.count(place, u64::from(block.per_overlay) * (1 + overlay.subnets.len() as u64))?;
        }
        self.stations.blocks.push(block);
        Ok(())
    }

    /// The stations, none of which has what another has.
    pub(super) fn finish(mut self) -> Result<Stations, Fault> {
        if let Some((claim, place, other)) = twice(&mut self.macs) {
            let mac = mac(claim.first as u64);
            return fail(place, Problem::StationMacTwice { mac, vni: claim.vni, place: other });
        }
        if let Some((claim, place, other)) = twice(&mut self.addresses) {
            let address = match claim.ipv6 {
                true => IpAddr::V6(claim.first.into()),
                false => IpAddr::V4((claim.first as u32).into()),
            };
            return fail(place, Problem::StationAddressTwice { address, vni: claim.vni, place: other });
        }
        Ok(self.stations)
    }

    fn claim_macs(
        &mut self,
        overlay: &OverlaySettings,
        place: Place,
        first: u64,
        last: u64,
    ) -> Result<(), Fault> {
        let group = &self.groups[overlay.group as usize];
        for router in [Some(self.router_mac), group.own_mac].into_iter().flatten() {
            if (first..=last).contains(&mac_number(router)) {
                return fail(place, Problem::StationMacIsRouter { mac: router });
            }
        }
        let (first, last) = (first.into(), last.into());
        self.macs.push(Claim { vni: overlay.vni, ipv6: false, first, last, place });
        Ok(())
    }

    fn claim_addresses(
        &mut self,
        overlay: &OverlaySettings,
        place: Place,
        first: IpAddr,
        last: IpAddr,
    ) -> Result<(), Fault> {
        let vni = overlay.vni;
        let mut routers = overlay.subnets.iter().map(|subnet| subnet.router);
        if let Some(address) = routers.find(|router| (first..=last).contains(router)) {
            return fail(place, Problem::StationAddressIsRouter { address, vni });
        }
        let (ipv6, first, last) = (first.is_ipv6(), address_number(first), address_number(last));
        self.addresses.push(Claim { vni, ipv6, first, last, place });
        Ok(())
    }

    fn check_endpoint(
        &self,
        overlay: &OverlaySettings,
        (place, endpoint): Placed<IpAddr>,
    ) -> Result<(), Fault> {
        match self.groups[overlay.group as usize].endpoints.contains(&endpoint) {
            true => Ok(()),
            false => fail(place, Problem::StationEndpoint { endpoint, vni: overlay.vni }),
        }
    }

    /// What the flow table must hold; this also bounds what is listed.
    fn count(&mut self, place: Place, entries: u64) -> Result<(), Fault> {
        self.entries += entries;
        match self.entries > self.max_flows.into() {
            true => fail(place, Problem::TooManyStations { max_flows: self.max_flows }),
            false => Ok(()),
        }
    }
}
