//! Path-MTU discovery, by tracepath(8).

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::topology::Family;

/// What discovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracepath {
    /// Path MTU in bytes.
    pub path_mtu: u32,
    /// How many hops away the destination is; `None`: it was not reached.
    pub hops: Option<u8>,
    /// Who answered, in order, each once: routers, then the destination.
    pub addresses: Vec<IpAddr>,
}

impl Tracepath {
    /// Discovers the path MTU from `namespace` to `destination`, at most eight hops away, with UDP packets that start
    /// at the MTU of the first link.
    ///
    /// # Errors
    /// [`Error::Command`] if nothing could be sent.
    pub fn run(namespace: &Namespace, destination: IpAddr) -> Result<Self> {
        let family = Family::of(destination).option();
        let output = namespace.run("tracepath", &[family, "-n", "-m", "8", &destination.to_string()])?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::Output { program: "tracepath", output: text.into_owned() })
    }
}

fn parse(text: &str) -> Option<Tracepath> {
    let mut addresses = Vec::new();
    for line in text.lines() {
        let address = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        if let Some(address) = address.filter(|address| !addresses.contains(address)) {
            addresses.push(address);
        }
    }
    let mut words = text.lines().find_map(|line| line.trim().strip_prefix("Resume:"))?.split_whitespace();
    let mut number_after = |name| {
        words.by_ref().find(|word| *word == name)?;
        words.next()?.parse::<u32>().ok()
    };
    let path_mtu = number_after("pmtu")?;
    let hops = number_after("hops").and_then(|hops| hops.try_into().ok());
    Some(Tracepath { path_mtu, hops, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_and_who_answered() {
        let found = parse(
            " 1?: [LOCALHOST]                      pmtu 1500\n \
             1:  10.1.0.1                                              0.140ms \n \
             1:  10.1.0.1                                              0.042ms \n \
             2:  198.18.1.254                                          0.061ms pmtu 1400\n \
             2:  no reply\n \
             3:  198.18.2.10                                           0.097ms reached\n     \
             Resume: pmtu 1400 hops 3 back 3 \n",
        )
        .unwrap();
        assert_eq!((found.path_mtu, found.hops), (1400, Some(3)));
        let addresses =
            ["10.1.0.1", "198.18.1.254", "198.18.2.10"].map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(found.addresses, addresses);
    }

    #[test]
    fn tells_when_nobody_was_reached() {
        let text = " 1?: [LOCALHOST]                        pmtu 1500\n 1:  no reply\n     \
                    Too many hops: pmtu 1500\n     Resume: pmtu 1500 \n";
        let found = parse(text).unwrap();
        assert_eq!(found, Tracepath { path_mtu: 1500, hops: None, addresses: vec![] });
        assert_eq!(parse("tracepath: unknown host\n"), None);
    }
}
