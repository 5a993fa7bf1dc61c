//! The two tasks of a connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::{Happening, Key, LAST_WORDS};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// The way to a connection's peer.
#[derive(Debug)]
pub(super) struct Writer {
    /// One piece that is being written, and last words.
    pieces: mpsc::Sender<Vec<u8>>,
    /// Nothing is being written.
    is_ready: bool,
    task: JoinHandle<()>,
    reader: AbortHandle,
}

/// Starts the tasks.
pub(super) fn spawn(key: Key, stream: TcpStream, happenings: mpsc::Sender<Happening>) -> Writer {
    let (input, output) = stream.into_split();
    let (pieces, pieced) = mpsc::channel(2);
    let reader = tokio::spawn(read(key, input, happenings.clone()));
    let task = tokio::spawn(write(key, output, pieced, happenings));
    Writer { pieces, is_ready: true, task, reader: reader.abort_handle() }
}

impl Writer {
    /// What was given is written.
    pub(super) fn ready(&mut self) {
        self.is_ready = true;
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

    /// Last words, then the end, without waiting for it.
    pub(super) fn close(self, last: Vec<u8>) {
        if !last.is_empty() {
            // There is always room for them.
            let _ = self.pieces.try_send(last);
        }
        tokio::spawn(self.finish());
    }

    /// Waits until all is written, but not for ever: a peer may read nothing.
    pub(super) async fn finish(self) {
        let Self { pieces, mut task, reader, .. } = self;
        // The task ends when it has written what it was given.
        drop(pieces);
        if timeout(LAST_WORDS, &mut task).await.is_err() {
            task.abort();
        }
        reader.abort();
    }
}

async fn read(key: Key, mut input: OwnedReadHalf, happenings: mpsc::Sender<Happening>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        match input.read_buf(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if happenings.send(Happening::Data(key, piece)).await.is_err() {
                    return;
                }
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
        if !pieces.is_closed() && happenings.send(Happening::Written(key)).await.is_err() {
            return;
        }
    }
    // The peer may be gone already.
    let _ = output.shutdown().await;
}
