//! What can go wrong with the XDP program, and what the operator can do about it.

use std::io;

use crate::XdpMode;

/// Why the XDP program could not be loaded, attached or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The kernel wants more privileges.
    #[error(
        "not allowed to {action}: run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN \
         (a container must also let the system call bpf through)"
    )]
    Privileges {
        /// What was refused.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map of the program could not be made or written.
    #[error("eBPF map {map}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel's verifier refused the program. Linux 5.16 or newer is needed.
    #[error(
        "the kernel refused the XDP program ({source}); Linux 5.16 or newer is needed; the verifier said: {log}"
    )]
    Load {
        /// The kernel's answer.
        source: io::Error,
        /// The verifier's reasons, or nothing.
        log: String,
    },
    /// Another XDP program, or another vxgate, is on the netdev.
    #[error(
        "the XDP hook of {interface} is in use: see `ip -d link show dev {interface}` and `bpftool link show`; stop the \
         process that holds it, or take the program off with `ip link set dev {interface} xdp off`"
    )]
    HookInUse {
        /// Name of the netdev.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The netdev takes no XDP program in this mode.
    #[error("{interface} takes no XDP program in {mode} mode: {source}{}", hint(*.mode, .source))]
    Attach {
        /// Name of the netdev.
        interface: String,
        /// The mode that was tried.
        mode: XdpMode,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The classifier is on a netdev already.
    #[error("the XDP program is attached already")]
    AttachedAlready,
    /// A socket could not be entered for a queue.
    #[error("no socket can receive from queue {queue} of {queues}: {source}")]
    Socket {
        /// The queue of the netdev.
        queue: u32,
        /// How many queues the netdev has.
        queues: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Frames that a [`LiveSource`](super::LiveSource) cannot make.
    #[error("frames of {length} bytes cannot be varied like this: {reason}")]
    Frames {
        /// Bytes of the frame.
        length: usize,
        /// What does not fit.
        reason: &'static str,
    },
    /// Live frames could not be sent.
    #[error("{interface}: no live frames: {source}{}", live_hint(.source))]
    Live {
        /// Name of the netdev.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program could not be run on a frame.
    #[error("the XDP program could not be run: {0}")]
    Run(#[source] io::Error),
}

/// What usually lies behind the kernel's refusal to attach.
fn hint(mode: XdpMode, source: &io::Error) -> &'static str {
    match (mode, source.raw_os_error()) {
        (XdpMode::Native, Some(libc::EOPNOTSUPP)) => {
            " (its driver has none; `generic` works on every netdev)"
        }
        (XdpMode::Native, Some(libc::EINVAL | libc::ERANGE)) => {
            " (usual reasons: its MTU, or that of its veth peer, is too large for one buffer; LRO is on; the interface \
             is gone)"
        }
        (XdpMode::Native, Some(libc::ENOSPC)) => {
            " (usual reason: a veth with fewer receive queues than its peer has transmit queues)"
        }
        (XdpMode::Generic, Some(libc::EINVAL)) => " (usual reason: the interface is gone)",
        _ => "",
    }
}

/// What usually lies behind the kernel's refusal to run a program on live frames.
fn live_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EINVAL | libc::E2BIG) => " (Linux 5.18 or newer is needed)",
        Some(libc::EINTR) => " (a signal ended the run)",
        _ => "",
    }
}
