//! Many routes at once: one system call and one answer for some hundred of them.

use std::io;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::{NetlinkError, PROTOCOL, RECEIVE_BUFFER, to};

/// How many are sent together: some tens of kilobytes.
const TOGETHER: usize = 512;

/// Metric of these routes: nobody else's, so that no route of anybody else is replaced or deleted.
const METRIC: u32 = PROTOCOL as u32;

/// What is to become of a route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteChange {
    pub(crate) prefix: IpNet,
    /// Index of the netdev that it leads to; `None`: it is deleted, if it is there.
    pub(crate) link: Option<u32>,
}

/// Writes routes that lead to a netdev.
pub(crate) struct RouteWriter {
    socket: TokioSocket,
    sequence: u32,
}

impl RouteWriter {
    /// Connects to the kernel of the calling thread's network namespace.
    pub(crate) fn connect() -> Result<Self, NetlinkError> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        // Room for a refusal of each. It takes the privilege that routes take.
        set_socket_recv_buffer_size_force(socket.socket_ref(), RECEIVE_BUFFER).map_err(io::Error::from)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Carries the changes out in this order. The first refusal is the error; what follows it is tried all the same.
    pub(crate) async fn write(&mut self, changes: &[RouteChange]) -> Result<(), NetlinkError> {
        let mut outcome = Ok(());
        for changes in changes.chunks(TOGETHER) {
            let mut request = Vec::new();
            for (n, change) in changes.iter().enumerate() {
                self.sequence = self.sequence.wrapping_add(1);
                let mut message = change.message();
                message.header.sequence_number = self.sequence;
                if n + 1 == changes.len() {
                    // All before it are done when it is.
                    message.header.flags |= NLM_F_ACK;
                }
                message.finalize();
                let start = request.len();
                // Messages are aligned to 4 bytes, and so are all attributes (netlink(7)).
                request.resize(start + message.buffer_len(), 0);
                message.serialize(&mut request[start..]);
            }
            let kernel = SocketAddr::new(0, 0);
            self.socket.send_to(&request, &kernel).await?;
            outcome = outcome.and(self.answers().await);
        }
        outcome
    }

    /// Reads up to the answer to the last message: the first refusal.
    async fn answers(&mut self) -> Result<(), NetlinkError> {
        let mut outcome = Ok(());
        loop {
            let (datagram, _) = self.socket.recv_from_full().await?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if let NetlinkPayload::Error(error) = answer.payload {
                let source = error.to_io();
                // A route that is to go and is gone already.
                if error.code.is_some() && source.raw_os_error() != Some(Errno::SRCH.raw_os_error()) {
                    outcome = outcome
                        .and(Err(NetlinkError::Refused { what: "write the routes for the IGP", source }));
                }
                if answer.header.sequence_number == self.sequence {
                    return outcome;
                }
            }
        }
    }
}

impl RouteChange {
    fn message(self) -> NetlinkMessage<RouteNetlinkMessage> {
        let mut route = to(self.prefix);
        route.header.kind = RouteType::Unicast;
        route.header.scope = match self.prefix {
            IpNet::V4(_) => RouteScope::Link,
            IpNet::V6(_) => RouteScope::Universe,
        };
        route.attributes.push(RouteAttribute::Priority(METRIC));
        route.attributes.extend(self.link.map(RouteAttribute::Oif));
        let (message, flags) = match self.link {
            Some(_) => (RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE),
            None => (RouteNetlinkMessage::DelRoute(route), 0),
        };
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message
    }
}

/// Whether a route is one of these.
pub(super) fn is_bulk(route: &RouteMessage) -> bool {
    u8::from(route.header.protocol) == PROTOCOL && route.header.kind == RouteType::Unicast
}
