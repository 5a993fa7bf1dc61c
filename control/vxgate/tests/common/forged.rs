//! BFD packets that nobody with a session has sent.

use bfd::{Diagnostic, Packet, State};

/// Says that the peer's operator holds the session down.
pub(crate) fn forged() -> Packet {
    Packet {
        diagnostic: Diagnostic::None,
        state: State::AdminDown,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: 3,
        my_discriminator: 1,
        your_discriminator: 0,
        desired_min_tx: 1_000_000,
        required_min_rx: 1_000_000,
        required_min_echo_rx: 0,
    }
}
