//! The kernel's side of the mirror: rtnetlink messages from and to plain values.

mod bulk;
mod way;

use std::io;
use std::net::IpAddr;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use thiserror::Error;
use wire::MacAddr;

use super::kernel::{
    Address, Hop, KernelRoute, Link, Neighbour, NeighbourKey, Notice, Reachability, RouteKind, Tables,
};

use bulk::is_bulk;
pub(crate) use bulk::{RouteChange, RouteWriter};

/// Marks what this program put into the kernel: `RTA_PROTOCOL` of its routes, `NDA_PROTOCOL` of its neighbours.
/// No routing daemon has this number in iproute2's `rt_protos`.
pub(crate) const PROTOCOL: u8 = 118;

/// Metric of a block's blackhole route: the best that there is (IPv6 takes 0 for 1 024). No other route to the same
/// prefix wins, and the kernel refuses to add one of the same metric unless it is told to replace ours.
pub(crate) fn blackhole_metric(block: IpNet) -> u32 {
    match block {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

/// Room for notices while a dump is read, in bytes; what exceeds it is lost and leads to a resync.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A failed conversation with the kernel.
#[derive(Debug, Error)]
pub(crate) enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel said no.
    #[error("the kernel refused to {what}: {source}")]
    Refused { what: &'static str, source: io::Error },
    /// Anything else that the library reports.
    #[error("netlink failed to {what}: {source}")]
    Protocol { what: &'static str, source: rtnetlink::Error },
}

impl NetlinkError {
    fn new(what: &'static str, error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => {
                Self::Refused { what, source: io::Error::from_raw_os_error(-message.raw_code()) }
            }
            source => Self::Protocol { what, source },
        }
    }

    /// Whether the kernel has no room for another neighbour (`gc_thresh3`, see arp(7)).
    pub(crate) fn is_table_full(&self) -> bool {
        let full = Errno::NOBUFS.raw_os_error();
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(full))
    }

    /// Whether the kernel's answer was this error number.
    pub(crate) fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == kind)
    }
}

