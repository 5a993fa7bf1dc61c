//! Raw sockets: a filter for the port, and the headers that the kernel leaves on.

use super::*;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// Lets the kernel pass on what is for `port` alone (a classic BPF program, Documentation/networking/filter.rst). An IPv4
/// packet begins with its IP header, an IPv6 packet with its UDP header.
pub(super) fn attach_filter(socket: &OwnedFd, v6: bool, port: u16) -> io::Result<()> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let port_to_a = match v6 {
        true => vec![instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 2)],
        false => vec![
            // X = 4 * (the low half of byte 0), the length of the IP header.
            instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
            instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
        ],
    };
    let mut program = port_to_a;
    program.extend([
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, port.into()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]);
    // The pointer is to `program`, which outlives the call; the kernel copies and checks it.
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, filter)
}

/// The source port and the payload of a packet between these addresses, if it is a whole datagram to `port`.
pub(super) fn payload(
    bytes: &[u8],
    (source, destination): (IpAddr, IpAddr),
    port: u16,
) -> Option<(u16, &[u8])> {
    let datagram = match source {
        IpAddr::V4(_) => bytes.get(4 * usize::from(bytes.first()? & 0x0f)..)?,
        IpAddr::V6(_) => bytes,
    };
    let header = datagram.first_chunk::<UDP_HEADER>()?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let datagram = datagram.get(..field(4).into())?;
    if datagram.len() < UDP_HEADER || field(2) != port || !is_intact(datagram, source, destination) {
        return None;
    }
    Some((field(0), &datagram[UDP_HEADER..]))
}

/// Whether the checksum is right (RFC 768, RFC 8200 §8.1). The kernel looks at it only for those who own the port.
fn is_intact(datagram: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let checksum = u16::from_be_bytes([datagram[6], datagram[7]]);
    if checksum == 0 {
        return source.is_ipv4();
    }
    let mut pseudo = u64::from(libc::IPPROTO_UDP as u8) + datagram.len() as u64;
    for address in [source, destination] {
        pseudo += match address {
            IpAddr::V4(address) => sum(&address.octets()),
            IpAddr::V6(address) => sum(&address.octets()),
        };
    }
    // From a neighbour on the same machine it comes with the sum of the pseudo header alone, which a NIC would have
    // completed.
    fold(pseudo + sum(datagram)) == 0xffff || fold(pseudo) == checksum
}

fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const DESTINATION: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    /// An IPv4 packet of 20 + 8 + 3 bytes with this checksum.
    fn packet(checksum: u16) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[0] = 0x45;
        bytes.extend([0xc0, 0x00, 0x0e, 0xc8, 0, 11]);
        bytes.extend(checksum.to_be_bytes());
        bytes.extend(b"abc");
        bytes
    }

    fn read(bytes: &[u8]) -> Option<(u16, &[u8])> {
        payload(bytes, (SOURCE, DESTINATION), 3784)
    }

    #[test]
    fn whole_ones_are_taken() {
        // Computed by Python from RFC 768, as is the sum of the pseudo header below.
        let right = 0xe8a8;
        assert_eq!(read(&packet(right)), Some((49152, &b"abc"[..])));
        // Bytes behind it are none of it.
        assert_eq!(read(&[packet(right), vec![1]].concat()), Some((49152, &b"abc"[..])));
        assert!(read(&packet(0)).is_some(), "IPv4 may go without");
        assert!(read(&packet(right ^ 0x100)).is_none());
        assert!(read(&packet(0x8420)).is_some(), "to be completed by a NIC");
    }

    #[test]
    fn cut_ones_are_not() {
        let whole = packet(0);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_none(), "{length}");
        }
        let mut short = whole.clone();
        short[25] = 7;
        assert!(read(&short).is_none(), "shorter than its header");
        let mut other = whole;
        other[23] = 0xc9;
        assert!(read(&other).is_none(), "another port");
    }

    #[test]
    fn ipv6_has_a_checksum() {
        let addresses = (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        assert!(payload(&packet(0)[20..], addresses, 3784).is_none());
    }
}
