//! A profile as it is written, and what is made of it.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::field::{self, Field};
use super::headers::{
    Arp, Echo, Ethernet, Headers, Ipv4, Ipv6, Network, Tags, Tcp, Transport, Udp, Vxlan, VxlanTable,
};
use super::problem::{Fault, Problem};
use super::rate::{Burst, Limit, LinkSpeed, Rate, Span};
use super::size::Size;
use super::value::Number;
use super::{Payload, PayloadField, Profile, Stream, schedule};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    #[serde(default)]
    description: String,
    rate: Option<Spanned<Rate>>,
    burst: Option<Spanned<Burst>>,
    link_speed: Option<LinkSpeed>,
    duration: Option<Span>,
    count: Option<u64>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    stream: Vec<Spanned<StreamTable>>,
}

/// `[[stream]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamTable {
    name: Option<Spanned<String>>,
    #[serde(default = "one")]
    weight: NonZeroU32,
    size: Spanned<Size>,
    #[serde(deserialize_with = "field::maybe::<Number<4294967295>, _>", default)]
    overlay: Option<Field>,
    ethernet: Ethernet,
    #[serde(default)]
    vlan: Tags,
    arp: Option<Arp>,
    ipv4: Option<Ipv4>,
    ipv6: Option<Ipv6>,
    udp: Option<Udp>,
    tcp: Option<Box<Tcp>>,
    icmp: Option<Echo>,
    payload: Option<Spanned<PayloadTable>>,
    vxlan: Option<Spanned<VxlanTable>>,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadTable {
    #[serde(default)]
    fill: u8,
    #[serde(default)]
    field: Vec<PayloadFieldTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadFieldTable {
    at: u16,
    bytes: u8,
    #[serde(deserialize_with = "field::of::<Number<4294967295>, _>")]
    value: Field,
}

impl File {
    pub(super) fn profile(self, name: &str) -> Result<Profile, Fault> {
        if self.stream.is_empty() {
            return Err(Fault { at: 0, problem: Problem::NoStreams });
        }
        if self.stream.len() > super::MAX_STREAMS {
            let at = self.stream[super::MAX_STREAMS].span().start;
            return Err(Fault { at, problem: Problem::TooManyStreams(self.stream.len()) });
        }
        let rate = rate(self.rate, self.burst, self.link_speed)?;
        let mut streams: Vec<Stream> = Vec::with_capacity(self.stream.len());
        let mut names = std::collections::HashSet::new();
        for (number, table) in self.stream.into_iter().enumerate() {
            let at = table.span().start;
            let mut table = table.into_inner();
            let (stream_name, at_name) = match table.name.take() {
                Some(name) => (name.get_ref().clone(), name.span().start),
                None => (format!("stream {number}"), at),
            };
            if !names.insert(stream_name.clone()) {
                return Err(Fault { at: at_name, problem: Problem::NameTwice(stream_name) });
            }
            let mut stream = table.stream(number as u16, stream_name, at)?;
            stream.seed(self.seed);
            streams.push(stream);
        }
        schedule::check(&streams).map_err(|problem| Fault { at: 0, problem })?;
        let limit = Limit { duration: self.duration.map(|span| span.0), count: self.count };
        Ok(Profile { name: name.to_owned(), description: self.description, streams, rate, limit })
    }
}

fn rate(
    rate: Option<Spanned<Rate>>,
    burst: Option<Spanned<Burst>>,
    link_speed: Option<LinkSpeed>,
) -> Result<Rate, Fault> {
    match (rate, burst) {
        (Some(_), Some(burst)) => Err(Fault { at: burst.span().start, problem: Problem::RateAndBurst }),
        (None, Some(burst)) => Ok(burst.into_inner().into()),
        (None, None) => Ok(Rate::Max),
        (Some(rate), None) => {
            let at = rate.span().start;
            let fault = |error| Fault { at, problem: Problem::Rate(error) };
            rate.into_inner().of_link(link_speed).map_err(fault)
        }
    }
}

impl StreamTable {
    /// `at`: where the table begins.
    fn stream(self, number: u16, name: String, at: usize) -> Result<Stream, Fault> {
        let fail = |problem| Fault { at, problem };
        let network = match (self.arp, self.ipv4, self.ipv6) {
            (None, None, None) => return Err(fail(Problem::NothingInside)),
            (Some(arp), None, None) if self.udp.is_none() && self.tcp.is_none() && self.icmp.is_none() => {
                Network::Arp(arp)
            }
            (Some(_), None, None) => return Err(fail(Problem::NoNetwork)),
            (None, Some(ip), None) => {
                Network::Ipv4(ip, transport(self.udp, self.tcp, self.icmp).map_err(fail)?)
            }
            (None, None, Some(ip)) => {
                Network::Ipv6(ip, transport(self.udp, self.tcp, self.icmp).map_err(fail)?)
            }
            _ => return Err(fail(Problem::Conflict("arp, ipv4 and ipv6"))),
        };
        let headers = Headers { ethernet: self.ethernet, vlans: self.vlan.0, network };
        let vxlan = self.vxlan.map(|table| {
            let at = table.span().start;
            vxlan(table.into_inner()).map_err(|problem| Fault { at, problem })
        });
        let payload = self.payload.map(|table| {
            let at = table.span().start;
            payload(table.into_inner()).map_err(|problem| Fault { at, problem })
        });
        let at_size = self.size.span().start;
        let stream = Stream {
            number,
            name,
            weight: self.weight.get(),
            headers,
            vxlan: vxlan.transpose()?,
            payload: payload.transpose()?.unwrap_or_default(),
            sizes: self.size.into_inner().0,
            overlay: self.overlay,
            lane: 0,
            lanes: 1,
        };
        stream.check_sizes().map_err(|problem| Fault { at: at_size, problem })?;
        Ok(stream)
    }
}

fn transport(udp: Option<Udp>, tcp: Option<Box<Tcp>>, icmp: Option<Echo>) -> Result<Transport, Problem> {
    match (udp, tcp, icmp) {
        (None, None, None) => Ok(Transport::None),
        (Some(udp), None, None) => Ok(Transport::Udp(udp)),
        (None, Some(tcp), None) => Ok(Transport::Tcp(tcp)),
        (None, None, Some(echo)) => Ok(Transport::Echo(echo)),
        _ => Err(Problem::Conflict("udp, tcp and icmp")),
    }
}

fn vxlan(table: VxlanTable) -> Result<Vxlan, Problem> {
    let udp = Transport::Udp(Udp { src: table.udp.src, dst: table.udp.dst });
    let (network, checksum) = match (table.ipv4, table.ipv6) {
        // RFC 7348 §5: it should be zero; over IPv6 receivers drop that by default (RFC 8200 §8.1).
        (Some(ip), None) => (Network::Ipv4(ip, udp), false),
        (None, Some(ip)) => (Network::Ipv6(ip, udp), true),
        (None, None) => return Err(Problem::NoOuter),
        (Some(_), Some(_)) => return Err(Problem::Conflict("ipv4 and ipv6")),
    };
    Ok(Vxlan {
        vni: table.vni,
        outer: Headers { ethernet: table.ethernet, vlans: table.vlan.0, network },
        checksum: table.udp.checksum.unwrap_or(checksum),
    })
}

fn payload(table: PayloadTable) -> Result<Payload, Problem> {
    let mut fields: Vec<PayloadField> = Vec::with_capacity(table.field.len());
    for PayloadFieldTable { at, bytes, value } in table.field {
        if !(1..=4).contains(&bytes) {
            return Err(Problem::PayloadWidth(bytes));
        }
        let largest = value.largest();
        if largest >> (8 * u32::from(bytes)) != 0 {
            return Err(Problem::PayloadValue { value: largest, bytes });
        }
        let end = |at: u16, bytes: u8| u32::from(at) + u32::from(bytes);
        let overlaps = |other: &&PayloadField| {
            u32::from(at) < end(other.at, other.bytes) && u32::from(other.at) < end(at, bytes)
        };
        if let Some(other) = fields.iter().find(overlaps) {
            return Err(Problem::PayloadOverlap(at.max(other.at)));
        }
        fields.push(PayloadField { at, bytes, value });
    }
    Ok(Payload { fill: table.fill, fields })
}
