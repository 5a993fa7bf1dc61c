//! Who waits behind the reflector: counts routes, and does as little else as can be.

use std::net::{IpAddr, Ipv4Addr};

use super::routes::{self, OVERLAYS};
use crate::Error;
use crate::bgp::message::{HEADER, UPDATE};
use crate::bgp::session::Session;

/// A receiver of routes.
#[derive(Debug)]
pub(crate) struct Receiver {
    session: Session,
    /// For each overlay, which of its routes are there.
    present: Vec<u8>,
    routes: usize,
    /// UPDATEs that came, and their bytes.
    pub(crate) updates: usize,
    pub(crate) bytes: usize,
}

impl Receiver {
    pub(crate) fn connect(reflector: IpAddr, router_id: Ipv4Addr) -> Result<Self, Error> {
        let session = Session::connect(reflector, router_id)?;
        Ok(Self { session, present: vec![0; OVERLAYS as usize], routes: 0, updates: 0, bytes: 0 })
    }

    /// Reads until so many different routes are there; announced again, a route counts once.
    pub(crate) fn read_until(&mut self, routes: usize) -> Result<(), Error> {
        (self.updates, self.bytes) = (0, 0);
        while self.routes != routes {
            let message =
                self.session.next().map_err(|error| format!("{} routes there: {error}", self.routes))?;
            if message[HEADER - 1] != UPDATE {
                continue;
            }
            self.updates += 1;
            self.bytes += message.len();
            let counted = count(message, &mut self.present, &mut self.routes);
            counted.ok_or_else(|| format!("an UPDATE that cannot be read: {message:02x?}"))?;
        }
        Ok(())
    }
}

/// Takes an UPDATE in.
fn count(message: &[u8], present: &mut [u8], routes: &mut usize) -> Option<()> {
    let withdrawn = usize::from(u16::from_be_bytes(*message.get(HEADER..)?.first_chunk()?));
    // The length of the attributes is not needed: no IPv4 prefixes follow them.
    let mut attributes = message.get(HEADER + 2 + withdrawn + 2..)?;
    while let [flags, kind, rest @ ..] = attributes {
        let (length, rest) = match (flags & 0x10 == 0, rest) {
            (true, [length, rest @ ..]) => (usize::from(*length), rest),
            (false, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        attributes = rest;
        let (mut nlri, announced) = match kind {
            // AFI, SAFI, next hop and its length, reserved.
            14 => (value.get(3 + 1 + usize::from(*value.get(3)?) + 1..)?, true),
            15 => (value.get(3..)?, false),
            _ => continue,
        };
        while let [_, length, ..] = nlri {
            let (route, rest) = nlri.split_at_checked(2 + usize::from(*length))?;
            nlri = rest;
            let (overlay, number) = routes::recognise(route)?;
            let bit = 1 << number;
            let was = present[overlay] & bit != 0;
            match (was, announced) {
                (false, true) => *routes += 1,
                (true, false) => *routes -= 1,
                _ => continue,
            }
            present[overlay] ^= bit;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::reflector::routes::{ROUTES, announcements, withdrawals};

    #[test]
    fn what_was_made_beforehand_is_each_route_once() {
        let (mut present, mut there) = (vec![0; OVERLAYS as usize], 0);
        for (bytes, expected) in
            [announcements, withdrawals].map(|make| make(Ipv4Addr::LOCALHOST)).iter().zip([ROUTES, 0])
        {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
                let (message, after) = rest.split_at(length);
                count(message, &mut present, &mut there).expect("an UPDATE");
                rest = after;
            }
            assert_eq!(there, expected);
        }
    }
}
