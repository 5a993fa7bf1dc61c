//! A BGP session without a speaker: bytes over TCP.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::message::{self, HEADER, KEEPALIVE, MOST, NOTIFICATION, OPEN};

/// The port of BGP.
const PORT: u16 = 179;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// Longest silence that is waited out.
const PATIENCE: Duration = Duration::from_secs(60);

/// An established session, ended when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    /// What was read and is not yet taken, from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Session {
    /// Connects from the calling thread's namespace and waits until the session is up.
    pub(crate) fn connect(peer: IpAddr, router_id: Ipv4Addr) -> io::Result<Self> {
        let stream = TcpStream::connect((peer, PORT))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut session = Self { stream, buffer: vec![0; PIECE + MOST], start: 0, end: 0 };
        session.send(&message::open(router_id))?;
        session.expect(OPEN)?;
        session.send(&message::message(KEEPALIVE, &[]))?;
        session.expect(KEEPALIVE)?;
        Ok(session)
    }

    /// Writes whole messages.
    pub(crate) fn send(&mut self, messages: &[u8]) -> io::Result<()> {
        self.stream.write_all(messages)
    }

    /// Lets a thread read what comes, and forget it, until the session ends: a peer that reads nothing holds the other up.
    pub(crate) fn drain(&self) -> io::Result<()> {
        let mut stream = self.stream.try_clone()?;
        stream.set_read_timeout(None)?;
        thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
        Ok(())
    }

    fn expect(&mut self, kind: u8) -> io::Result<()> {
        let came = self.next()?[HEADER - 1];
        if came == kind { Ok(()) } else { Err(io::Error::other(format!("a message of type {came}"))) }
    }

    /// The next message, header and all.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        loop {
            if let Some(length) = self.whole() {
                let message = &self.buffer[self.start..self.start + length];
                if message[HEADER - 1] == NOTIFICATION {
                    return Err(io::Error::other(format!("NOTIFICATION {:?}", &message[HEADER..])));
                }
                self.start += length;
                return Ok(message);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            match self.stream.read(&mut self.buffer[self.end..])? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer ended the session")),
                read => self.end += read,
            }
        }
    }

    /// The length of the first message, if all of it is there.
    fn whole(&self) -> Option<usize> {
        let bytes = &self.buffer[self.start..self.end];
        let length = usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]));
        (length >= HEADER && bytes.len() >= length).then_some(length)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who drains it ends too. An error: it has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
