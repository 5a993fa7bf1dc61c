//! What the slow path has learned, in parts, to be carried to other gateways as it changes.

use super::Binding;

/// How far a reader of bindings has come. Each reader keeps its own; it means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingCursor(pub(crate) Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All that there is, from this entry of the cache on; then what has changed since this change.
    Snapshot { entry: u32, changes: Option<u64> },
    /// What has changed since this change.
    Changes(u64),
}

impl BindingCursor {
    /// Before all that there is.
    pub const START: Self = Self(Place::Snapshot { entry: 0, changes: None });
}

/// A part of what was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingPage {
    /// Bindings, with their ages now: new ones, and changed ones. Some may be told twice.
    pub bindings: Vec<Binding>,
    /// Where to go on. For who has not asked for so long that changes were forgotten, all starts again by itself.
    pub next: BindingCursor,
    /// Whether this is all for now.
    pub is_complete: bool,
}
