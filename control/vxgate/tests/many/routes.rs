//! Routes of a kernel, by the thousand.

use std::collections::HashMap;

use lab::{Family, Namespace, Site};

/// What a namespace's main table has of a protocol's routes (`bgp`, `ospf`) of one family, by prefix: the next hop, the first of
/// several.
pub(crate) fn forwarded(namespace: &Namespace, family: Family, protocol: &str) -> HashMap<String, String> {
    let option = if family == Family::V4 { "-4" } else { "-6" };
    let output = namespace.run("ip", &["-o", option, "route", "show", "proto", protocol]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let route = |line: &str| {
        let mut words = line.split_whitespace();
        let prefix = words.next()?;
        let via = words.skip_while(|word| *word != "via").nth(1)?;
        Some((prefix.to_owned(), via.to_owned()))
    };
    text.lines().filter_map(route).collect()
}

/// The prefixes of an overlay.
pub(crate) fn prefixes(vni: u32) -> [String; 2] {
    let site = Site::of_block((vni - 1) as u16);
    [site.v4.to_string(), site.v6.to_string()]
}