/// A connection to the kernel of the current network namespace.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Connects without notices.
    pub(crate) fn connect() -> Result<Self, NetlinkError> {
        Ok(Self::subscribe(&[])?.0)
    }

    /// Connects, subscribed to all that [`Notice`] tells. What changes from here on is told, so that a dump read
    /// afterwards misses nothing.
    pub(crate) fn connect_for_notices()
    -> Result<(Self, impl Stream<Item = Notice> + Unpin + use<>), NetlinkError> {
        let (netlink, notices) = Self::subscribe(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        Ok((netlink, stream::select(notices, next_hop_notices()?)))
    }

    fn subscribe(
        groups: &[MulticastGroup],
    ) -> Result<(Self, impl Stream<Item = Notice> + Unpin + use<>), NetlinkError> {
        let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(groups)?;
        let socket = connection.socket_mut().socket_mut();
        // Without the privilege, net.core.rmem_max bounds it; a start is refused later, `check` may go on.
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER).map_err(io::Error::from)?;
        }
        // Lets a dump be filtered by table.
        socket.set_netlink_get_strict_chk(true)?;
        tokio::spawn(connection);
        let notices = messages.filter_map(|(message, _)| std::future::ready(notice(message)));
        Ok((Self { handle }, notices))
    }

    /// Reads links, addresses and the main table.
    pub(crate) async fn tables(&self) -> Result<Tables, NetlinkError> {
        let failed = |what| move |error| NetlinkError::new(what, error);
        // One after the other: a socket dumps one thing at a time (EBUSY).
        let links = self.handle.link().get().execute();
        let links = links.try_filter_map(|message| std::future::ready(Ok(link(&message))));
        let links = links.try_collect().await.map_err(failed("list links"))?;
        let addresses = self.handle.address().get().execute();
        let addresses = addresses.try_filter_map(|message| std::future::ready(Ok(address(&message))));
        let addresses = addresses.try_collect().await.map_err(failed("list addresses"))?;
        let mut routes = self.routes(AddressFamily::Inet).await?;
        routes.append(&mut self.routes(AddressFamily::Inet6).await?);
        Ok(Tables { links, addresses, routes })
    }

    async fn routes(&self, family: AddressFamily) -> Result<Vec<KernelRoute>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let routes = self.handle.route().get(request).execute();
        let routes = routes.try_filter_map(|message| std::future::ready(Ok(route(&message))));
        match routes.try_collect().await.map_err(|error| NetlinkError::new("list routes", error)) {
            // The main table comes into being with its first route.
            Err(error) if error.is(io::ErrorKind::NotFound) => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// Reads all neighbours, IPv4 and IPv6.
    pub(crate) async fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let neighbours = self.handle.neighbours().get().execute();
        neighbours
            .try_filter_map(|message| std::future::ready(Ok(neighbour(&message))))
            .try_collect()
            .await
            .map_err(|error| NetlinkError::new("list neighbours", error))
    }

    /// Installs a blackhole route. One that is there already, from whomever, is an error.
    pub(crate) async fn add_blackhole(&self, prefix: IpNet) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(blackhole(prefix));
        request.execute().await.map_err(|error| NetlinkError::new("add a blackhole route", error))
    }

    /// Removes a route that [`Self::add_blackhole`] installed.
    pub(crate) async fn delete_blackhole(&self, prefix: IpNet) -> Result<(), NetlinkError> {
        let request = self.handle.route().del(blackhole(prefix));
        request.execute().await.map_err(|error| NetlinkError::new("delete a blackhole route", error))
    }

    /// Keeps the kernel from giving a netdev that is down a link-local address once it is up.
    pub(crate) async fn set_no_link_local(&self, link: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        match self.handle.link().set(message).execute().await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = NetlinkError::new("keep a netdev without addresses", error);
                // A kernel without IPv6.
                let unknown = Errno::AFNOSUPPORT.raw_os_error();
                match &error {
                    NetlinkError::Refused { source, .. } if source.raw_os_error() == Some(unknown) => Ok(()),
                    _ => Err(error),
                }
            }
        }
    }

    /// Makes the kernel resolve a neighbour and keep it fresh though it sends nothing to it itself
    /// (`NTF_EXT_MANAGED`), starting now.
    pub(crate) async fn install_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        let mut request =
            self.handle.neighbours().add(key.link, key.address).state(NeighbourState::None).replace();
        request.message_mut().attributes.extend([
            NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
            NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
        ]);
        request.execute().await.map_err(|error| NetlinkError::new("install a neighbour", error))
    }

    /// Removes a neighbour.
    pub(crate) async fn delete_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        // `add` fills in just what identifies a neighbour, which `del` wants as a message.
        let message = self.handle.neighbours().add(key.link, key.address).message_mut().clone();
        let request = self.handle.neighbours().del(message);
        request.execute().await.map_err(|error| NetlinkError::new("delete a neighbour", error))
    }
}

/// One for each change of a next-hop object: of a member that leaves its group the kernel does not tell by the routes that
/// have it. On a socket of their own, since the library cannot read them; nor need they be read.
fn next_hop_notices() -> io::Result<impl Stream<Item = Notice> + Unpin + use<>> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(MulticastGroup::Nexthop as u32)?;
    let next = async |socket: TokioSocket| {
        let lost = Errno::NOBUFS.raw_os_error();
        match socket.recv_from_full().await {
            Err(error) if error.raw_os_error() != Some(lost) => None,
            _ => Some((Notice::Tables, socket)),
        }
    };
    Ok(Box::pin(stream::unfold(socket, next)))
}

fn blackhole(prefix: IpNet) -> RouteMessage {
    let mut message = to(prefix);
    message.header.kind = RouteType::BlackHole;
    message.header.scope = RouteScope::Universe;
    message.attributes.push(RouteAttribute::Priority(blackhole_metric(prefix)));
    message
}

/// A route to a prefix, marked as ours.
fn to(prefix: IpNet) -> RouteMessage {
    let mut message = match prefix {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
    };
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message
}

