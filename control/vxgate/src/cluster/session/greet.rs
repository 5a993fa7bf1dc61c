//! From a connection to a candidate for the session: each says who it is and judges the other.

use std::time::Duration;

use bytes::BytesMut;
use cluster::session::frame::{self, Frame, Kind};
use cluster::session::hello::Hello;
use cluster::session::judge::{Choice, Refusal, choose, judge};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Why;

/// How long the last words to a peer may take, and waiting for it to read them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// A connection to a gateway that may be a peer, and wants to be.
#[derive(Debug)]
pub(super) struct Candidate<S> {
    pub(super) stream: S,
    /// What was read and is not used up.
    pub(super) buffer: BytesMut,
    pub(super) hello: Hello,
}

/// Says who we are, hears who it is, and agrees: `expected` is the gateway whose certificate it has, `present` tells the
/// incarnation of that gateway with which there is a session. At the gateway with
/// the lower id it is then a candidate; at the other one it has been chosen.
///
/// # Errors
/// A refusal was told to the other end before.
pub(super) async fn greet<S>(
    mut stream: S,
    own: &Hello,
    expected: u16,
    present: impl Fn() -> Option<u64>,
) -> Result<Candidate<S>, Why>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write(&mut stream, Kind::Hello, &own.encode()).await?;
    let mut buffer = BytesMut::new();
    let judged = {
        let body = expect(&mut stream, &mut buffer, Kind::Hello).await?;
        judge(own, expected, &body)
    };
    let hello = match judged {
        Ok(Ok(hello)) => hello,
        Ok(Err(refusal)) => {
            refuse(&mut stream, &refusal, own).await;
            return Err(refusal.into());
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(later) = present()
        && choose(Some(later), hello.incarnation) == Choice::Copy
    {
        let refusal = Refusal::Copy { id: expected, earlier: hello.incarnation, later };
        refuse(&mut stream, &refusal, own).await;
        return Err(refusal.into());
    }
    if own.id > hello.id {
        write(&mut stream, Kind::Open, &[]).await?;
    }
    expect(&mut stream, &mut buffer, Kind::Open).await?;
    Ok(Candidate { stream, buffer, hello })
}

/// The body of the next frame, which must be of this kind.
async fn expect<S>(stream: &mut S, buffer: &mut BytesMut, due: Kind) -> Result<Vec<u8>, Why>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(frame) = take(buffer, |(kind, body)| (kind, body.to_vec()))? {
            return match frame {
                (kind, body) if kind == due => Ok(body),
                (Kind::Refused, body) => Err(Refusal::decode(&body).into()),
                (kind, _) => Err(Why::Protocol(format!("{kind:?} instead of {due:?}"))),
            };
        }
        fill(stream, buffer).await?;
    }
}

/// Reads more.
pub(super) async fn fill<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<(), Why> {
    buffer.reserve(PIECE);
    match stream.read_buf(buffer).await? {
        0 => Err(Why::Closed),
        _ => Ok(()),
    }
}

/// Takes the first frame out of what was read, if it is there: its kind and body.
pub(super) fn take<T>(buffer: &mut BytesMut, then: impl FnOnce(Frame<'_>) -> T) -> Result<Option<T>, Why> {
    let Some((frame, taken)) = frame::decode(buffer)? else { return Ok(None) };
    let result = then(frame);
    let _ = buffer.split_to(taken);
    Ok(Some(result))
}

/// Writes a frame.
pub(super) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, kind: Kind, body: &[u8]) -> Result<(), Why> {
    stream.write_all(&frame::header(kind, body.len())).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok(())
}

/// Tells why, and ends the connection so that it is read: what is closed with unread data is reset.
pub(super) async fn refuse<S>(stream: &mut S, refusal: &Refusal, own: &Hello)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tell = async {
        write(stream, Kind::Refused, &refusal.encode(own.incarnation)).await?;
        linger(stream).await
    };
    // It was said as well as it can be.
    let _ = timeout(LAST_WORDS, tell).await;
}

/// Ends a connection, and waits until the other end has ended it too, up to a bound of bytes.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Why> {
    stream.shutdown().await?;
    let mut rest = (&mut *stream).take(frame::MAX_FRAME as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// [`linger`], for no longer than last words may take.
pub(super) async fn linger_briefly<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // Whatever becomes of it.
    let _ = timeout(LAST_WORDS, linger(&mut stream)).await;
}
