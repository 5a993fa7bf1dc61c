//! What one value of a field is, and how it is written.

use std::net::{Ipv4Addr, Ipv6Addr};

use wire::{MacAddr, Vni};

/// One value of a field.
pub(crate) trait Value: Sized {
    /// What is to be written.
    const WHAT: &'static str;

    /// Of a number.
    fn from_number(number: i64) -> Result<Self, String> {
        Err(format!("{number} is not {}", Self::WHAT))
    }

    /// Of a text.
    fn from_text(text: &str) -> Result<Self, String>;

    /// As the header has it, at the lower end.
    fn bits(self) -> u128;
}

/// A number from 0 to `MAX`.
pub(crate) struct Number<const MAX: u64>(u64);

impl<const MAX: u64> Value for Number<MAX> {
    const WHAT: &'static str = "a number";

    fn from_number(number: i64) -> Result<Self, String> {
        let fits = u64::try_from(number).ok().filter(|&number| number <= MAX);
        fits.map(Self).ok_or_else(|| format!("{number} is out of range: take one from 0 to {MAX}"))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.trim().parse().map_err(|_| format!("{text:?} is not a number from 0 to {MAX}"))?;
        Self::from_number(number)
    }

    fn bits(self) -> u128 {
        self.0.into()
    }
}

impl Value for Vni {
    const WHAT: &'static str = "a VNI";

    fn from_number(number: i64) -> Result<Self, String> {
        let vni = u32::try_from(number).ok().and_then(Self::new);
        vni.ok_or_else(|| format!("VNI {number} is out of range: take one from 1 to {}", Self::MAX))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.trim().parse().map_err(|_| format!("{text:?} is not a VNI: write a number"))?;
        Self::from_number(number)
    }

    fn bits(self) -> u128 {
        self.value().into()
    }
}

impl Value for MacAddr {
    const WHAT: &'static str = "a MAC address";

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|error| format!("{text:?} is {error}"))
    }

    fn bits(self) -> u128 {
        self.0.iter().fold(0, |bits, &octet| bits << 8 | u128::from(octet))
    }
}

impl Value for Ipv4Addr {
    const WHAT: &'static str = "an IPv4 address";

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("{text:?} is not {}", Self::WHAT))
    }

    fn bits(self) -> u128 {
        self.to_bits().into()
    }
}

impl Value for Ipv6Addr {
    const WHAT: &'static str = "an IPv6 address";

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("{text:?} is not {}", Self::WHAT))
    }

    fn bits(self) -> u128 {
        self.to_bits()
    }
}
