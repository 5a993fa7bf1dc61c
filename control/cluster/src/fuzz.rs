//! What the fuzz target does, in reach of ordinary tests.
