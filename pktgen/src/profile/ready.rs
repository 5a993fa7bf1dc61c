//! Profiles that are ready to be sent; addresses are to be replaced by those of the network under test.

use super::{Profile, ProfileError};

/// A profile that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! ready {
    ($($name:literal),* $(,)?) => {
        &[$(Ready { name: $name, text: include_str!(concat!("../../profiles/", $name, ".toml")) }),*]
    };
}

/// All of them.
pub const READY: &[Ready] = ready![
    "vxlan-64",
    "vxlan-1400",
    "vxlan-imix",
    "many-overlays",
    "many-overlays-uplink",
    "broadcast-storm",
    "unknown-stations",
    "ipv6-in-ipv6",
];

impl Ready {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        READY.iter().copied().find(|ready| ready.name == name)
    }

    /// Its profile.
    ///
    /// # Errors
    /// None for those that are there; a test sees to it.
    pub fn profile(self) -> Result<Profile, ProfileError> {
        Profile::parse(self.name, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_valid_and_say_what_they_are_for() {
        for ready in READY {
            let profile = ready.profile().unwrap();
            assert!(!profile.description.is_empty(), "{}", ready.name);
            assert!(Ready::named(ready.name).is_some());
        }
        assert!(Ready::named("nosuch").is_none());
    }
}
