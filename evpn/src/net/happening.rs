//! What the tasks of connections and the listening sockets tell the task that owns the speaker.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::{Key, Told};

/// Pieces of streams that wait to be taken in.
const PIECES: usize = 8;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Happening {
    Connected(Key, io::Result<TcpStream>),
    /// What was given to write is written.
    Written(Key),
    /// Somebody has connected, or nobody can.
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Data(Key, Vec<u8>),
    /// After all of its data.
    Closed(Key),
}

/// Channels for what happens.
#[derive(Debug)]
pub(super) struct Happenings {
    /// What peers say, and the end of it: taken when there is room for what follows.
    said: (mpsc::Sender<Happening>, mpsc::Receiver<Happening>),
    /// What has been done, taken at any time: who waits for room has to be told that we are alive.
    done: (mpsc::Sender<Happening>, mpsc::Receiver<Happening>),
}

impl Happenings {
    pub(super) fn new() -> Self {
        Self { said: mpsc::channel(PIECES), done: mpsc::channel(PIECES) }
    }

    /// For [`Happening::Data`] and [`Happening::Closed`].
    pub(super) fn said(&self) -> mpsc::Sender<Happening> {
        self.said.0.clone()
    }

    /// For [`Happening::Connected`] and [`Happening::Written`].
    pub(super) fn done(&self) -> mpsc::Sender<Happening> {
        self.done.0.clone()
    }

    /// Nothing is taken any longer.
    pub(super) fn close(&mut self) {
        self.said.1.close();
        self.done.1.close();
    }

    /// What happens next: each kind has its turn. `None`: there is room again in `told`, or it is time to go on with work,
    /// the others having had their chance.
    pub(super) async fn next(
        &mut self,
        hears: bool,
        listeners: &[TcpListener],
        told: Option<&mpsc::Sender<Told>>,
        works: bool,
    ) -> Option<Happening> {
        let room = async {
            match told {
                // An error: nobody listens, so nothing has to wait.
                Some(told) => drop(told.reserve().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happening = self.done.1.recv() => happening,
            happening = self.said.1.recv(), if hears => happening,
            accepted = accept(listeners) => Some(Happening::Accepted(accepted)),
            () = room => None,
            () = yield_now(), if works => None,
        }
    }
}

/// The next connection on any of the sockets.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}
