//! IPv4 options (RFC 791 §3.1).

use crate::Error;

/// Option that ends the list (RFC 791 §3.1).
const END_OF_OPTIONS: u8 = 0;
/// Option of one byte without meaning.
const NO_OPERATION: u8 = 1;
/// Loose source and record route.
pub(super) const LSRR: u8 = 0x83;
/// Strict source and record route.
pub(super) const SSRR: u8 = 0x89;

/// One option of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The type byte: copied flag, class and number.
    pub kind: u8,
    /// What follows type and length.
    pub data: &'a [u8],
}

/// The options of a header in turn, without padding. An option whose length is impossible gives one
/// [`Error::BadLength`], and then the walk is over.
#[derive(Clone, Debug)]
pub struct Ipv4Options<'a> {
    rest: &'a [u8],
}

impl<'a> Ipv4Options<'a> {
    /// Walks the bytes of [`Ipv4Packet::options`](super::Ipv4Packet::options).
    #[inline]
    pub fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for Ipv4Options<'a> {
    type Item = Result<Ipv4Option<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = std::mem::take(&mut self.rest);
        while let [NO_OPERATION, after @ ..] = rest {
            rest = after;
        }
        match *rest {
            [] | [END_OF_OPTIONS, ..] => None,
            [kind, len, ..] if len >= 2 && usize::from(len) <= rest.len() => {
                let (option, after) = rest.split_at(usize::from(len));
                self.rest = after;
                Some(Ok(Ipv4Option { kind, data: &option[2..] }))
            }
            _ => Some(Err(Error::BadLength)),
        }
    }
}

impl std::iter::FusedIterator for Ipv4Options<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_lying_lengths() {
        let walk = |options: &'static [u8]| Ipv4Options::new(options).collect::<Vec<_>>();
        let alert = Ok(Ipv4Option { kind: 0x94, data: &[0, 0] });
        assert_eq!(walk(&[]), []);
        assert_eq!(walk(&[1, 1, 1, 1]), []);
        assert_eq!(walk(&[0, LSRR, 3, 4]), []);
        assert_eq!(walk(&[0x94, 4, 0, 0]), [alert]);
        assert_eq!(walk(&[0x94, 4, 0, 0, LSRR, 0, 0, 0]), [alert, Err(Error::BadLength)]);
        assert_eq!(walk(&[LSRR, 1, 1, 1]), [Err(Error::BadLength)]);
        assert_eq!(walk(&[LSRR, 5, 4, 0]), [Err(Error::BadLength)]);
        assert_eq!(walk(&[1, 1, 1, LSRR]), [Err(Error::BadLength)]);
    }
}
