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
    apt-get update -q >/dev/null && without_daemons apt-get install -y -q --no-install-recommends "${missing[@]}" \
        >/dev/null || fail "apt-get could not install ${missing[*]}: see its output above"
}

# without_daemons COMMAND...: no service of a package that it installs is started, now (Debian Policy §9.11, policy-rc.d)
# or at the next boot. What needs daemons runs them itself, in namespaces.
without_daemons() {
    local policy=/usr/sbin/policy-rc.d made='' status=0 before service
    before=$(boot_services)
    if [ ! -e "$policy" ]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    fi
    "$@" || status=$?
    [ -z "$made" ] || rm -f "$policy"
    for service in $(comm -13 <(echo "$before") <(boot_services)); do
        ! command -v systemctl >/dev/null || systemctl disable "$service" >/dev/null 2>&1 || true
        ! command -v update-rc.d >/dev/null || update-rc.d "$service" disable >/dev/null 2>&1 || true
    done
    return "$status"
}

# The names of the services that a boot starts, sorted.
boot_services() {
    find /etc/systemd/system /etc/rc2.d \( -path '*.wants/*.service' -o -name 'S[0-9][0-9]*' \) 2>/dev/null |
        sed -E 's|.*/(S[0-9]{2})?||; s|\.service$||' | sort -u
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
# None of them starts a daemon: frr and gobgpd would, and install_packages keeps them from it.
LAB_PACKAGES=(
    dnsmasq-base ethtool frr gobgpd iperf3 iproute2 iputils-arping iputils-ping iputils-tracepath isc-dhcp-client ndisc6 nftables
    procps traceroute tshark
)
# What benches compare with.
BENCH_PACKAGES=(netsniff-ng openvswitch-switch)
