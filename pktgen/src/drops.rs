//! What a netdev dropped by its own counters: losses of the instrument, which no socket tells of.

use std::io;

use sys::netdev::CounterTable;

/// The counters of one netdev, from now on.
#[derive(Debug)]
pub(crate) struct DropCounters {
    table: CounterTable,
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
        let table = CounterTable::open()?;
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
        let counters = self.table.read(&self.interface)?;
        Ok(Drops { received: counters.receive_drops, sent: counters.transmit_drops })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_netdev_that_there_is() {
        assert!(DropCounters::open("lo").unwrap().since().is_some());
        assert!(DropCounters::open("no-such-port").is_err());
    }
}
