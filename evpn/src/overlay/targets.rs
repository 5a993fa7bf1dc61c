//! Route targets of overlays.

use std::fmt;
use std::str::FromStr;

use rustbgpd_wire::ExtendedCommunity;
use wire::Vni;

/// Type 0 (two-octet AS), subtype 2 (RFC 4360 §4).
const TWO_OCTET_AS: u64 = 0x0002 << 48;

/// The AS of a community of that type.
const AS_PART: u64 = 0xffff << 32;

/// RFC 8365 §5.1.2.1: bit A clear (derived), type 1 (VXLAN), domain 0.
const RFC8365_VXLAN: u32 = 0x1000_0000;

/// A route target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteTarget(u64);

impl RouteTarget {
    /// `asn:number` of type 0; of a wider AS number the low 16 bits, as FRR has it.
    pub const fn two_octet(asn: u32, number: u32) -> Self {
        Self(TWO_OCTET_AS | ((asn & 0xffff) as u64) << 32 | number as u64)
    }

    /// `asn:number` of type 2 (RFC 5668).
    pub const fn four_octet(asn: u32, number: u16) -> Self {
        Self(0x0202 << 48 | (asn as u64) << 16 | number as u64)
    }

    pub(crate) fn community(self) -> ExtendedCommunity {
        ExtendedCommunity::new(self.0)
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 48 {
            0x0002 => write!(f, "{}:{}", (self.0 >> 32) as u16, self.0 as u32),
            _ => write!(f, "{}:{}", (self.0 >> 16) as u32, self.0 as u16),
        }
    }
}

/// A text that is no route target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no route target: `AS:NUMBER` is expected, of 16 and 32 bits or of 32 and 16 bits")]
pub struct ParseTargetError;

impl FromStr for RouteTarget {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let (asn, number) = text.split_once(':').ok_or(ParseTargetError)?;
        let asn: u32 = asn.parse().map_err(|_| ParseTargetError)?;
        let number: u32 = number.parse().map_err(|_| ParseTargetError)?;
        if asn <= u16::MAX.into() {
            return Ok(Self::two_octet(asn, number));
        }
        u16::try_from(number).map(|number| Self::four_octet(asn, number)).map_err(|_| ParseTargetError)
    }
}

/// How an overlay's route targets are made. Import is decided by the route's own VNI, so that it costs the same whatever
/// the number of overlays: no table of targets is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTargets {
    /// `AS:VNI`, as FRR derives it; any AS is imported.
    Frr,
    /// RFC 8365 §5.1.2.1; any AS is imported.
    Rfc8365,
    /// As listed.
    Explicit {
        /// Routes with one of these are imported.
        import: Box<[RouteTarget]>,
        /// Put on routes.
        export: Box<[RouteTarget]>,
    },
}

impl RouteTargets {
    /// Whether routes with these communities are the overlay's.
    pub(crate) fn imports(&self, vni: Vni, communities: &[ExtendedCommunity]) -> bool {
        let derived = |number: u32| {
            let wanted = TWO_OCTET_AS | u64::from(number);
            communities.iter().any(|community| community.as_u64() & !AS_PART == wanted)
        };
        match self {
            Self::Frr => derived(vni.value()),
            Self::Rfc8365 => derived(RFC8365_VXLAN | vni.value()),
            Self::Explicit { import, .. } => {
                communities.iter().any(|community| import.contains(&RouteTarget(community.as_u64())))
            }
        }
    }

    /// The VNI whose derived target this is, of whatever AS; none of [`Explicit`](Self::Explicit). (Derived ones have a
    /// two-octet AS: another kind of target is never one, whatever its numbers.)
    pub fn derived_vni(&self, target: RouteTarget) -> Option<Vni> {
        let number =
            (target.0 & !AS_PART).checked_sub(TWO_OCTET_AS).and_then(|rest| u32::try_from(rest).ok())?;
        match self {
            Self::Frr => Vni::new(number),
            Self::Rfc8365 => Vni::new(number.checked_sub(RFC8365_VXLAN)?),
            Self::Explicit { .. } => None,
        }
    }

    /// What routes of the overlay get.
    pub(crate) fn export(&self, vni: Vni, asn: u32) -> Vec<RouteTarget> {
        match self {
            Self::Frr => vec![RouteTarget::two_octet(asn, vni.value())],
            Self::Rfc8365 => vec![RouteTarget::two_octet(asn, RFC8365_VXLAN | vni.value())],
            Self::Explicit { export, .. } => export.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vni(value: u32) -> Vni {
        Vni::new(value).unwrap()
    }

    #[test]
    fn targets_are_those_of_frr_and_rfc_8365() {
        // As seen from FRR 8.4, AS 65000 and VNI 100; and with `autort rfc8365-compatible`.
        assert_eq!(RouteTargets::Frr.export(vni(100), 65000), [RouteTarget(0x0002_fde8_0000_0064)]);
        assert_eq!(RouteTargets::Rfc8365.export(vni(100), 65000), [RouteTarget(0x0002_fde8_1000_0064)]);
        // A wide AS gives its low 16 bits.
        assert_eq!(RouteTargets::Frr.export(vni(7), 0x0001_fde8), [RouteTarget(0x0002_fde8_0000_0007)]);
    }

    #[test]
    fn import_is_by_vni_whatever_the_as() {
        let community = |target: RouteTarget| [target.community()];
        let own = community(RouteTarget::two_octet(65001, 100));
        assert!(RouteTargets::Frr.imports(vni(100), &own));
        assert!(!RouteTargets::Frr.imports(vni(101), &own));
        assert!(!RouteTargets::Rfc8365.imports(vni(100), &own));
        // The same number of another kind of community is no route target.
        assert!(!RouteTargets::Frr.imports(vni(100), &[ExtendedCommunity::new(0x0003_fde9_0000_0064)]));
        let explicit = RouteTargets::Explicit {
            import: Box::new(["65000:1".parse().unwrap(), "4200000000:7".parse().unwrap()]),
            export: Box::default(),
        };
        assert!(explicit.imports(vni(5), &community(RouteTarget::two_octet(65000, 1))));
        assert!(explicit.imports(vni(5), &community(RouteTarget::four_octet(4_200_000_000, 7))));
        assert!(!explicit.imports(vni(5), &community(RouteTarget::two_octet(65001, 1))));
    }

    #[test]
    fn a_derived_target_is_told_from_others() {
        let derived = |targets: RouteTargets, text: &str| targets.derived_vni(text.parse().unwrap());
        assert_eq!(derived(RouteTargets::Frr, "65001:3"), Some(vni(3)));
        assert_eq!(derived(RouteTargets::Rfc8365, "65001:268435459"), Some(vni(3)));
        assert_eq!(derived(RouteTargets::Rfc8365, "65001:3"), None);
        // Of four octets: none that `imports` would take.
        assert_eq!(derived(RouteTargets::Frr, "4200000000:3"), None);
        assert_eq!(derived(RouteTargets::Frr, "65001:16777216"), None);
    }

    #[test]
    fn texts_are_read_and_written() {
        for text in ["65000:100", "0:4294967295", "4200000000:65535"] {
            assert_eq!(text.parse::<RouteTarget>().unwrap().to_string(), text);
        }
        for text in ["", "65000", "65000:", "4200000000:65536", "65000:4294967296", "a:1"] {
            assert_eq!(text.parse::<RouteTarget>(), Err(ParseTargetError), "{text}");
        }
    }
}
