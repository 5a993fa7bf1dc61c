//! Waiting for a condition.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// First pause between two looks; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a look at a condition gives: what was awaited, or what was seen instead.
pub trait Outcome {
    /// What is got once the condition is true.
    type Value;

    /// Splits what was awaited from what was seen instead.
    fn outcome(self) -> std::result::Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> std::result::Result<(), String> {
        self.then_some(()).ok_or_else(|| "not so".to_owned())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> std::result::Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Outcome for std::result::Result<T, E> {
    type Value = T;

    fn outcome(self) -> std::result::Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Looks again and again, at least once, until the condition is true: `look` says so by `true`, `Some` or
/// `Ok`.
///
/// # Errors
/// [`Error::Timeout`] after `timeout`, with `what` was awaited and what was last seen.
pub fn wait_until<O: Outcome>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> O,
) -> Result<O::Value> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let seen = match look().outcome() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout { what: what.to_owned(), timeout, seen });
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_came() {
        let mut looks = 0;
        let value = wait_until("a third look", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some("came")
        });
        assert_eq!(value.unwrap(), "came");
    }

    #[test]
    fn names_what_was_awaited_and_seen() {
        let error = wait_until("a miracle", Duration::ZERO, || Err::<(), _>("a Tuesday")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns for a miracle; last seen: a Tuesday");
    }
}
