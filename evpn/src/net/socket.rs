//! Sockets with what the configuration asks for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt;
use sys::tcp;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::config::PeerConfig;
use crate::speaker::Speaker;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// BGP's TCP port.
const PORT: u16 = 179;

/// TTL of what is sent to peers that check it (RFC 5082 §3).
const FULL_TTL: u8 = 255;

/// Opens a listening socket, of one IP version, for all peers of that version.
pub(super) fn listen(address: SocketAddr, speaker: &Speaker) -> io::Result<TcpListener> {
    let socket = socket(address.ip())?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // The answer to a peer's SYN must pass its check; whose it is is known only later.
    set_ttl(&socket, address.ip(), FULL_TTL)?;
    for peer in speaker.peers().filter(|peer| peer.address.is_ipv4() == address.is_ipv4()) {
        if let Some(password) = &speaker.config(peer.id).transport.password {
            tcp::set_md5_key(&socket, peer.address, password.as_bytes())?;
        }
    }
    tcp::save_syn(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Turns away a connection whose first segment came over more hops than the peer may be away. What the peer sent before
/// [`prepare`] was not checked by the kernel: the first segment answers for it (RFC 5082 §3).
pub(super) fn check_distance(stream: &TcpStream, peer: &PeerConfig) -> io::Result<()> {
    let Some(hops) = peer.transport.ttl_security else { return Ok(()) };
    let (ttl, least) = (tcp::saved_syn_ttl(stream)?, min_ttl(hops));
    match ttl {
        Some(ttl) if ttl >= least => Ok(()),
        Some(ttl) => Err(io::Error::other(format!(
            "it connects with TTL {ttl}, and ttl-security = {hops} asks for {least} or more: the peer is further away, \
             or does not send with TTL 255"
        ))),
        None => Err(io::Error::other(
            "the kernel has not kept the TTL with which it connects, as in a flood of connections",
        )),
    }
}

/// Connects to a peer.
pub(super) async fn connect(peer: &PeerConfig, internal: bool) -> io::Result<TcpStream> {
    let (address, transport) = (peer.address, &peer.transport);
    let socket = socket(address)?;
    if let Some(password) = &transport.password {
        tcp::set_md5_key(&socket, address, password.as_bytes())?;
    }
    restrict(&socket, peer, internal)?;
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    socket.bind(SocketAddr::new(transport.local.unwrap_or(any), 0))?;
    socket.connect(SocketAddr::new(address, transport.port.unwrap_or(PORT))).await
}

/// A connection that is open: routes are sent at once, and hops are counted.
pub(super) fn prepare(stream: &TcpStream, peer: &PeerConfig, internal: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    restrict(stream, peer, internal)
}

/// What TTL is sent, and which is taken.
fn restrict(socket: &impl std::os::fd::AsFd, peer: &PeerConfig, internal: bool) -> io::Result<()> {
    let (address, transport) = (peer.address, &peer.transport);
    match (transport.ttl_security, transport.ttl) {
        (Some(hops), _) => {
            tcp::set_min_ttl(socket, address, min_ttl(hops))?;
            set_ttl(socket, address, FULL_TTL)
        }
        (None, Some(ttl)) => set_ttl(socket, address, ttl),
        // RFC 4271 leaves it open; all implementations keep an external peer on the link.
        (None, None) if !internal => set_ttl(socket, address, 1),
        (None, None) => Ok(()),
    }
}

fn min_ttl(hops: u8) -> u8 {
    FULL_TTL - hops + 1
}

fn set_ttl(socket: &impl std::os::fd::AsFd, address: IpAddr, ttl: u8) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => sockopt::set_ip_ttl(socket, ttl.into())?,
        IpAddr::V6(_) => sockopt::set_ipv6_unicast_hops(socket, Some(ttl))?,
    }
    Ok(())
}

fn socket(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}
