//! The gateway's handle, with a script in the place of vxgate. Needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lab::{Gateway, Lab};

/// Speaks vxgate's command line; instead of a socket it has a file with its process number.
const SCRIPT: &str = r#"#!/bin/sh
case "$1" in
run)
    socket=$(sed -n 's/^socket = "\(.*\)"$/\1/p' "$3")
    test -n "$socket" || { echo "the configuration names no socket" >&2; exit 2; }
    trap 'rm "$socket"; exit 0' TERM
    echo $$ > "$socket"
    echo "ready"
    while :; do sleep 0.05; done ;;
show)
    kill -0 "$(cat "$4")" && echo "{\"shown\": \"$2\", \"format\": \"$6\"}" ;;
check)
    test -s "$3" ;;
esac
"#;

#[test]
fn a_gateway_starts_shows_crashes_and_stops() {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("gw").unwrap();
    // Not with the files of the lab: what is in /run may not be executed on some systems.
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vxgate");
    fs::write(&binary, SCRIPT).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut gateway = Gateway::new(&namespace, &binary);

    gateway.configure("").unwrap();
    assert!(gateway.run("check").is_err());
    let error = gateway.start().unwrap_err().to_string();
    assert!(error.contains("exit status: 2") && error.contains("names no socket"), "{error}");

    gateway.configure(&format!("[gateway]\nsocket = \"{}\"\n", gateway.socket().display())).unwrap();
    gateway.run("check").unwrap();
    gateway.start().unwrap();
    let shown = gateway.show("ports").unwrap();
    assert_eq!((shown["shown"].as_str(), shown["format"].as_str()), (Some("ports"), Some("json")));
    let (resident, peak) = gateway.process().unwrap().memory().unwrap();
    assert!(0 < resident && resident <= peak);

    gateway.kill9().unwrap();
    assert!(gateway.log().contains("ready"), "a crash leaves its log");
    assert!(gateway.socket().exists(), "a crash cleans nothing up");

    gateway.start().unwrap();
    assert!(gateway.stop().unwrap().unwrap().success());
    assert!(!gateway.socket().exists());
    assert!(gateway.show("ports").is_err());
}
