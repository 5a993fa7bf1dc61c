//! The receiver and the impairment between netdevs, in network namespaces. Needs root.

mod commands;
mod frames;
mod impairment;
mod receiver;
mod run;
