//! Speakers in virtual time: no sockets, no clock.

mod convergence;
mod messages;
mod routes;
mod segment;
mod session;
mod support;
