//! The slow path without workers: what is announced on its way into the tables.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use port::Waker;

use crate::api::{AnnouncedStatistics, Announcement, Config, Update};
use crate::slowpath::{Command, SlowPath, Tally, WorkerLink};
use crate::tables::Writer;

/// The tables of a gateway that nobody reads, and the thread that writes them: the caller's.
pub struct Intake {
    commands: Sender<Command>,
    slow_path: SlowPath,
}

impl Intake {
    /// Tables as the configuration says.
    ///
    /// # Panics
    /// If there is no memory or descriptor, or the stations do not fit the flow table.
    pub fn new(config: Config) -> Self {
        let (writer, _) = Writer::new(config, 1).expect("tables for the configuration");
        let (commands, queue) = crossbeam_channel::unbounded();
        let tally = Arc::new(Tally::new());
        // Nobody is there to send what it would say.
        let (worker, _, _) = WorkerLink::new(Waker::new().expect("an event descriptor"));
        let slow_path = SlowPath::new(writer, queue, vec![worker], Box::new(|_| ()), Arc::default(), tally);
        Self { commands, slow_path }
    }

    /// Takes announcements in, as the thread does: workers would see them now.
    pub fn announce(&mut self, announcements: Vec<Announcement>) {
        // Its other end is here.
        let _ = self.commands.send(Command::Update(Update::Announced(announcements)));
        while self.slow_path.obey() {}
        self.slow_path.maintain(Instant::now());
    }

    /// How much has been taken in.
    pub fn statistics(&self) -> AnnouncedStatistics {
        self.slow_path.announced_statistics()
    }

    /// Bytes of the tables.
    pub fn memory_bytes(&self) -> usize {
        self.slow_path.memory_bytes()
    }
}
