//! Edge to TCP.
