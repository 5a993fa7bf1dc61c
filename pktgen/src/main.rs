//! The generator's and receiver's one binary.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
