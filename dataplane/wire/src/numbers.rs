//! Numbers that tell which protocol comes next.

/// An enum over an open set of numbers: the named ones, and `Unknown` for the rest.
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident: $number:ty {
        $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// Any other number. Made by `From`, so that a named number never hides here.
            Unknown($number),
        }

        impl From<$number> for $name {
            #[inline]
            fn from(number: $number) -> Self {
                match number {
                    $($value => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }
        }

        impl From<$name> for $number {
            #[inline]
            fn from(name: $name) -> Self {
                match name {
                    $($name::$variant => $value,)+
                    $name::Unknown(other) => other,
                }
            }
        }
    };
}
pub(crate) use open_enum;

open_enum! {
    /// An EtherType: which protocol an Ethernet frame carries (IANA, "IEEE 802 Numbers").
    pub enum EtherType: u16 {
        /// IPv4.
        Ipv4 = 0x0800,
        /// ARP.
        Arp = 0x0806,
        /// An IEEE 802.1Q tag (customer VLAN).
        Vlan = 0x8100,
        /// IPv6.
        Ipv6 = 0x86dd,
        /// An IEEE 802.1ad tag (service VLAN, "QinQ").
        QinQ = 0x88a8,
    }
}

open_enum! {
    /// An IP protocol number, or the kind of an IPv6 extension header (IANA, "Assigned Internet Protocol
    /// Numbers").
    pub enum IpProtocol: u8 {
        /// IPv6 hop-by-hop options.
        HopByHop = 0,
        /// ICMP for IPv4.
        Icmp = 1,
        /// TCP.
        Tcp = 6,
        /// UDP.
        Udp = 17,
        /// IPv6 routing header.
        Routing = 43,
        /// IPv6 fragment header.
        Fragment = 44,
        /// Encapsulating security payload.
        Esp = 50,
        /// Authentication header.
        Auth = 51,
        /// ICMP for IPv6.
        Icmpv6 = 58,
        /// Nothing follows an IPv6 header.
        NoNext = 59,
        /// IPv6 destination options.
        DestOpts = 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_there_and_back() {
        for number in 0..=u16::MAX {
            assert_eq!(u16::from(EtherType::from(number)), number);
        }
        for number in 0..=u8::MAX {
            assert_eq!(u8::from(IpProtocol::from(number)), number);
        }
    }

    #[test]
    fn assigned_numbers_have_names() {
        use EtherType::*;
        assert_eq!(
            [0x0800, 0x0806, 0x8100, 0x86dd, 0x88a8].map(EtherType::from),
            [Ipv4, Arp, Vlan, Ipv6, QinQ]
        );
        use IpProtocol::*;
        assert_eq!(
            [0, 1, 6, 17, 43, 44].map(IpProtocol::from),
            [HopByHop, Icmp, Tcp, Udp, Routing, Fragment]
        );
        assert_eq!([50, 51, 58, 59, 60].map(IpProtocol::from), [Esp, Auth, Icmpv6, NoNext, DestOpts]);
        assert_eq!(IpProtocol::from(200), IpProtocol::Unknown(200));
    }
}
