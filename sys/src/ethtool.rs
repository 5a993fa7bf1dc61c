//! What a netdev's driver says of itself: the `SIOCETHTOOL` ioctl (linux/ethtool.h).
//!
//! Reads only. Not every driver answers every question: then the error is `EOPNOTSUPP`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::call::any_socket;

const GDRVINFO: u32 = 0x03;
const GRINGPARAM: u32 = 0x10;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GRXFHINDIR: u32 = 0x38;
const GFEATURES: u32 = 0x3a;
const GCHANNELS: u32 = 0x3c;
const GLINKSETTINGS: u32 = 0x4c;

/// The set of strings that names features (`ETH_SS_FEATURES`).
const FEATURE_NAMES: u32 = 4;

/// Bytes of a string (`ETH_GSTRING_LEN`).
const NAME: usize = 32;

/// Words of `ethtool_drvinfo`.
const DRIVER_WORDS: usize = 49;

/// Words of `ethtool_channels`, and of `ethtool_ringparam`.
const NINE_WORDS: usize = 9;

/// Words of `ethtool_link_settings` before its link modes.
const LINK_WORDS: usize = 12;

/// Where in `ethtool_link_settings` the signed byte is that counts the words of a link mode.
const LINK_MODE_COUNT: usize = 15;

/// Most words of the three link modes: their count is a signed byte.
const MODE_WORDS: usize = 3 * i8::MAX as usize;

/// A netdev's driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Version of the NIC's firmware; empty if it has none.
    pub firmware: String,
    /// Where the NIC is: a PCI address, mostly; empty if it is nowhere.
    pub bus: String,
}

/// Channels (queues) of a netdev: how many are in use, and how many may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// That receive only.
    pub rx: u32,
    /// That send only.
    pub tx: u32,
    /// That do both.
    pub combined: u32,
    /// Most that receive only.
    pub max_rx: u32,
    /// Most that do both.
    pub max_combined: u32,
}

/// Descriptors of each ring: how many there are, and how many may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Of a receive ring.
    pub rx: u32,
    /// Of a transmit ring.
    pub tx: u32,
    /// Most of a receive ring.
    pub max_rx: u32,
    /// Most of a transmit ring.
    pub max_tx: u32,
}

/// A feature of a netdev, an offload mostly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name, as `ethtool -K` takes it: `rx-lro`.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// Whether it can never be switched.
    pub fixed: bool,
}

