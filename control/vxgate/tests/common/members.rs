//! Gateways, as the assignment sees them.

use cluster::assign::{GatewayId, Member, Members, Weight};

/// Those with these numbers, all of the same weight.
pub(crate) fn members(numbers: &[u8]) -> Members {
    let id = |number: u8| GatewayId::new(number.into()).unwrap();
    Members::new(numbers.iter().map(|&number| Member { id: id(number), weight: Weight::default() })).unwrap()
}
