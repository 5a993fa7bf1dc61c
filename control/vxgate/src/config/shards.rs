//! Addresses of shards, and of gateways in overlays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::Shard;
use wire::MacAddr;

use super::{AddressRange, FloatingSettings};

impl FloatingSettings {
    /// The shards with their addresses, by number.
    pub(crate) fn list(&self) -> Vec<Shard> {
        let shard = |number: u16| Shard {
            vtep_v4: nth_v4(&self.vtep, number),
            vtep_v6: nth_v6(&self.vtep, number),
            uplink_v4: nth_v4(&self.uplink, number),
            uplink_v6: nth_v6(&self.uplink, number),
        };
        (0..self.shards).map(shard).collect()
    }
}

fn nth_v4(ranges: &[AddressRange], number: u16) -> Option<Ipv4Addr> {
    let mut left = u32::from(number);
    for range in ranges {
        if let (IpAddr::V4(first), IpAddr::V4(last)) = (range.first, range.last) {
            match left.checked_sub(last.to_bits() - first.to_bits()) {
                None | Some(0) => return Some((first.to_bits() + left).into()),
                Some(beyond) => left = beyond - 1,
            }
        }
    }
    None
}

fn nth_v6(ranges: &[AddressRange], number: u16) -> Option<Ipv6Addr> {
    let mut left = u128::from(number);
    for range in ranges {
        if let (IpAddr::V6(first), IpAddr::V6(last)) = (range.first, range.last) {
            match left.checked_sub(last.to_bits() - first.to_bits()) {
                None | Some(0) => return Some((first.to_bits() + left).into()),
                Some(beyond) => left = beyond - 1,
            }
        }
    }
    None
}

/// The MAC address that a gateway of a cluster has of its own in overlays, unless one is configured: locally administered,
/// and another for each id. All clusters of a fabric may use the same ones, as their overlays differ.
pub(crate) fn own_mac(id: u16) -> MacAddr {
    let [high, low] = id.to_be_bytes();
    MacAddr([0x02, 0x76, 0x78, 0x67, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_the_addresses_of_ranges_in_their_order() {
        let range = |first: &str, last: &str| AddressRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        let settings = FloatingSettings {
            shards: 4,
            vtep: vec![
                range("198.18.4.7", "198.18.4.8"),
                range("2001:db8::ffff", "2001:db8::1:2"),
                range("198.18.4.1", "198.18.4.2"),
            ],
            uplink: vec![range("198.18.9.0", "198.18.9.255")],
        };
        let shards = settings.list();
        let vteps: Vec<String> =
            shards.iter().flat_map(Shard::vteps).map(|address| address.to_string()).collect();
        let expected = [
            "198.18.4.7",
            "2001:db8::ffff",
            "198.18.4.8",
            "2001:db8::1:0",
            "198.18.4.1",
            "2001:db8::1:1",
            "198.18.4.2",
            "2001:db8::1:2",
        ];
        assert_eq!(vteps, expected);
        let uplinks: Vec<String> =
            shards.iter().flat_map(Shard::uplinks).map(|address| address.to_string()).collect();
        assert_eq!(uplinks, ["198.18.9.0", "198.18.9.1", "198.18.9.2", "198.18.9.3"]);
    }

    #[test]
    fn gateways_have_different_addresses_of_their_own() {
        let [one, other] = [own_mac(1), own_mac(256)];
        assert!(one != other && one.0[0] & 3 == 2, "{one}, {other}");
    }
}
