//! What a netdev dropped by its own counters: losses of the instrument, which no socket tells of.

use std::fs::File;
use std::io::{self, Read, Seek};

/// Where the `drop` of receiving is, behind the name; that of sending is eight columns on.
const RECEIVED: usize = 3;
/// Columns of each way.
const COLUMNS: usize = 8;

/// The counters of one netdev, from now on.
#[derive(Debug)]
pub(crate) struct DropCounters {
    table: File,
    interface: String,
    before: Drops,
}

/// Frames that a netdev dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// Instead of receiving them: dropped or missed, those included that no protocol of the kernel took.
    pub(crate) received: u64,
    /// Instead of sending them; of a veth, also those that its far end had no room for.
    pub(crate) sent: u64,
}

impl DropCounters {
    /// Of a netdev of the calling thread's network namespace. Can be read from any other.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // Of the calling thread: the file stays that of the namespace it was opened in.
        let table = File::open("/proc/thread-self/net/dev")?;
        let mut counters = Self { table, interface: interface.to_owned(), before: Drops::default() };
        counters.before = counters.read()?;
        Ok(counters)
    }

    /// What was dropped since; `None` if the netdev is gone.
    pub(crate) fn since(&self) -> Option<Drops> {
        let now = self.read().ok()?;
        Some(Drops {
            received: now.received.saturating_sub(self.before.received),
            sent: now.sent.saturating_sub(self.before.sent),
        })
    }

    fn read(&self) -> io::Result<Drops> {
        let mut text = String::new();
        let mut table = &self.table;
        table.rewind()?;
        table.read_to_string(&mut text)?;
        parse(&text, &self.interface).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// From the text of `/proc/net/dev`.
fn parse(text: &str, interface: &str) -> Option<Drops> {
    let values =
        text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let column = |at| values.split_ascii_whitespace().nth(at)?.parse().ok();
    Some(Drops { received: column(RECEIVED)?, sent: column(RECEIVED + COLUMNS)? })
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
        assert_eq!(parse(text, "eth1"), Some(Drops { received: 44, sent: 121 }));
        assert_eq!(parse(text, "eth10"), Some(Drops { received: 4, sent: 12 }));
        assert_eq!(parse(text, "eth"), None);
    }

    #[test]
    fn of_a_netdev_that_there_is() {
        assert!(DropCounters::open("lo").unwrap().since().is_some());
        assert!(DropCounters::open("no-such-port").is_err());
    }
}
