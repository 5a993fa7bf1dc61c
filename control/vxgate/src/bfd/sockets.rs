//! The sockets of BFD: one a port and IP version to receive, one a session to send.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use bfd::{Arrival, MULTI_HOP_PORT, SINGLE_HOP_PORT, SOURCE_PORTS};
use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass, set_ipv6_unicast_hops};
use sys::datagram::{Receiver, bind_to_interface};

use super::{Wanted, Way};

/// More than a receive buffer of 1 MiB holds: what waited when the clock was read is among so many.
const AT_ONCE: usize = 4096;

/// Longest datagram that is looked at; the longest packet has 52 bytes.
const LONGEST: usize = 512;

/// Class selector 6, network control (RFC 2474, RFC 4594).
const CS6: u8 = 0xc0;

/// A port that is listened to.
#[derive(Debug)]
pub(super) struct Port {
    receiver: Receiver,
    multihop: bool,
    /// Datagrams that were none.
    pub(super) broken: u64,
}

impl Port {
    /// Binds the port. Where another process has it, a routing daemon's bfdd say, both get what comes.
    pub(super) fn open(v6: bool, multihop: bool) -> io::Result<Self> {
        let port = if multihop { MULTI_HOP_PORT } else { SINGLE_HOP_PORT };
        let receiver = match Receiver::bind(v6, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Receiver::raw(v6, port),
            bound => bound,
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("UDP port {port}: {error}"));
        Ok(Self { receiver: receiver.map_err(named)?, multihop, broken: 0 })
    }

    pub(super) fn is(&self, v6: bool, multihop: bool) -> bool {
        (self.receiver.is_v6(), self.multihop) == (v6, multihop)
    }

    /// Its name in `vxgate show bfd`: port, IP version, and whether it is shared.
    pub(super) fn name(&self) -> String {
        let port = if self.multihop { MULTI_HOP_PORT } else { SINGLE_HOP_PORT };
        let version = if self.receiver.is_v6() { "IPv6" } else { "IPv4" };
        let how = if self.receiver.is_raw() { "shared with another process" } else { "bound" };
        format!("{port} {version} {how}")
    }

    /// Takes all that waits.
    pub(super) fn drain(&mut self, engine: &mut bfd::Engine, now: Instant) {
        let mut buffer = [0; LONGEST];
        for _ in 0..AT_ONCE {
            match self.receiver.receive(&mut buffer) {
                Ok(Some(datagram)) => {
                    let arrival = Arrival {
                        peer: datagram.source.ip(),
                        local: datagram.destination,
                        interface: datagram.interface,
                        ttl: datagram.ttl,
                        multihop: self.multihop,
                    };
                    engine.received(datagram.payload, &arrival, now);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.broken += 1,
                // Interrupted, or an error of the network that says nothing about a session.
                Err(_) => break,
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// The socket of one session.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    target: SocketAddr,
    /// Packets that the kernel did not take, and why it did not take the last of them.
    pub(super) refused: u64,
    pub(super) refusal: Option<String>,
}

impl Sender {
    /// Opens it, on a port of its own.
    pub(super) fn open(wanted: &Wanted) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("send from {}: {error}", wanted.local));
        let index = match wanted.way {
            Way::SingleHop { index, .. } => index,
            Way::MultiHop { .. } => 0,
        };
        let scoped = |address: IpAddr, port| match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(v6, port, 0, index))
            }
            _ => SocketAddr::new(address, port),
        };
        let socket = bind(|port| scoped(wanted.local, port)).map_err(named)?;
        socket.set_nonblocking(true)?;
        // TTL 255 over several hops too (RFC 5883 §5).
        if wanted.local.is_ipv4() {
            socket.set_ttl(255)?;
            set_ip_tos(&socket, CS6)?;
        } else {
            set_ipv6_unicast_hops(&socket, Some(255))?;
            set_ipv6_tclass(&socket, CS6.into())?;
        }
        let port = match &wanted.way {
            Way::SingleHop { interface, .. } => {
                bind_to_interface(&socket, interface).map_err(named)?;
                SINGLE_HOP_PORT
            }
            Way::MultiHop { .. } => MULTI_HOP_PORT,
        };
        let target = scoped(wanted.peer, port);
        Ok(Self { socket, target, refused: 0, refusal: None })
    }

    /// Sends; what the kernel does not take is lost, as on a bad link.
    pub(super) fn send(&mut self, payload: &[u8]) {
        if let Err(error) = self.socket.send_to(payload, self.target) {
            self.refused += 1;
            self.refusal = Some(error.to_string());
        }
    }
}

/// A socket on one of the ports from which packets are sent, the first free one from a random place on.
fn bind(address: impl Fn(u16) -> SocketAddr) -> io::Result<UdpSocket> {
    let first = SOURCE_PORTS.start();
    let count = SOURCE_PORTS.end() - first + 1;
    let start = fastrand::u16(0..count);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..count {
        match UdpSocket::bind(address(first + (start + step) % count)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            bound => return bound,
        }
    }
    Err(last)
}
