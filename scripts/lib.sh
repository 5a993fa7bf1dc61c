# Sourced by the other scripts: what must be there before anything runs.
# shellcheck shell=bash

RUST_NEEDED=1.95
export DEBIAN_FRONTEND=noninteractive
# The scripts build into the default place, whatever the caller's shell says.
unset CARGO_TARGET_DIR

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "run as root: network namespaces, XDP and AF_XDP need it"
}

# install_packages NAME...: Debian packages, only those that are missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "this is no Debian: install what does the work of ${missing[*]}"
    say "Installing ${missing[*]}"
    apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install ${missing[*]}: see its output above"
}

# without_daemons COMMAND...: no service is started for a package that it installs (Debian Policy §9.11, policy-rc.d).
without_daemons() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    # In a subshell: a failure that ends it must not leave the policy behind.
    ("$@") || status=$?
    rm -f "$policy"
    return "$status"
}

rust_is_new_enough() {
    local have
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$have" ] && [ "$(printf '%s\n' "$RUST_NEEDED" "$have" | sort -V | head -n 1)" = "$RUST_NEEDED" ]
}

# install_rust: rustc and cargo from RUST_NEEDED on.
install_rust() {
    # shellcheck disable=SC1091
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    rust_is_new_enough && return
    say "Installing Rust through rustup"
    if ! command -v rustup >/dev/null; then
        install_packages ca-certificates curl
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt ||
            fail "Rust $RUST_NEEDED or newer is needed, and rustup could not be fetched: install Rust by hand and run this again"
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    else
        rustup toolchain install stable --profile minimal -c clippy -c rustfmt && rustup default stable ||
            fail "Rust $RUST_NEEDED or newer is needed, and rustup could not install it: install it by hand and run this again"
    fi
    rust_is_new_enough || fail "Rust $RUST_NEEDED or newer is needed, but $(rustc --version) is found first: mend PATH"
}

BUILD_PACKAGES=(gcc libc6-dev)
# None of them starts a daemon.
LAB_PACKAGES=(
    dnsmasq-base ethtool iperf3 iproute2 iputils-arping iputils-ping iputils-tracepath isc-dhcp-client ndisc6 nftables
    procps traceroute tshark
)
# What benches compare with. Its daemons are not started: the benches start their own.
BENCH_PACKAGES=(netsniff-ng openvswitch-switch)
