//! DHCP of both families.

use std::hint::black_box;

use super::{DST_V6, SRC_V6, assert_same, emitted};
use crate::dhcpv4::{self, Dhcpv4Option, Dhcpv4Options, Dhcpv4Packet};
use crate::dhcpv6::{
    Dhcpv6Options, Dhcpv6Packet, Dhcpv6RelayPacket, Dhcpv6RelayRepr, HOP_COUNT_LIMIT, MessageType,
};

/// A DHCPv4 message, as it came and with the magic cookie that fuzzing seldom hits.
pub fn dhcpv4(data: &[u8]) {
    check_dhcpv4(data);
    let mut message = data.to_vec();
    if let Some(cookie) = message.get_mut(dhcpv4::HEADER_LEN - 4..dhcpv4::HEADER_LEN) {
        cookie.copy_from_slice(&[99, 130, 83, 99]);
        check_dhcpv4(&message);
    }
}

/// The options of a message, without padding.
fn options(message: &[u8]) -> Vec<Dhcpv4Option<'_>> {
    Dhcpv4Options::new(&message[dhcpv4::HEADER_LEN..]).flatten().collect()
}

fn check_dhcpv4(data: &[u8]) {
    let Ok(view) = Dhcpv4Packet::new_checked(data) else { return };
    black_box((view.operation(), view.hardware_type(), view.hardware_len(), view.hops(), view.transaction()));
    black_box((view.seconds(), view.broadcast(), view.client_ip(), view.your_ip(), view.next_server()));
    black_box((view.relay_agent(), view.client_mac()));
    let _ = black_box((view.message_type(), view.relay_agent_information()));
    let well_formed = Dhcpv4Options::new(view.options()).all(|option| option.is_ok());
    let is_information = |option: &Dhcpv4Option| option.kind == Dhcpv4Option::RELAY_AGENT_INFORMATION;

    let mut stripped = Vec::new();
    assert_eq!(dhcpv4::strip_relay_agent(data, &mut stripped).is_ok(), well_formed);
    let mut appended = Vec::new();
    let result = dhcpv4::append_relay_agent(data, &[1, 2], &[3], &mut appended);
    assert_eq!(result.is_ok(), well_formed && !options(data).iter().any(is_information));
    if well_formed {
        assert!(stripped.len() >= dhcpv4::MIN_LEN);
        assert!(options(&stripped).into_iter().eq(options(data).into_iter().filter(|o| !is_information(o))));
    }
    if result.is_ok() {
        let packet = Dhcpv4Packet::new_checked(&appended[..]);
        let found = packet.map(|packet| packet.relay_agent_information().map(|found| found.is_some()));
        assert_eq!(found, Ok(Ok(true)));
        let mut back = Vec::new();
        assert_eq!(dhcpv4::strip_relay_agent(&appended, &mut back), Ok(()));
        assert_eq!(back, stripped);
    }
}

/// A DHCPv6 message of either form.
pub fn dhcpv6(data: &[u8]) {
    if let Ok(view) = Dhcpv6Packet::new_checked(data) {
        assert!(view.transaction() < 1 << 24);
        let total: usize =
            Dhcpv6Options::new(view.options()).flatten().map(|option| 4 + option.data.len()).sum();
        assert!(total <= view.options().len());
    }
    if let Ok(view) = Dhcpv6RelayPacket::new_checked(data)
        && let Ok(value) = Dhcpv6RelayRepr::parse(&view)
    {
        black_box(value.peer_port());
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer));
        assert!(message.len() <= data.len());
        let again = Dhcpv6RelayPacket::new_checked(&message[..]);
        assert_eq!(again.as_ref().map(Dhcpv6RelayRepr::parse), Ok(Ok(value)));
    }
    if let Ok(value) = Dhcpv6RelayRepr::forward(data, SRC_V6, DST_V6, &[1, 2, 3]) {
        assert!(value.hop_count <= HOP_COUNT_LIMIT);
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer));
        assert_same(MessageType::of(&message), MessageType::RelayForward);
        let again = Dhcpv6RelayPacket::new_checked(&message[..]);
        assert_eq!(again.as_ref().map(Dhcpv6RelayRepr::parse), Ok(Ok(value)));
    }
}
