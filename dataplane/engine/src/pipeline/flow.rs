//! Entropy: what is made from a flow to spread flows over paths. By it the gateway chooses among its own paths, and the
//! outer source port lets the underlay choose, for paths and queues (RFC 7348 §5).

use std::net::IpAddr;

use super::ip::IpHeader;

/// What is made from a flow. Parts of it tell nothing of each other, so that each choice is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entropy(u64);

impl Entropy {
    /// The outer source port for an inner packet: 49 152 to 65 535.
    #[inline(always)]
    pub(crate) fn source_port(self) -> u16 {
        0xc000 | (self.0 >> 48) as u16 & 0x3fff
    }

    /// What the gateway chooses among paths by.
    #[inline(always)]
    pub(crate) fn path(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// The entropy of a packet: the same for all packets of a flow, and for all fragments between two hosts.
#[inline]
pub(crate) fn of_packet(header: &IpHeader, packet: &[u8]) -> Entropy {
    let ports = header.upper_layer(packet, 0, 4).and_then(|ports| ports.try_into().ok()).unwrap_or_default();
    let (source, destination) = match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (u64::from(source.to_bits()), u64::from(destination.to_bits()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (fold(source.to_bits()), fold(destination.to_bits()))
        }
        // Headers have one family; a mixed pair cannot be parsed.
        _ => (0, 0),
    };
    entropy(source, destination, header.protocol, ports, header.flow_label)
}

/// The same from the parts: addresses as numbers, those of IPv6 [folded](fold), and the first bytes of the upper layer,
/// which count if they are ports.
#[inline(always)]
pub(super) fn entropy(
    source: u64,
    destination: u64,
    protocol: u8,
    ports: [u8; 4],
    flow_label: u32,
) -> Entropy {
    // TCP, UDP, and SCTP (RFC 9260).
    let ports = if matches!(protocol, 6 | 17 | 132) { u32::from_ne_bytes(ports) } else { 0 };
    let seed = u64::from(ports) << 32 | u64::from(flow_label) << 8 | u64::from(protocol);
    Entropy(mix(mix(source, destination ^ 0x9e37_79b9_7f4a_7c15), seed))
}

/// The two halves of a 128-bit product of odd-ish operands: cheap, and every input bit reaches the top.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    fold(product)
}

/// Both halves in one.
#[inline(always)]
pub(super) fn fold(wide: u128) -> u64 {
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use wire::IpProtocol;

    use super::*;

    fn header(source: &str, destination: &str) -> IpHeader {
        IpHeader {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ttl: 64,
            len: 28,
            protocol: IpProtocol::Udp.into(),
            traffic_class: 0,
            payload: Some(0),
            flow_label: 0,
        }
    }

    #[test]
    fn flows_spread_and_stay_in_the_dynamic_range() {
        for (source, destination) in [("10.0.0.1", "198.18.0.1"), ("fd00::1", "2001:db8::1")] {
            let mut seen = HashSet::new();
            for port in 0..4096_u16 {
                let [a, b] = port.to_be_bytes();
                let entropy = of_packet(&header(source, destination), &[a, b, 0, 53]).source_port();
                assert!(entropy >= 49152);
                seen.insert(entropy);
            }
            // 4 096 balls in 16 384 bins leave about 3 620 bins hit.
            assert!(seen.len() > 3400, "{}", seen.len());
        }
    }

    /// Else flows that share a path of ours would share those of the underlay.
    #[test]
    fn paths_and_source_ports_are_independent() {
        for (source, destination) in [("10.0.0.1", "198.18.0.1"), ("fd00::1", "2001:db8::1")] {
            let mut counts = [[0_i32; 8]; 8];
            for port in 0..=u16::MAX {
                let [a, b] = port.to_be_bytes();
                let entropy = of_packet(&header(source, destination), &[a, b, 0, 53]);
                counts[usize::from(entropy.path() % 8)][usize::from(entropy.source_port() % 8)] += 1;
            }
            // 1 024 each, give or take five standard deviations.
            assert!(counts.iter().flatten().all(|count| (count - 1024).abs() < 160), "{counts:?}");
        }
    }

    #[test]
    fn fragments_stay_together() {
        let mut header = header("10.0.0.1", "198.18.0.1");
        header.payload = None;
        assert_eq!(of_packet(&header, &[1, 2, 3, 4]), of_packet(&header, &[9, 9, 9, 9]));
    }
}
