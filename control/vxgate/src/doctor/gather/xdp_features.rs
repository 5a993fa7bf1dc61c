//! What drivers say of XDP: the generic netlink family `netdev` (Documentation/netlink/specs/netdev.yaml), which the
//! kernel has since 6.3.

use std::io;

use rtnetlink::packet_core::{
    DefaultNla, Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlasIterator, parse_u16, parse_u64,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use super::super::machine::XdpFeatures;

/// The family of families, and what is asked of it (linux/genetlink.h).
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// What is asked of the family `netdev` (linux/netdev.h).
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// `enum netdev_xdp_act`.
const BASIC: u64 = 1;
const REDIRECT: u64 = 1 << 1;
const XSK_ZEROCOPY: u64 = 1 << 3;
const RX_SG: u64 = 1 << 5;

/// Bytes of a netlink and of a generic netlink header.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// A conversation with the family.
pub(super) struct NetdevFamily {
    socket: Socket,
    id: u16,
}

impl NetdevFamily {
    /// Finds the family.
    ///
    /// # Errors
    /// `NotFound` before Linux 6.3.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_GENERIC)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let reply = ask(&socket, CONTROL, GET_FAMILY, &DefaultNla::new(FAMILY_NAME, b"netdev\0".to_vec()))?;
        let id = attribute(&reply, FAMILY_ID).and_then(|value| parse_u16(&value).ok());
        let id = id.ok_or_else(|| io::Error::other("the kernel named no number for the family netdev"))?;
        Ok(Self { socket, id })
    }

    /// What the driver of the netdev with this index says.
    pub(super) fn features(&self, index: u32) -> io::Result<XdpFeatures> {
        let index = DefaultNla::new(DEV_IFINDEX, index.to_ne_bytes().to_vec());
        let reply = ask(&self.socket, self.id, DEV_GET, &index)?;
        let bits = attribute(&reply, DEV_XDP_FEATURES).and_then(|value| parse_u64(&value).ok());
        bits.map(features).ok_or_else(|| io::Error::other("the kernel named no XDP features"))
    }
}

fn features(bits: u64) -> XdpFeatures {
    XdpFeatures {
        native: bits & (BASIC | REDIRECT) == BASIC | REDIRECT,
        zero_copy: bits & XSK_ZEROCOPY != 0,
        multi_buffer: bits & RX_SG != 0,
    }
}

/// One question with one attribute; the attributes of the answer.
fn ask(socket: &Socket, family: u16, command: u8, question: &DefaultNla) -> io::Result<Vec<u8>> {
    let mut request = vec![0; HEADER + GENERIC_HEADER + question.buffer_len()];
    let length = request.len() as u32;
    let mut header = NetlinkBuffer::new(&mut request[..]);
    header.set_length(length);
    header.set_message_type(family);
    header.set_flags(NLM_F_REQUEST);
    // Command and version.
    request[HEADER..HEADER + 2].copy_from_slice(&[command, 1]);
    question.emit(&mut request[HEADER + GENERIC_HEADER..]);
    socket.send(&request, 0)?;
    // The kernel has answered by now; the answer to one question is one message.
    let (reply, _) = socket.recv_from_full()?;
    let malformed = || io::Error::other("the kernel's answer is cut off");
    let reply = NetlinkBuffer::new_checked(&reply[..]).map_err(|_| malformed())?;
    let payload = reply.payload();
    if reply.message_type() == NLMSG_ERROR {
        let number = payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(number.saturating_neg()));
    }
    payload.get(GENERIC_HEADER..).map(<[u8]>::to_vec).ok_or_else(malformed)
}

/// The value of the first attribute of a kind.
fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let attribute = NlasIterator::new(attributes).map_while(Result::ok).find(|nla| nla.kind() == kind)?;
    Some(attribute.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits() {
        // veth on Linux 6.18, then ice.
        let expected = |zero_copy| XdpFeatures { native: true, zero_copy, multi_buffer: true };
        assert_eq!(features(0x23), expected(false));
        assert_eq!(features(0x6f), expected(true));
        assert!(!features(BASIC).native, "a program that cannot redirect to a socket");
    }

    #[test]
    fn attributes_that_are_cut_off_are_none() {
        assert_eq!(attribute(&[12, 0, 3, 0, 1, 2], 3), None);
        assert_eq!(attribute(&[6, 0, 1, 0, 7, 0, 0, 0, 5, 0, 3, 0, 9], 3), Some(vec![9]));
    }
}
