//! Congestion notification and DSCP across the tunnel (RFC 6040, RFC 2983).

use super::ip::{CE, ECN, ECT_1, NOT_ECT};
use crate::api::Dscp;
use crate::counters::Reason;

/// What the ECN field of a decapsulated packet becomes, if it changes (RFC 6040 §4.2).
#[inline]
pub(crate) fn decapsulated(outer: u8, inner: u8) -> Result<Option<u8>, Reason> {
    match (outer, inner & ECN) {
        // Nobody but who understands ECN may hear of congestion otherwise than by loss.
        (CE, NOT_ECT) => Err(Reason::Congestion),
        (_, NOT_ECT | CE) => Ok(None),
        (CE, _) => Ok(Some(CE)),
        (ECT_1, inner) if inner != ECT_1 => Ok(Some(ECT_1)),
        _ => Ok(None),
    }
}

/// The traffic class of the outer packet: ECN as inside, in "normal mode" (RFC 6040 §4.1).
#[inline]
pub(crate) fn encapsulated(dscp: Dscp, inner: u8) -> u8 {
    match dscp {
        Dscp::Copy => inner,
        Dscp::Set(dscp) => dscp << 2 | inner & ECN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECT_0: u8 = 0b10;

    /// Figure 4 of RFC 6040.
    #[test]
    fn decapsulation_by_the_table() {
        let table = [
            (NOT_ECT, [Ok(NOT_ECT), Ok(NOT_ECT), Ok(NOT_ECT), Err(Reason::Congestion)]),
            (ECT_0, [Ok(ECT_0), Ok(ECT_0), Ok(ECT_1), Ok(CE)]),
            (ECT_1, [Ok(ECT_1), Ok(ECT_1), Ok(ECT_1), Ok(CE)]),
            (CE, [Ok(CE), Ok(CE), Ok(CE), Ok(CE)]),
        ];
        for (inner, outcomes) in table {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(outcomes) {
                let after = decapsulated(outer, 0xb8 | inner).map(|changed| changed.unwrap_or(inner));
                assert_eq!(after, expected, "inner {inner:02b}, outer {outer:02b}");
            }
        }
    }

    #[test]
    fn encapsulation_keeps_ecn_whatever_the_dscp() {
        assert_eq!(encapsulated(Dscp::Copy, 0xb9), 0xb9);
        assert_eq!(encapsulated(Dscp::Set(10), 0xb9), 10 << 2 | ECT_1);
    }
}
