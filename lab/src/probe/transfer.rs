//! A TCP transfer that must arrive whole, and what its sender learned of the path.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How long nothing may come, so that a path that swallows large packets is found out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes written and read at a time.
const CHUNK: usize = 1 << 16;

/// Sends `bytes` over TCP from one namespace to `address` in another, and checks each of them there.
///
/// # Errors
/// [`Error::Io`] if they cannot connect, or nothing came for 10 s, or something else did.
pub fn transfer(from: &Namespace, to: &Namespace, address: IpAddr, bytes: usize) -> Result<()> {
    let transfer = || {
        let (sender, receiver) = connect(from, to, address)?;
        thread::scope(|scope| {
            let sending = scope.spawn(|| send(sender, bytes));
            let received = receive(receiver, bytes);
            let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            received.and(sent)
        })
    };
    let what = format!("send {bytes} bytes from {} to {address} in {}", from.name(), to.name());
    transfer().map_err(Error::io(what))
}

/// A path MTU that the kernel of `namespace` has learned from ICMP toward `destination`, in bytes.
///
/// # Errors
/// [`Error::Command`] if there is no route.
pub fn learned_path_mtu(namespace: &Namespace, destination: IpAddr) -> Result<Option<u32>> {
    Ok(parse_path_mtu(&namespace.ip_json(&["route", "get", &destination.to_string()])?))
}

fn connect(from: &Namespace, to: &Namespace, address: IpAddr) -> io::Result<(TcpStream, TcpStream)> {
    let listener = to.enter(|| TcpListener::bind((address, 0))).map_err(io::Error::other)??;
    let target = listener.local_addr()?;
    let sender = from.enter(|| TcpStream::connect_timeout(&target, PATIENCE)).map_err(io::Error::other)??;
    let (receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    Ok((sender, receiver))
}

fn send(mut stream: TcpStream, bytes: usize) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes {
        let chunk: Vec<u8> = (sent..bytes.min(sent + CHUNK)).map(pattern).collect();
        stream.write_all(&chunk)?;
        sent += chunk.len();
    }
    Ok(())
}

fn receive(mut stream: TcpStream, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        if buffer[..length].iter().zip(received..).any(|(byte, position)| *byte != pattern(position)) {
            return Err(io::Error::other("other bytes arrived than were sent"));
        }
        received += length;
    }
    if received == bytes { Ok(()) } else { Err(io::Error::other(format!("only {received} bytes arrived"))) }
}

/// The byte at a position: no run of it looks like another nearby.
fn pattern(position: usize) -> u8 {
    ((position as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// Reads `ip route get`. What is learned expires; a configured MTU does not.
fn parse_path_mtu(routes: &Value) -> Option<u32> {
    let route = routes.as_array()?.iter().find(|route| route.get("expires").is_some())?;
    let mut metrics = route["metrics"].as_array()?.iter();
    metrics.find_map(|metric| metric["mtu"].as_u64())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_mtu_is_what_expires() {
        let learned = json!([{ "dst": "198.18.2.10", "expires": 597, "metrics": [{ "mtu": 1400 }] }]);
        assert_eq!(parse_path_mtu(&learned), Some(1400));
        let configured = json!([{ "dst": "198.18.2.10", "metrics": [{ "mtu": 1400 }] }]);
        assert_eq!(parse_path_mtu(&configured), None);
        // A redirect expires too.
        assert_eq!(parse_path_mtu(&json!([{ "dst": "198.18.2.10", "expires": 597 }])), None);
    }
}
