//! The XDP program in the real kernel. Needs root: without, the tests fail and say so.

mod attach;
mod classifier;
mod frames;
