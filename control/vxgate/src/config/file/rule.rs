//! A rule about packets from overlays, and what is written in it.

use std::ops::RangeInclusive;

use engine::Action;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;
use wire::IpProtocol;

use super::values::NumberOrText;
use super::{OneOrMany, Prefix, VniRange};

/// `[[rule]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Rule {
    pub(in crate::config) action: ActionName,
    pub(in crate::config) from: Option<Spanned<OneOrMany<Prefix>>>,
    pub(in crate::config) from_vnis: Option<Spanned<OneOrMany<VniRange>>>,
    pub(in crate::config) to: Option<Spanned<OneOrMany<Destination>>>,
    pub(in crate::config) to_vnis: Option<Spanned<OneOrMany<VniRange>>>,
    pub(in crate::config) protocol: Option<Spanned<OneOrMany<Protocols>>>,
    pub(in crate::config) port: Option<Spanned<OneOrMany<Ports>>>,
    pub(in crate::config) replies: Option<Spanned<bool>>,
}

/// What a rule does.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum ActionName {
    Allow,
    Reject,
    Drop,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Allow => Self::Allow,
            ActionName::Reject => Self::Reject,
            ActionName::Drop => Self::Drop,
        }
    }
}

/// `80`, or `"8000-8080"`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(in crate::config) struct Ports(pub(in crate::config) RangeInclusive<u16>);

impl TryFrom<NumberOrText> for Ports {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        let range = match &value {
            NumberOrText::Number(number) => u16::try_from(*number).ok().map(|port| port..=port),
            NumberOrText::Text(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                match (first.trim().parse(), last.trim().parse()) {
                    (Ok(first), Ok(last)) => Some(first..=last),
                    _ => None,
                }
            }
        };
        range.filter(|range| !range.is_empty()).map(Self).ok_or_else(|| {
            format!("{value} is no port: write a number up to 65535, or the first and the last, such as \"8000-8080\"")
        })
    }
}

/// An upper-layer protocol by name or number; `"icmp"` is that of either family.
#[derive(Clone, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(in crate::config) struct Protocols(pub(in crate::config) Vec<u8>);

impl TryFrom<NumberOrText> for Protocols {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        let numbers = match &value {
            NumberOrText::Number(number) => u8::try_from(*number).ok().map(|number| vec![number]),
            NumberOrText::Text(text) => match text.as_str() {
                "tcp" => Some(vec![IpProtocol::Tcp.into()]),
                "udp" => Some(vec![IpProtocol::Udp.into()]),
                "icmp" => Some(vec![IpProtocol::Icmp.into(), IpProtocol::Icmpv6.into()]),
                "icmpv6" => Some(vec![IpProtocol::Icmpv6.into()]),
                "sctp" => Some(vec![SCTP]),
                _ => None,
            },
        };
        numbers.map(Self).ok_or_else(|| {
            format!("{value} is no protocol: write \"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"sctp\", or a number up to 255")
        })
    }
}

/// IANA's protocol number of SCTP (RFC 9260).
const SCTP: u8 = 132;
/// That of UDP-Lite (RFC 3828).
const UDP_LITE: u8 = 136;

/// Whether a protocol has ports that the filter knows where to find.
pub(in crate::config) fn has_ports(protocol: u8) -> bool {
    [IpProtocol::Tcp.into(), IpProtocol::Udp.into(), SCTP, UDP_LITE].contains(&protocol)
}

/// One side of a rule: a prefix, or all that is no overlay.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(in crate::config) enum Destination {
    Prefix(IpNet),
    Outside,
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "outside" => Ok(Self::Outside),
            _ => Prefix::try_from(text).map(|Prefix(prefix)| Self::Prefix(prefix)),
        }
    }
}
