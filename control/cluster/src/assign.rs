//! Which gateway serves which overlay.
