//! The keys of BFD sessions with other gateways.

use std::path::{Path, PathBuf};

use bfd::Key;
use toml::Spanned;

use super::cluster::ClusterProblem;
use super::expand::placed;
use super::validate::fail;
use super::{Fault, Lines, Place, file};

/// A key, or where it is. The secret is shown nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BfdKey {
    /// It stands in the configuration.
    Given(Key),
    /// It is the first line of this file.
    File { id: u8, path: PathBuf },
}

impl BfdKey {
    fn id(&self) -> u8 {
        match self {
            Self::Given(key) => key.id,
            Self::File { id, .. } => *id,
        }
    }
}

/// Checks `keys`. Files are not looked at.
pub(super) fn expand(
    keys: Vec<Spanned<file::BfdKey>>,
    (lines, directory): (&Lines, Option<&Path>),
) -> Result<Vec<BfdKey>, Fault> {
    let mut known: Vec<(Place, BfdKey)> = Vec::new();
    for key in keys {
        let (place, file::BfdKey { id, secret, file }) = placed(key, lines);
        if let Some((other, _)) = known.iter().find(|(_, other)| other.id() == id) {
            return fail(place, ClusterProblem::BfdKeyTwice { id, place: *other }.into());
        }
        let key = match (secret, file) {
            (Some(secret), None) => match Key::new(id, secret.as_bytes()) {
                Some(key) => BfdKey::Given(key),
                None => return fail(place, ClusterProblem::BfdSecret { id }.into()),
            },
            // As seen from the configuration file.
            (None, Some(path)) => BfdKey::File { id, path: directory.unwrap_or(Path::new("")).join(path) },
            _ => return fail(place, ClusterProblem::BfdKey { id }.into()),
        };
        known.push((place, key));
    }
    Ok(known.into_iter().map(|(_, key)| key).collect())
}
