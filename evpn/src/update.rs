//! An UPDATE as it came, made into routes: errors by RFC 7606, loops, families that were not agreed on.

use std::mem;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::IpNet;
use rustbgpd_wire::notification::{NotificationCode, update_subcode};
use rustbgpd_wire::validate::{UpdateValidationOptions, validate_update_attributes_with_context};
use rustbgpd_wire::{
    Afi, DecodeError, ErrorDisposition, EvpnRoute, Ipv4NlriEntry, MalformedAttribute, NlriEntry,
    NotificationMessage, PathAttribute, Prefix, Safi, UpdateMessage,
};

use crate::attributes::Attributes;
use crate::event::Rejection;
use crate::family::Family;

/// Faults of an UPDATE that are told; there may be thousands.
const FAULTS_TOLD: usize = 8;

/// Routes of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nlri {
    Evpn(Vec<EvpnRoute>),
    Unicast(Vec<IpNet>),
}

impl Nlri {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Evpn(routes) => routes.len(),
            Self::Unicast(prefixes) => prefixes.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an UPDATE says, in the order in which it is to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Withdraw(Nlri),
    Announce(Nlri, Box<Attributes>),
    /// Our own, reflected (RFC 4456 §8): what was there before counts as withdrawn. That is what a reflector does, and no
    /// fault.
    Own(Nlri),
    /// Announced, but not usable: what was there before counts as withdrawn.
    Refuse(Nlri, Rejection),
    EndOfRib(Family),
    /// Faults that are forgiven.
    Forgiven(String),
}

/// What a session has agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// Others than ours may be among them.
    pub(crate) families: &'a [(Afi, Safi)],
    pub(crate) four_octet_as: bool,
    pub(crate) internal: bool,
    pub(crate) local_asn: u32,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) peer_asn: u32,
}

impl Context<'_> {
    /// Whether both speak this family.
    fn speaks(&self, family: Family) -> bool {
        self.families.contains(&family.codes())
    }
}

/// What the UPDATE says.
///
/// # Errors
/// The NOTIFICATION that ends the session: where the routes themselves cannot be read (RFC 7606 §3 (j), §5.3), or are not
/// found (§5.2).
pub(crate) fn parse(
    message: &UpdateMessage,
    context: &Context<'_>,
) -> Result<Vec<Part>, NotificationMessage> {
    let revised = message
        .parse_revised(context.four_octet_as, context.internal, false, &[])
        .map_err(|error| notification(&error))?;
    let (mut attributes, body) = (revised.update.attributes, revised.update.announced);
    let mut parts = Vec::with_capacity(2);
    let refusal = faults(&revised.malformed, &attributes, !body.is_empty(), context, &mut parts)?;
    let is_reach = |attribute: &PathAttribute| matches!(attribute, PathAttribute::MpReachNlri(_));
    if refusal.is_some() && body.is_empty() && !attributes.iter().any(is_reach) {
        // RFC 7606 §5.2: nothing says which routes would count as withdrawn.
        let subcode = update_subcode::MALFORMED_ATTRIBUTE_LIST;
        return Err(NotificationMessage::new(NotificationCode::UpdateMessage, subcode, Bytes::new()));
    }
    let body_counts = context.speaks(Family::Ipv4);
    if body_counts {
        withdraw(&mut parts, Nlri::Unicast(revised.update.withdrawn.iter().map(ipv4_net).collect()));
        // RFC 4724 §2: an empty UPDATE.
        if message.withdrawn_routes.is_empty() && message.path_attributes.is_empty() && body.is_empty() {
            parts.push(Part::EndOfRib(Family::Ipv4));
        }
    }

    let mut announced = Vec::with_capacity(1);
    let mut body_next_hop = None;
    let alone = attributes.len() == 1;
    for attribute in &mut attributes {
        match attribute {
            PathAttribute::NextHop(address) => body_next_hop = Some(IpAddr::from(*address)),
            PathAttribute::MpUnreachNlri(unreach) => {
                let Some(family) = agreed(context, Family::of(unreach.afi, unreach.safi)) else { continue };
                let nlri = match family {
                    Family::Evpn => Nlri::Evpn(mem::take(&mut unreach.evpn_withdrawn)),
                    Family::Ipv4 | Family::Ipv6 => unicast(&unreach.withdrawn),
                };
                // RFC 4724 §2: nothing but an empty list of the family.
                if nlri.is_empty() && alone && body.is_empty() && refusal.is_none() {
                    parts.push(Part::EndOfRib(family));
                }
                withdraw(&mut parts, nlri);
            }
            PathAttribute::MpReachNlri(reach) => {
                let Some(family) = agreed(context, Family::of(reach.afi, reach.safi)) else { continue };
                let nlri = match family {
                    Family::Evpn => Nlri::Evpn(mem::take(&mut reach.evpn_announced)),
                    Family::Ipv4 | Family::Ipv6 => unicast(&reach.announced),
                };
                announced.push((nlri, Some(reach.next_hop)));
            }
            _ => {}
        }
    }
    if body_counts {
        announced.push((Nlri::Unicast(body.iter().map(ipv4_net).collect()), body_next_hop));
    }
    for (nlri, next_hop) in announced {
        if nlri.is_empty() {
            continue;
        }
        // RFC 7606 §3 (d): NEXT_HOP is mandatory where routes are in the body.
        let Some(next_hop) = next_hop else {
            parts.push(Part::Refuse(nlri, Rejection::Malformed));
            continue;
        };
        let new = Attributes::new(next_hop, &attributes, context.internal);
        parts.push(match refusal.or_else(|| looped(&new, context)) {
            Some(reason) => Part::Refuse(nlri, reason),
            None if new.originator == Some(context.router_id) => Part::Own(nlri),
            None => Part::Announce(nlri, Box::new(new)),
        });
    }
    Ok(parts)
}