fn notice(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Notice> {
    match message.payload {
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewNeighbour(message) => neighbour(&message).map(Notice::Neighbour),
            RouteNetlinkMessage::DelNeighbour(message) => neighbour_key(&message).map(Notice::NeighbourGone),
            RouteNetlinkMessage::NewLink(message) => {
                Some(link(&message).map_or(Notice::Tables, Notice::Link))
            }
            // Of our own there may be very many, and nothing follows from them.
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
                if is_bulk(&route) =>
            {
                None
            }
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::DelLink(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_) => Some(Notice::Tables),
            _ => None,
        },
        NetlinkPayload::Overrun(_) => Some(Notice::Overrun),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

fn link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mac: None,
        mtu: 0,
        rx_queues: 1,
        xdp_program: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if ethernet => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::NumRxQueues(queues) => link.rx_queues = *queues,
            LinkAttribute::Xdp(xdp) => {
                // One program has `ProgId`; with one in the driver and one in the generic hook each has its own.
                link.xdp_program = xdp.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id)
                    | LinkXdp::DrvProgId(id)
                    | LinkXdp::SkbProgId(id)
                    | LinkXdp::HwProgId(id)
                        if *id != 0 =>
                    {
                        Some(*id)
                    }
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut plain, mut passing, mut temporary) = (None, None, false, false);
    let mut tentative = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => plain = Some(*address),
            AddressAttribute::Flags(flags) => {
                passing = flags.intersects(AddressFlags::Deprecated | AddressFlags::Dadfailed);
                temporary = flags.contains(AddressFlags::Secondary);
                tentative =
                    flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
            }
            _ => {}
        }
    }
    // On a point-to-point link `Address` is the other side's (rtnetlink(7)).
    let address = local.or(plain)?;
    // The flag is IPv6's for temporary addresses (RFC 8981), and IPv4's for further addresses of a subnet.
    let passing = passing || (address.is_ipv6() && temporary);
    let global = message.header.scope == AddressScope::Universe && !passing;
    Some(Address { link: message.header.index, address, global, tentative })
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => route_address(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

/// `None`: nothing that packets are forwarded by (as those for an IGP), or of another table, or for some packets alone (by type
/// of service or source).
fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN
        || is_bulk(message)
        || header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut output, mut multipath, mut tunnel) = (0, None, None, false);
    let mut by_object = false;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = route_address(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => output = Some(*index),
            RouteAttribute::MultiPath(hops) => multipath = Some(hops),
            RouteAttribute::EncapType(_) => tunnel = true,
            RouteAttribute::NhId(_) => by_object = true,
            _ => {}
        }
    }
    let unusable = (RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown).bits();
    let kind = match header.kind {
        RouteType::Unicast if tunnel => RouteKind::Other,
        // Without `net.ipv4.nexthop_compat_mode` the kernel tells the object alone: it forwards, but nobody knows where to.
        RouteType::Unicast if by_object && multipath.is_none() && output.is_none() => RouteKind::Other,
        RouteType::Unicast => RouteKind::Unicast(match (multipath, output) {
            (Some(hops), _) => hops
                .iter()
                .map(|hop| Hop {
                    link: hop.interface_index,
                    gateway: gateway(&hop.attributes),
                    usable: hop.flags.bits() & unusable == 0,
                    // Weights begin at 1, and are sent from 0 (rtnetlink.h).
                    weight: u16::from(hop.hops) + 1,
                })
                .collect(),
            (None, Some(link)) => vec![Hop {
                link,
                gateway: gateway(&message.attributes),
                // A route's flags hold those of its one hop in the same bits (rtnetlink.h).
                usable: header.flags.bits() & u32::from(unusable) == 0,
                weight: 1,
            }],
            (None, None) => Vec::new(),
        }),
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => RouteKind::Other,
        _ => return None,
    };
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(KernelRoute { prefix, metric, protocol: header.protocol.into(), kind })
}

fn neighbour_key(message: &NeighbourMessage) -> Option<NeighbourKey> {
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    Some(NeighbourKey { link: message.header.ifindex, address })
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let key = neighbour_key(message)?;
    let (mut address, mut managed, mut marked) = (None, false, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => address = mac(bytes),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(protocol) => marked = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    let state = match (&message.header.state, address) {
        (NeighbourState::Failed, _) => Reachability::Failed,
        (NeighbourState::Incomplete | NeighbourState::None, _) | (_, None) => Reachability::Unresolved,
        (_, Some(address)) => Reachability::Known(address),
    };
    let fixed = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    Some(Neighbour { key, state, fixed, ours: managed && marked })
}