/// Asks about the netdevs of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// For the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: any_socket()? })
    }

    /// The driver of a netdev.
    ///
    /// # Errors
    /// `ENODEV` if there is no such netdev, `EOPNOTSUPP` if it does not say; so for all of these.
    pub fn driver(&self, interface: &str) -> io::Result<Driver> {
        let mut words = [0; DRIVER_WORDS];
        words[0] = GDRVINFO;
        // SAFETY: `ethtool_drvinfo` has as many words as the buffer.
        unsafe { self.ask(interface, &mut words)? };
        // After the command: driver, version, firmware, bus.
        let text = |number: usize| text(&bytes(&words)[4 + number * NAME..][..NAME]);
        let known = |text: String| if text == "N/A" { String::new() } else { text };
        Ok(Driver { name: text(0), firmware: known(text(2)), bus: known(text(3)) })
    }

    /// How many channels there are.
    ///
    /// # Errors
    /// As [`driver`](Self::driver).
    pub fn channels(&self, interface: &str) -> io::Result<Channels> {
        let mut words = [0; NINE_WORDS];
        words[0] = GCHANNELS;
        // SAFETY: `ethtool_channels` has as many words as the buffer.
        unsafe { self.ask(interface, &mut words)? };
        let [_, max_rx, _, _, max_combined, rx, tx, _, combined] = words;
        Ok(Channels { rx, tx, combined, max_rx, max_combined })
    }

    /// How long the rings are.
    ///
    /// # Errors
    /// As [`driver`](Self::driver).
    pub fn rings(&self, interface: &str) -> io::Result<Rings> {
        let mut words = [0; NINE_WORDS];
        words[0] = GRINGPARAM;
        // SAFETY: `ethtool_ringparam` has as many words as the buffer.
        unsafe { self.ask(interface, &mut words)? };
        let [_, max_rx, _, _, max_tx, rx, _, _, tx] = words;
        Ok(Rings { rx, tx, max_rx, max_tx })
    }

    /// All features that this kernel knows, on or off.
    ///
    /// # Errors
    /// As [`driver`](Self::driver).
    pub fn features(&self, interface: &str) -> io::Result<Vec<Feature>> {
        let count = self.feature_count(interface)?;
        // Command, set, count; then the names.
        let mut names = vec![0; 3 + count * NAME / 4];
        names[..2].copy_from_slice(&[GSTRINGS, FEATURE_NAMES]);
        // SAFETY: the kernel writes three words and as many names as there are features, which is a constant of the
        // kernel that runs: the buffer has room for all.
        unsafe { self.ask(interface, &mut names)? };
        // Command, size; then for each 32 features a word each: available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut words = vec![0; 2 + blocks * 4];
        words[..2].copy_from_slice(&[GFEATURES, blocks as u32]);
        // SAFETY: the kernel writes two words, and no more blocks than the size says that there is room for.
        unsafe { self.ask(interface, &mut words)? };
        let names = bytes(&names[3..]);
        let has = |number: usize, word: usize| words[2 + number / 32 * 4 + word] >> (number % 32) & 1 != 0;
        let features = (0..count).map(|number| Feature {
            name: text(&names[number * NAME..][..NAME]),
            on: has(number, 2),
            // As ethtool(8): what is not among the available cannot be changed either.
            fixed: !has(number, 0) || has(number, 3),
        });
        // Bits without a meaning have no name.
        Ok(features.filter(|feature| !feature.name.is_empty()).collect())
    }

    /// The link's speed in Mbit/s; `None` while there is no link, or if the netdev has none.
    ///
    /// # Errors
    /// As [`driver`](Self::driver).
    pub fn speed(&self, interface: &str) -> io::Result<Option<u32>> {
        let mut words = [0; LINK_WORDS + MODE_WORDS];
        words[0] = GLINKSETTINGS;
        // SAFETY: asked with a count of zero the kernel writes the settings without link modes.
        unsafe { self.ask(interface, &mut words)? };
        // It answers with the count that it wants, made negative.
        let wanted = bytes(&words)[LINK_MODE_COUNT] as i8;
        let count = wanted.checked_neg().filter(|&count| count > 0);
        let count =
            count.ok_or_else(|| io::Error::other("the kernel does not say how long its link modes are"))?;
        let mut request = [0; LINK_WORDS * 4];
        request[..4].copy_from_slice(&GLINKSETTINGS.to_ne_bytes());
        request[LINK_MODE_COUNT] = count as u8;
        words.fill(0);
        for (word, bytes) in words.iter_mut().zip(request.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        // SAFETY: the kernel writes the settings and three times `count` words, at most `MODE_WORDS`.
        unsafe { self.ask(interface, &mut words)? };
        // -1 is unknown; some drivers say 0.
        Ok(Some(words[1]).filter(|&speed| speed != 0 && speed != u32::MAX))
    }

    /// Entries of the table by which received frames are spread over queues (RSS).
    ///
    /// # Errors
    /// As [`driver`](Self::driver); without RSS the answer is `EOPNOTSUPP`.
    pub fn rss_entries(&self, interface: &str) -> io::Result<u32> {
        let mut words = [GRXFHINDIR, 0];
        // SAFETY: asked with a size of zero the kernel writes the table's size alone, the second word.
        unsafe { self.ask(interface, &mut words)? };
        Ok(words[1])
    }

    fn feature_count(&self, interface: &str) -> io::Result<usize> {
        // Command, reserved, one bit for each set (64 bits); then the size of each set that is asked for.
        let mut mask = [0; 2];
        for (word, bytes) in mask.iter_mut().zip((1_u64 << FEATURE_NAMES).to_ne_bytes().as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        let mut words = [GSSET_INFO, 0, mask[0], mask[1], 0];
        // SAFETY: the kernel writes `ethtool_sset_info`, four words, and one word for the one bit.
        unsafe { self.ask(interface, &mut words)? };
        match words[4] {
            // The set was not counted.
            0 => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            count => Ok(count as usize),
        }
    }

    /// Asks the question that `words` begins with, and overwrites it with the answer.
    ///
    /// # Safety
    /// The answer to the question must not be longer than `words`.
    unsafe fn ask(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: `ifreq` is integers, a name and pointers; all zeros is a value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        if interface.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: `request` is what SIOCETHTOOL takes, and outlives the call; its pointer leads to `words`, borrowed
        // exclusively, which hold the answer by this function's contract.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// linux/sockios.h.
const SIOCETHTOOL: u32 = 0x8946;

/// Words as the bytes that the kernel wrote.
fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A text that ends at its first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_netdev_has_features() {
        let features = Ethtool::open().unwrap().features("lo").unwrap();
        let find = |name: &str| features.iter().find(|feature| feature.name == name).unwrap();
        // net/core/dev.c and drivers/net/loopback.c: software decides on the one, the other is its nature.
        assert!(!find("rx-gro").fixed, "{features:?}");
        assert_eq!((find("loopback").on, find("loopback").fixed), (true, true));
        assert_eq!((find("rx-lro").on, find("rx-lro").fixed), (false, true));
    }

    #[test]
    fn what_a_driver_does_not_say_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        let errors = [
            ethtool.driver("lo").map(drop),
            ethtool.channels("lo").map(drop),
            ethtool.rings("lo").map(drop),
            ethtool.speed("lo").map(drop),
            ethtool.rss_entries("lo").map(drop),
        ];
        let numbers = errors.map(|result| result.map_err(|error| error.raw_os_error()));
        assert_eq!(numbers, [Err(Some(libc::EOPNOTSUPP)); 5]);
    }

    #[test]
    fn names_of_netdevs_that_cannot_be() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["", "no-such-netdev", "a-name-of-more-than-sixteen-bytes"] {
            let error = ethtool.features(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
