//! Router discovery.

use super::{DST_V6, SRC_V6, assert_same, emitted};
use crate::icmpv6::Icmpv6Packet;
use crate::ndp::{ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION, RouterAdvertisement, RouterSolicitation};

/// A router solicitation and a router advertisement, whatever the type says.
pub fn ndp(data: &[u8]) {
    let mut message = data.to_vec();
    for (type_, check) in [
        (ROUTER_SOLICITATION, check_solicitation as fn(&Icmpv6Packet<&[u8]>)),
        (ROUTER_ADVERTISEMENT, check_advertisement),
    ] {
        let Ok(mut packet) = Icmpv6Packet::new_checked(&mut message) else { return };
        packet.set_type(type_);
        packet.set_code(0);
        packet.fill_checksum(SRC_V6, DST_V6);
        if let Ok(packet) = Icmpv6Packet::new_checked(&message[..]) {
            check(&packet);
        }
    }
}

fn check_solicitation(packet: &Icmpv6Packet<&[u8]>) {
    let Ok(value) = RouterSolicitation::parse(packet) else { return };
    assert_eq!(value.validate(packet, 255, SRC_V6, DST_V6), Ok(()));
    let message = emitted(value.buffer_len(), |buffer| value.emit(buffer, SRC_V6, DST_V6));
    assert_same(
        Icmpv6Packet::new_checked(message).and_then(|packet| RouterSolicitation::parse(&packet)),
        value,
    );
}

fn check_advertisement(packet: &Icmpv6Packet<&[u8]>) {
    let Ok(value) = RouterAdvertisement::parse(packet) else { return };
    assert!(value.prefixes.iter().all(|prefix| prefix.prefix_len <= 128));
    let message = emitted(value.buffer_len(), |buffer| value.emit(buffer, SRC_V6, DST_V6));
    let emitted = Icmpv6Packet::new_checked(message);
    assert_same(emitted.and_then(|packet| RouterAdvertisement::parse(&packet)), value);
}
