//! What the kernel counts of each netdev: the table `/proc/net/dev` (proc(5)).

use std::fs::File;
use std::io::{self, Read, Seek};

/// Columns of receiving; as many of sending follow, in the same order as far as they are read here.
const COLUMNS: usize = 8;
/// Where in each half packets are.
const PACKETS: usize = 1;
/// Where in each half drops are.
const DROPS: usize = 3;

/// The netdevs of a network namespace and their counters, read again and again.
#[derive(Debug)]
pub struct CounterTable(File);

/// Counters of a netdev, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Frames dropped instead of receiving them: dropped or missed, those included that no protocol of the kernel took.
    pub receive_drops: u64,
    /// Frames dropped instead of sending them; of a veth, also those that its far end had no room for.
    pub transmit_drops: u64,
}

impl CounterTable {
    /// That of the calling thread's network namespace. It stays that one's wherever it is read.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open() -> io::Result<Self> {
        // Of the calling thread: `/proc/net` would be that of the process's first thread.
        File::open("/proc/thread-self/net/dev").map(Self)
    }

    /// The counters of a netdev as they are now.
    ///
    /// # Errors
    /// `NotFound` if there is none of this name.
    pub fn read(&self, interface: &str) -> io::Result<Counters> {
        let text = self.text()?;
        let (_, values) = lines(&text).find(|(name, _)| *name == interface).ok_or(io::ErrorKind::NotFound)?;
        parse(values).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The names of the netdevs, loopback among them.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn names(&self) -> io::Result<Vec<String>> {
        Ok(lines(&self.text()?).map(|(name, _)| name.to_owned()).collect())
    }

    fn text(&self) -> io::Result<String> {
        let (mut file, mut text) = (&self.0, String::new());
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Names and values, behind two lines of headings.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().skip(2).filter_map(|line| line.trim_start().split_once(':'))
}

fn parse(values: &str) -> Option<Counters> {
    let column = |at| values.split_ascii_whitespace().nth(at)?.parse().ok();
    Some(Counters {
        received: column(PACKETS)?,
        receive_drops: column(DROPS)?,
        transmit_drops: column(COLUMNS + DROPS)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_kernels_table() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
  eth10:      1       2    3    4    5     6          7         8        9      10   11   12   13    14      15         16
   eth1: 123456789012 22   33   44   55    66         77        88       99     101  111  121  131   141     151        161
";
        let counters = |received, receive_drops, transmit_drops| {
            Some(Counters { received, receive_drops, transmit_drops })
        };
        let all: Vec<_> = lines(text).map(|(name, values)| (name, parse(values))).collect();
        assert_eq!(all, [("eth10", counters(2, 4, 12)), ("eth1", counters(22, 44, 121))]);
        assert_eq!(parse("1 2 3 4 5 6 7 8 9 10 11"), None);
    }

    #[test]
    fn of_a_netdev_that_there_is() {
        let table = CounterTable::open().unwrap();
        assert!(table.names().unwrap().contains(&"lo".to_owned()));
        let received = || table.read("lo").unwrap().received;
        let (before, socket) = (received(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.send_to(b"one", socket.local_addr().unwrap()).unwrap();
        assert!(received() > before, "it is read anew");
        assert_eq!(table.read("no-such-port").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(table.read("l").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
