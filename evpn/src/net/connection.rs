//! The two tasks of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::happening::{Happening, Happenings};
use super::{Key, LAST_WORDS};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// The way to a connection's peer. Dropped, it cuts the connection.
#[derive(Debug)]
pub(super) struct Writer {
    /// One piece that is being written, and last words.
    pieces: mpsc::Sender<Vec<u8>>,
    /// Nothing is being written.
    is_ready: bool,
    input: Arc<Input>,
    tasks: JoinSet<()>,
}

/// What is known of what a peer says.
#[derive(Debug, Default)]
struct Input {
    /// Pieces that have been read and not taken in.
    unread: AtomicUsize,
    /// Nothing is to be taken in any longer.
    closed: AtomicBool,
}

/// Starts the tasks.
pub(super) fn spawn(key: Key, stream: TcpStream, happenings: &Happenings) -> Writer {
    let (read_half, write_half) = stream.into_split();
    let (pieces, pieced) = mpsc::channel(2);
    let input = Arc::new(Input::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(read(key, read_half, Arc::clone(&input), happenings.said()));
    tasks.spawn(write(key, write_half, pieced, happenings.done()));
    Writer { pieces, is_ready: true, input, tasks }
}

impl Writer {
    /// What was given is written.
    pub(super) fn ready(&mut self) {
        self.is_ready = true;
    }

    /// A piece has been taken in.
    pub(super) fn taken_in(&self) {
        self.input.unread.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the peer has said what has not been taken in.
    pub(super) fn has_unread(&self) -> bool {
        self.input.unread.load(Ordering::Relaxed) > 0
    }

    /// Lets `fill` give bytes, if they can be written now; whether there were any.
    pub(super) fn offer(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        if !self.is_ready {
            return false;
        }
        let mut buffer = Vec::new();
        fill(&mut buffer);
        if buffer.is_empty() {
            return false;
        }
        // There is room for one piece, and a task that has ended tells of it otherwise.
        self.is_ready = self.pieces.try_send(buffer).is_err();
        !self.is_ready
    }

    /// Last words, then the end, when that has been waited for.
    pub(super) fn close(self, last: Vec<u8>) -> impl Future<Output = ()> + Send + use<> {
        if !last.is_empty() {
            // There is always room for them.
            let _ = self.pieces.try_send(last);
        }
        self.finish()
    }

    /// Waits until all is written and the peer has closed its end: to close ours before, with something unread, would
    /// reset the connection, and take back what is still on its way. But not for ever: a peer may read nothing.
    pub(super) async fn finish(self) {
        let Self { pieces, input, mut tasks, .. } = self;
        input.closed.store(true, Ordering::Relaxed);
        // The task ends when it has written what it was given.
        drop(pieces);
        let _ = timeout(LAST_WORDS, async { while tasks.join_next().await.is_some() {} }).await;
    }
}

async fn read(key: Key, mut stream: OwnedReadHalf, input: Arc<Input>, happenings: mpsc::Sender<Happening>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        match stream.read_buf(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(_) if input.closed.load(Ordering::Relaxed) => {}
            Ok(_) => {
                input.unread.fetch_add(1, Ordering::Relaxed);
                // An error: the driver has ended, and nothing is to be taken in any longer.
                let _ = happenings.send(Happening::Data(key, piece)).await;
            }
        }
    }
    // The driver may have ended.
    let _ = happenings.send(Happening::Closed(key)).await;
}

async fn write(
    key: Key,
    mut output: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<Vec<u8>>,
    happenings: mpsc::Sender<Happening>,
) {
    while let Some(piece) = pieces.recv().await {
        // Who reads notices what went wrong.
        if output.write_all(&piece).await.is_err() {
            return;
        }
        if !pieces.is_closed() {
            // The driver may have ended, with last words still to be written.
            let _ = happenings.send(Happening::Written(key)).await;
        }
    }
    // The peer may be gone already.
    let _ = output.shutdown().await;
}
