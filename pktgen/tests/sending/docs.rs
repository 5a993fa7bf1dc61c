//! What the documentation says is what can be done.

use std::path::Path;

use crate::{BINARY, Wire};

const PAGE: &str = include_str!("../../../docs/pktgen.md");

/// Commands in the page's shell blocks, each on one line, without comments.
fn commands() -> Vec<String> {
    let blocks = PAGE.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| {
        let block = block.replace("\\\n", " ");
        block.lines().map(|line| line.split(" # ").next().unwrap_or(line).to_owned()).collect::<Vec<_>>()
    });
    lines.filter(|line| line.starts_with("pktgen ")).collect()
}

#[test]
fn every_command_of_the_page_works() {
    let wire = Wire::new(1);
    // Some take what others have written.
    let directory = wire.lab.directory().display().to_string();
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let shell = |command: &str| {
        let script = format!("cd {directory} && PATH={binaries}:$PATH && {command}");
        wire.near.run("sh", &["-c", &script]).unwrap_or_else(|error| panic!("{command}: {error}"))
    };
    wire.far.run("ethtool", &["-K", Wire::FAR, "gro", "on"]).unwrap();
    shell("pktgen send -p vxlan-64 -c 20 -r 1kpps --dry-run --pcap capture.pcapng");
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        // The same, but on this link, shorter, and nowhere else.
        let changes = [
            ("eth1", Wire::NEAR),
            ("10s", "100ms"),
            ("1000000", "1000"),
            ("--loop 0", "--loop 0 -c 100"),
            ("/usr/local/share/man/man1/", ""),
            ("/usr/share/bash-completion/completions/", ""),
        ];
        shell(&changes.iter().fold(command, |command, (from, to)| command.replace(from, to)));
    }
}