/// Weighs the faults: whether routes count as withdrawn.
fn faults(
    malformed: &[MalformedAttribute],
    attributes: &[PathAttribute],
    has_body: bool,
    context: &Context<'_>,
    parts: &mut Vec<Part>,
) -> Result<Option<Rejection>, NotificationMessage> {
    let mut texts = Vec::new();
    let mut count = 0;
    let mut note = |fault: &dyn Fn() -> String| {
        count += 1;
        if count <= FAULTS_TOLD {
            texts.push(fault());
        }
    };
    let mut strongest = None;
    for fault in malformed {
        if fault.disposition == ErrorDisposition::SessionReset {
            return Err(notification(&fault.error));
        }
        note(&|| format!("attribute {}: {}", fault.type_code, fault.error));
        strongest = strongest.max(Some(fault.disposition));
    }
    let has_mp = attributes.iter().any(|attribute| matches!(attribute, PathAttribute::MpReachNlri(_)));
    let validated = validate_update_attributes_with_context(
        attributes,
        has_body || has_mp,
        has_body,
        !context.internal,
        UpdateValidationOptions::default(),
    );
    if let Err(fault) = validated {
        if fault.error.disposition == ErrorDisposition::SessionReset {
            let data = Bytes::from(fault.error.data);
            return Err(NotificationMessage::new(NotificationCode::UpdateMessage, fault.error.subcode, data));
        }
        note(&|| format!("attribute {}: error 3/{}", fault.type_code, fault.error.subcode));
        strongest = strongest.max(Some(fault.error.disposition));
    }
    if count > FAULTS_TOLD {
        texts.push(format!("and {} more", count - FAULTS_TOLD));
    }
    if !texts.is_empty() {
        parts.push(Part::Forgiven(texts.join("; ")));
    }
    Ok((strongest == Some(ErrorDisposition::TreatAsWithdraw)).then_some(Rejection::Malformed))
}

fn withdraw(parts: &mut Vec<Part>, nlri: Nlri) {
    if !nlri.is_empty() {
        parts.push(Part::Withdraw(nlri));
    }
}

/// Routes of families that were not agreed on are ignored (RFC 4760 §7).
fn agreed(context: &Context<'_>, family: Option<Family>) -> Option<Family> {
    family.filter(|&family| context.speaks(family))
}

/// RFC 4271 §9.1.2; and that an external peer puts itself first (RFC 4271 §6.3).
fn looped(attributes: &Attributes, context: &Context<'_>) -> Option<Rejection> {
    if attributes.as_path.contains(&context.local_asn) {
        Some(Rejection::AsLoop)
    } else if !context.internal && attributes.neighbour_as() != Some(context.peer_asn) {
        Some(Rejection::FirstAs)
    } else {
        None
    }
}

fn notification(error: &DecodeError) -> NotificationMessage {
    let (code, subcode, data) = error.to_notification();
    NotificationMessage::new(code, subcode, data)
}

fn ipv4_net(entry: &Ipv4NlriEntry) -> IpNet {
    net(Prefix::V4(entry.prefix))
}

fn unicast(entries: &[NlriEntry]) -> Nlri {
    Nlri::Unicast(entries.iter().map(|entry| net(entry.prefix)).collect())
}

fn net(prefix: Prefix) -> IpNet {
    let (address, length) = match prefix {
        Prefix::V4(prefix) => (IpAddr::V4(prefix.addr), prefix.len),
        Prefix::V6(prefix) => (IpAddr::V6(prefix.addr), prefix.len),
    };
    // The codec lets no longer prefix through; the whole address is what a longer one would mean.
    IpNet::new(address, length).unwrap_or_else(|_| IpNet::from(address)).trunc()
}
