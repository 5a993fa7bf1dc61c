//! The command's end.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::{Observe, Start};
use crate::api::Request;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// Why nothing, or no more, is seen.
#[derive(Debug, Error)]
pub(crate) enum ObserveError {
    /// Nobody listens.
    #[error(
        "no gateway answers at {}: {source}; start one, or name its socket with --socket (needs the same user)",
        path.display()
    )]
    NoGateway { path: PathBuf, source: io::Error },
    /// It said no.
    #[error("the gateway answered: {0}")]
    Refused(String),
    /// It hung up, or spoke another language.
    #[error("the gateway did not answer: {0}; is it of the same version?")]
    NoAnswer(io::Error),
    /// The gateway ended before this did.
    #[error("the gateway hung up: what was received until then is complete")]
    Ended,
    /// The output could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Output { path: PathBuf, source: io::Error },
    /// Something of this process.
    #[error("no asynchronous runtime or signal handler: {0}")]
    Runtime(io::Error),
}

/// Runs a client to its end.
pub(crate) fn run(client: impl Future<Output = Result<(), ObserveError>>) -> Result<(), ObserveError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ObserveError::Runtime)?.block_on(client)
}

/// Asks, and gives what comes to `sink`, which says whether it wants more. SIGINT and SIGTERM end it in order: what has
/// been seen by then still comes.
pub(crate) async fn follow(
    path: &Path,
    wanted: Observe,
    mut sink: impl FnMut(&[u8]) -> Result<bool, ObserveError>,
) -> Result<(), ObserveError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ObserveError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ObserveError::Runtime)?;
    let no_gateway = |source| ObserveError::NoGateway { path: path.into(), source };
    let mut stream = BufReader::new(UnixStream::connect(path).await.map_err(no_gateway)?);
    start(&mut stream, wanted).await?;
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            read = stream.read(&mut chunk) => match read {
                Ok(0) => return Ok(()),
                Ok(len) => if !sink(&chunk[..len])? { return Ok(()) },
                Err(_) => return Err(ObserveError::Ended),
            },
            _ = interrupt.recv() => stream.shutdown().await.map_err(|_| ObserveError::Ended)?,
            _ = terminate.recv() => stream.shutdown().await.map_err(|_| ObserveError::Ended)?,
        }
    }
}

async fn start(stream: &mut BufReader<UnixStream>, wanted: Observe) -> Result<(), ObserveError> {
    let asked = async {
        let mut line = serde_json::to_vec(&Request::Observe(wanted))?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok(serde_json::from_str(&answer)?)
    };
    match asked.await.map_err(ObserveError::NoAnswer)? {
        Start::Started => {
            eprintln!("started; SIGINT (Ctrl-C) ends it");
            Ok(())
        }
        Start::Error(message) => Err(ObserveError::Refused(message)),
    }
}
