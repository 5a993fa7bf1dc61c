//! The gateway's one binary: it runs the data plane, keeps it equal to the kernel's tables, and answers questions.

mod api;
mod bfd;
mod bgp;
mod blackhole;
mod capture;
mod cli;
mod cluster;
mod config;
mod doctor;
mod events;
mod igp;
mod mirror;
mod numa;
mod observe;
mod plan;
mod preflight;
mod ranked;
mod run;
mod show;
mod trace;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy(),
        )
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();

    let outcome: Result<(), Box<dyn std::error::Error>> = match &cli.command {
        Command::Run(file) => run::run(&file.config).map_err(Into::into),
        Command::Check(file) => run::check(&file.config).map_err(Into::into),
        Command::Cleanup(file) => run::cleanup(&file.config).map_err(Into::into),
        Command::Cluster(arguments) => cluster::command(&arguments.command).map_err(Into::into),
        Command::Show(arguments) => show::show(arguments).map_err(Into::into),
        Command::Events(arguments) => show::events(arguments).map_err(Into::into),
        Command::Bindings(arguments) => show::bindings(arguments).map_err(Into::into),
        Command::Capture(arguments) => capture::capture(arguments).map_err(Into::into),
        Command::Trace(arguments) => trace::trace(arguments).map_err(Into::into),
        Command::Plan(arguments) => plan::plan(arguments).map_err(Into::into),
        // Its exit status says more.
        Command::Doctor(arguments) => return doctor::doctor(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One problem a line.
            error.to_string().lines().for_each(|line| eprintln!("error: {line}"));
            ExitCode::FAILURE
        }
    }
}
