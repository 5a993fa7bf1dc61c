//! Fragmentation (RFC 791 §3.2), off the path of packets.

use super::{
    DONT_FRAGMENT, HEADER_LEN, Ipv4Options, Ipv4Packet, MORE_FRAGMENTS, OFFSET_MASK, VERSION_IHL_PLAIN, field,
};
use crate::{Error, bytes};

/// Options with this bit in their type go into all fragments, the others into the first alone (RFC 791 §3.1).
const COPIED: u8 = 0x80;

/// `packet` in pieces of at most `mtu` bytes each, in order; one piece if it fits. A fragment is cut further.
/// Bytes after its total length are left out.
///
/// # Errors
/// Those of [`Ipv4Packet::new_checked`]; [`Error::BadChecksum`], which new headers would hide;
/// [`Error::BadField`] if it does not fit and must not be fragmented; [`Error::BadLength`] if an MTU leaves no
/// room for 8 bytes after the header, an option has a length that cannot be, or the packet would end beyond
/// 65 535 bytes when reassembled.
pub fn fragment(packet: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, Error> {
    let view = Ipv4Packet::new_checked(packet)?;
    if !view.verify_checksum() {
        return Err(Error::BadChecksum);
    }
    if view.total_len() <= mtu {
        return Ok(vec![packet[..view.total_len()].to_vec()]);
    }
    if view.dont_fragment() {
        return Err(Error::BadField);
    }
    let (start, mut rest) = (usize::from(view.fragment_offset()), view.payload());
    // With this the offsets of all pieces fit their field.
    if start + rest.len() > u16::MAX.into() {
        return Err(Error::BadLength);
    }

    let later_header = later_header(&view)?;
    let mut header = view.header();
    let mut fragments = Vec::new();
    while !rest.is_empty() {
        let room = mtu.checked_sub(header.len()).filter(|&room| room >= 8).ok_or(Error::BadLength)?;
        // All pieces but the last have a multiple of 8 bytes.
        let len = if rest.len() <= room { rest.len() } else { room & !7 };
        let offset = start + view.payload().len() - rest.len();
        let (data, after) = rest.split_at(len);
        let more = if after.is_empty() { view.flags_offset() & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        let others = view.flags_offset() & !(MORE_FRAGMENTS | OFFSET_MASK | DONT_FRAGMENT);

        let mut piece = [header, data].concat();
        let total_len = piece.len() as u16;
        bytes::put_u16(&mut piece, field::TOTAL_LEN, total_len);
        bytes::put_u16(&mut piece, field::FLAGS_OFFSET, others | more | (offset / 8) as u16);
        let mut piece = Ipv4Packet { buffer: piece };
        piece.fill_checksum();
        fragments.push(piece.into_inner());
        (rest, header) = (after, &later_header);
    }
    Ok(fragments)
}

/// The header of all fragments but the first: only copied options, padded to words of 32 bits.
fn later_header(packet: &Ipv4Packet<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut header = packet.header()[..HEADER_LEN].to_vec();
    for option in Ipv4Options::new(packet.options()) {
        let option = option?;
        if option.kind & COPIED != 0 {
            header.extend([option.kind, option.data.len() as u8 + 2]);
            header.extend_from_slice(option.data);
        }
    }
    header.resize(header.len().next_multiple_of(4), 0);
    // The version, and the length in words.
    header[field::VERSION_IHL] = VERSION_IHL_PLAIN & 0xf0 | (header.len() / 4) as u8;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From 198.18.0.1 to 198.18.0.2: no-operation, router alert (copied), record route (not copied), with
    /// `flags_offset`, and a payload that counts from zero.
    fn packet(flags_offset: u16, payload_len: usize) -> Vec<u8> {
        let mut packet = vec![
            0x48, 0xb9, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2, // Header.
            1, 0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, // Options.
        ];
        packet.extend((0..payload_len).map(|at| at as u8));
        let len = packet.len() as u16;
        bytes::put_u16(&mut packet, field::TOTAL_LEN, len);
        bytes::put_u16(&mut packet, field::FLAGS_OFFSET, flags_offset);
        let mut packet = Ipv4Packet::new_checked(packet).unwrap();
        packet.fill_checksum();
        packet.into_inner()
    }

    /// Of each piece: more fragments, offset, options and payload, as etherparse sees them.
    fn seen(pieces: &[Vec<u8>]) -> Vec<(bool, u16, Vec<u8>, Vec<u8>)> {
        let see = |piece: &Vec<u8>| {
            let (header, payload) = etherparse::Ipv4Header::from_slice(piece).unwrap();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), piece.len());
            assert_eq!((header.identification, header.time_to_live), (0x1234, 64));
            assert_eq!((header.source, header.destination), ([198, 18, 0, 1], [198, 18, 0, 2]));
            assert_eq!((header.dscp.value() << 2 | header.ecn.value(), header.protocol.0), (0xb9, 17));
            let offset = header.fragment_offset.value();
            (header.more_fragments, offset, header.options.as_slice().to_vec(), payload.to_vec())
        };
        pieces.iter().map(see).collect()
    }

    #[test]
    fn pieces_carry_offsets_flags_and_copied_options() {
        let packet = packet(0, 100);
        let (all, copied) = (packet[20..32].to_vec(), vec![0x94, 4, 0, 0]);
        // 79 bytes leave 47 after the first header, so 40, and 55 after the others, so 48.
        let expected = [
            (true, 0, all, packet[32..72].to_vec()),
            (true, 5, copied.clone(), packet[72..120].to_vec()),
            (false, 11, copied, packet[120..].to_vec()),
        ];
        assert_eq!(seen(&fragment(&packet, 79).unwrap()), expected);
    }

    #[test]
    fn fragments_are_cut_further() {
        // At offset 800, with more to come.
        let middle = packet(MORE_FRAGMENTS | 100, 64);
        let places = |packet: &[u8]| {
            let pieces = fragment(packet, 72).unwrap();
            seen(&pieces).iter().map(|piece| (piece.0, piece.1, piece.3.len())).collect::<Vec<_>>()
        };
        assert_eq!(places(&middle), [(true, 100, 40), (true, 105, 24)]);
        assert_eq!(places(&packet(100, 61)), [(true, 100, 40), (false, 105, 21)]);
    }

    #[test]
    fn a_packet_that_fits_is_left_as_it_is() {
        let whole = packet(DONT_FRAGMENT, 40);
        assert_eq!(fragment(&whole, 72), Ok(vec![whole.clone()]));
        let padded = [&whole[..], &[0; 9]].concat();
        assert_eq!(fragment(&padded, 72), Ok(vec![whole]));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        assert_eq!(fragment(&packet(DONT_FRAGMENT, 41), 72), Err(Error::BadField));
        assert_eq!(fragment(&packet(0, 9), 39), Err(Error::BadLength));
        assert_eq!(fragment(&packet(0, 9), 40).map(|pieces| pieces.len()), Ok(2));
        assert_eq!(fragment(&packet(0, 9), 0), Err(Error::BadLength));
        // Reassembled it would end at 65 528 + 8.
        assert_eq!(fragment(&packet(OFFSET_MASK, 8), 39), Err(Error::BadLength));
        assert_eq!(fragment(&packet(0, 9)[..40], 39), Err(Error::Truncated));
        let mut wrong = packet(0, 9);
        wrong[8] = 63;
        assert_eq!(fragment(&wrong, 40), Err(Error::BadChecksum));
        let mut lying = packet(0, 9);
        lying[22] = 40;
        let mut lying = Ipv4Packet::new_checked(lying).unwrap();
        lying.fill_checksum();
        assert_eq!(fragment(&lying.into_inner(), 40), Err(Error::BadLength));
    }

    proptest! {
        #[test]
        fn pieces_give_the_packet_back(payload_len in 0usize..3000, mtu in 40usize..1600, offset in 0u16..6000) {
            let whole = packet(offset, payload_len);
            let pieces = fragment(&whole, mtu).unwrap();
            let mut payload = Vec::new();
            for (nth, (more, at, _, data)) in seen(&pieces).into_iter().enumerate() {
                prop_assert!(pieces[nth].len() <= mtu);
                prop_assert_eq!(more, nth + 1 < pieces.len());
                prop_assert!(!more || data.len().is_multiple_of(8));
                prop_assert_eq!(usize::from(at), usize::from(offset) + payload.len() / 8);
                payload.extend(data);
            }
            prop_assert_eq!(payload, &whole[32..]);
        }
    }
}
