//! IPv6 extension headers (RFC 8200 §4).

use super::HEADER_LEN;
use crate::{Error, IpProtocol};

/// Extension headers that [`Ipv6Packet::upper_layer`](super::Ipv6Packet::upper_layer) follows. RFC 8200 §4.1
/// puts at most six readable ones before the upper layer; a longer chain serves only to wear routers out.
pub const MAX_EXTENSIONS: usize = 8;

/// Where the upper-layer header of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// What is at `offset`: no extension header but perhaps [`IpProtocol::Esp`] (nothing after it can be
    /// read) or [`IpProtocol::NoNext`].
    pub protocol: IpProtocol,
    /// Bytes from the start of the IPv6 header; at most
    /// [`Ipv6Packet::total_len`](super::Ipv6Packet::total_len).
    pub offset: usize,
    /// Place in the unfragmented packet in bytes, if there is a fragment header. Unless it is zero, what is
    /// at `offset` is the middle of a payload and `protocol` that of the first fragment's fragment header.
    pub fragment_offset: Option<u16>,
    /// Whether this is a fragment other than the last.
    pub more_fragments: bool,
}

impl UpperLayer {
    /// Whether this is not the whole packet. A fragment header that says offset zero and no more fragments is
    /// that of a whole packet (an "atomic fragment", RFC 6946).
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset.is_some_and(|offset| offset != 0)
    }
}

/// Walks the extension headers of `packet`, which is a fixed header and its payload. `first` is the kind of
/// the first.
pub(super) fn walk(packet: &[u8], first: IpProtocol) -> Result<UpperLayer, Error> {
    let mut upper =
        UpperLayer { protocol: first, offset: HEADER_LEN, fragment_offset: None, more_fragments: false };
    for _ in 0..MAX_EXTENSIONS {
        // Every extension header is 8 bytes or more.
        let Some([next, len, high, low, ..]) = packet.get(upper.offset..upper.offset + 8) else {
            return Err(Error::Truncated);
        };
        let len = usize::from(*len);
        let len = match upper.protocol {
            IpProtocol::HopByHop if upper.offset != HEADER_LEN => return Err(Error::BadField),
            // A second one would hide what the first one says.
            IpProtocol::Fragment if upper.fragment_offset.is_some() => return Err(Error::BadField),
            IpProtocol::Fragment => {
                // 13 bits of offset in units of 8 bytes, 2 reserved bits, 1 bit "more" (RFC 8200 §4.5).
                let word = u16::from_be_bytes([*high, *low]);
                upper.fragment_offset = Some(word & !7);
                upper.more_fragments = word & 1 != 0;
                8
            }
            // In units of 4 bytes, not counting the first 8 (RFC 4302 §2.2).
            IpProtocol::Auth => (len + 2) * 4,
            // In units of 8 bytes, not counting the first 8 (RFC 8200 §4.2).
            _ => (len + 1) * 8,
        };
        upper.protocol = (*next).into();
        upper.offset += len;
        if upper.offset > packet.len() {
            return Err(Error::Truncated);
        }
        if !is_extension(upper.protocol) || upper.fragment_offset.is_some_and(|offset| offset != 0) {
            return Ok(upper);
        }
    }
    Err(Error::TooManyExtensions)
}

/// Whether another header's kind follows in a readable place.
#[inline]
pub(super) fn is_extension(protocol: IpProtocol) -> bool {
    matches!(
        protocol,
        IpProtocol::HopByHop
            | IpProtocol::Routing
            | IpProtocol::Fragment
            | IpProtocol::Auth
            | IpProtocol::DestOpts
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Ipv6Packet, Ipv6Repr};
    use super::*;

    /// UDP from 2001:db8::1 to 2001:db8::2 behind hop-by-hop options and an atomic fragment header.
    #[rustfmt::skip]
    static EXTENDED: [u8; 69] = [
        0x6b, 0x91, 0x23, 0x45, 0x00, 0x1d, 0x00, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x2c, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00,
        0x11, 0x00, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xd6, 0x85,
        0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    /// What the upper layer of a packet with this payload is found to be.
    fn upper_layer(next_header: IpProtocol, payload: &[u8]) -> Result<UpperLayer, Error> {
        let repr = Ipv6Repr::parse(&Ipv6Packet::new_checked(EXTENDED).unwrap());
        let mut bytes = vec![0xa5; HEADER_LEN];
        Ipv6Repr { next_header, payload_len: payload.len() as u16, ..repr }.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        Ipv6Packet::new_checked(bytes).unwrap().upper_layer()
    }

    #[test]
    fn etherparse_agrees() {
        let extended = etherparse::Ipv6Slice::from_slice(&EXTENDED).unwrap();
        assert_eq!(extended.payload().ip_number, etherparse::IpNumber::UDP);
        assert_eq!(extended.payload().payload, &EXTENDED[56..]);
    }

    #[test]
    fn extension_headers_are_followed() {
        let upper = Ipv6Packet::new_checked(&EXTENDED[..]).unwrap().upper_layer().unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::Udp, 56));
        assert_eq!((upper.fragment_offset, upper.more_fragments), (Some(0), false));
        assert!(!upper.is_fragment());

        // Routing header of 24 bytes, authentication header of 12, then destination options of 8.
        let mut chain = [0; 24 + 12 + 8];
        chain[..2].copy_from_slice(&[51, 2]);
        chain[24..26].copy_from_slice(&[60, 1]);
        chain[36..38].copy_from_slice(&[50, 0]);
        let upper = upper_layer(IpProtocol::Routing, &chain).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::Esp, 84));
        assert_eq!(upper.fragment_offset, None);
    }

    #[test]
    fn later_fragments_end_the_walk() {
        // The first fragment's payload starts with destination options; this one's with anything.
        let upper = upper_layer(IpProtocol::Fragment, &[60, 0, 0x00, 0x09, 0, 0, 0, 1, 0xff]).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::DestOpts, 48));
        assert_eq!((upper.fragment_offset, upper.more_fragments), (Some(8), true));
        assert!(upper.is_fragment());
        let first = upper_layer(IpProtocol::Fragment, &[17, 0, 0, 1, 0, 0, 0, 1]).unwrap();
        assert_eq!((first.fragment_offset, first.is_fragment()), (Some(0), true));
    }

    #[test]
    fn bad_chains_are_refused() {
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[17, 0, 0, 0, 0, 0, 0]), Err(Error::Truncated));
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[17, 1, 0, 0, 0, 0, 0, 0]), Err(Error::Truncated));
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[0; 16]), Err(Error::BadField));
        let fragments = [44, 0, 0, 1, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(upper_layer(IpProtocol::Fragment, &fragments), Err(Error::BadField));
        let options = [60, 0, 0, 0, 0, 0, 0, 0].repeat(MAX_EXTENSIONS + 1);
        assert_eq!(upper_layer(IpProtocol::DestOpts, &options), Err(Error::TooManyExtensions));
        let mut longest = options[..MAX_EXTENSIONS * 8].to_vec();
        longest[(MAX_EXTENSIONS - 1) * 8] = 59;
        let upper = upper_layer(IpProtocol::DestOpts, &longest).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::NoNext, 40 + longest.len()));
    }
}
