//! What flows are found by.

use std::net::{IpAddr, Ipv6Addr};

use wire::{MacAddr, Vni};

/// A station's MAC or IP address in its overlay: one space of 128 bits for all, laid out like IPv6 addresses.
///
/// | what | key |
/// | --- | --- |
/// | IPv6 address | itself |
/// | IPv4 address | `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2) |
/// | (VNI, link-local IPv6 address) | `fe80:0:VV:VVVV:` and the interface identifier |
/// | (VNI, MAC address) | `ff00:0:VV:VVVV:0:MMMM:MMMM:MMMM`: multicast, which is no station's address |
///
/// The prefixes of overlays never overlap, so that an address that is not link-local says by itself which overlay it
/// is in: those keys need no VNI. Whoever looks one up compares the VNI of the flow with the one that it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey(pub(super) u128);

impl FlowKey {
    /// `::`, the key of what no station can have as its address.
    pub const NOBODY: Self = Self(0);

    /// The key of a MAC address in an overlay.
    #[inline]
    pub fn mac(vni: Vni, mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Self(0xff << 120 | u128::from(vni.value()) << 64 | u128::from(mac))
    }

    /// The key of an IP address in an overlay.
    ///
    /// Multicast and IPv4-mapped IPv6 addresses have the key [`NOBODY`](Self::NOBODY), so that a packet for one finds
    /// no flow of another kind. Bits 10 to 63 of a link-local address are not looked at: they are zero (RFC 4291
    /// §2.5.6).
    #[inline]
    pub fn address(vni: Vni, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(0xffff << 32 | u128::from(address.to_bits())),
            IpAddr::V6(address) => Self::ipv6(vni, address),
        }
    }

    /// The key of an address that says by itself which overlay it is in; `None` for link-local ones.
    #[inline]
    pub(crate) fn global(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(Self(0xffff << 32 | u128::from(address.to_bits()))),
            IpAddr::V6(address) if address.is_unicast_link_local() => None,
            // The VNI is of no account.
            IpAddr::V6(address) => Some(Self::ipv6(ANY, address)),
        }
    }

    /// The MAC address, if that is what it is the key of.
    pub(crate) fn as_mac(self) -> Option<MacAddr> {
        let [.., a, b, c, d, e, f] = self.0.to_be_bytes();
        (self.0 >> 120 == 0xff).then_some(MacAddr([a, b, c, d, e, f]))
    }

    /// The IP address, if that is what it is the key of.
    pub(crate) fn as_address(self) -> Option<IpAddr> {
        match self.0 >> 112 {
            0xff00.. => None,
            0xfe80 => Some(Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(self.0 as u64)).into()),
            _ => Some(Ipv6Addr::from_bits(self.0).to_canonical()),
        }
    }

    #[inline]
    fn ipv6(vni: Vni, address: Ipv6Addr) -> Self {
        let bits = address.to_bits();
        if bits >> 118 == 0xfe80 >> 6 {
            return Self(0xfe80 << 112 | u128::from(vni.value()) << 64 | u128::from(bits as u64));
        }
        if bits >> 120 == 0xff || bits >> 32 == 0xffff {
            return Self::NOBODY;
        }
        Self(bits)
    }
}

/// A VNI where it makes no difference which.
const ANY: Vni = Vni::new(1).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    const VNI: Vni = Vni::new(0x12_3456).unwrap();
    const OTHER: Vni = Vni::new(7).unwrap();

    fn key(vni: Vni, address: &str) -> String {
        Ipv6Addr::from_bits(FlowKey::address(vni, address.parse().unwrap()).0).to_string()
    }

    #[test]
    fn keys_read_like_ipv6_addresses() {
        assert_eq!(key(VNI, "2001:db8::5"), "2001:db8::5");
        assert_eq!(key(VNI, "192.0.2.7"), "::ffff:192.0.2.7");
        assert_eq!(key(VNI, "fe80::1:2"), "fe80:0:12:3456::1:2");
        let mac = FlowKey::mac(VNI, MacAddr([2, 0, 0x5e, 0x10, 0xab, 0xff]));
        assert_eq!(Ipv6Addr::from_bits(mac.0).to_string(), "ff00:0:12:3456:0:200:5e10:abff");
    }

    #[test]
    fn what_is_not_unique_by_itself_is_kept_apart_by_vni() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        assert_ne!(FlowKey::mac(VNI, mac), FlowKey::mac(OTHER, mac));
        assert_ne!(key(VNI, "fe80::1"), key(OTHER, "fe80::1"));
        assert_ne!(key(VNI, "fe80::1"), key(VNI, "fe80::2"));
        assert_eq!(key(VNI, "2001:db8::1"), key(OTHER, "2001:db8::1"));
    }

    #[test]
    fn an_address_never_has_the_key_of_another_kind() {
        assert_eq!(key(VNI, "ff00:0:12:3456:0:200:5e10:abff"), "::");
        assert_eq!(key(VNI, "ff02::1"), "::");
        assert_eq!(key(VNI, "::ffff:192.0.2.7"), "::");
        // The /64 of the table's own keys is link-local too: the VNI asked for replaces the one in the address.
        assert_eq!(key(OTHER, "fe80:0:12:3456::1"), "fe80:0:0:7::1");
        assert_eq!(key(OTHER, "febf:0:12:3456::1"), "fe80:0:0:7::1");
    }

    #[test]
    fn keys_say_what_they_are_of() {
        for text in ["2001:db8::5", "192.0.2.7", "fe80::1:2"] {
            let address: IpAddr = text.parse().unwrap();
            let key = FlowKey::address(VNI, address);
            assert_eq!((key.as_address(), key.as_mac()), (Some(address), None));
            assert_eq!(FlowKey::global(address), (text != "fe80::1:2").then_some(key));
        }
        let mac = MacAddr([2, 0, 0x5e, 0x10, 0xab, 0xff]);
        let key = FlowKey::mac(VNI, mac);
        assert_eq!((key.as_address(), key.as_mac()), (None, Some(mac)));
        for strange in ["ff00:0:12:3456:0:200:5e10:abff", "::ffff:192.0.2.7"] {
            let address = IpAddr::V6(strange.parse().unwrap());
            assert_eq!(FlowKey::global(address), Some(FlowKey::NOBODY), "{strange}");
        }
    }
}
