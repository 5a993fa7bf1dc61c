//! What a change of the cluster moves.

use std::collections::BTreeMap;

use cluster::assign::{GatewayId, Key, Layout, Member, Members, MembersError};
use serde::Serialize;

use super::PlanError;
use super::arguments::{ChangeArguments, Gateways, Mode};

/// All that is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) mode: Mode,
    pub(super) overlays: usize,
    /// In `floating` alone.
    pub(super) shards: Option<usize>,
    /// By id.
    pub(super) before: Vec<GatewayRow>,
    /// None if there is no change.
    pub(super) after: Option<Vec<GatewayRow>>,
    pub(super) moves: Option<Moves>,
    /// Empty unless asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) each: Vec<EachRow>,
}

/// What one gateway has.
#[derive(Debug, Serialize)]
pub(super) struct GatewayRow {
    pub(super) gateway: u16,
    pub(super) weight: u16,
    /// Its part of the weight of all, 0 to 1.
    pub(super) share: f64,
    pub(super) shards: Option<usize>,
    pub(super) overlays: usize,
    /// What it has over its share of the overlays, less 1; none without a share.
    pub(super) off: Option<f64>,
}

/// What moves.
#[derive(Debug, Serialize)]
pub(super) struct Moves {
    pub(super) overlays: usize,
    pub(super) shards: Option<usize>,
    /// The fewest overlays, or shards in `floating`, that must move to get from the counts before to those after.
    pub(super) least: usize,
    pub(super) ways: Vec<MoveRow>,
}

/// What moves from one gateway to another.
#[derive(Debug, Serialize)]
pub(super) struct MoveRow {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) shards: Option<usize>,
    pub(super) overlays: usize,
}

/// One overlay or shard.
#[derive(Debug, Serialize)]
pub(super) struct EachRow {
    /// In `announce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vni: Option<u32>,
    /// In `floating`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shard: Option<usize>,
    pub(super) overlays: usize,
    pub(super) before: u16,
    pub(super) after: Option<u16>,
    /// In `announce`: all gateways in the order of their cost, as it is after the change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) order: Vec<u16>,
}

/// What is assigned: overlays one by one, or shards with the overlays in them.
struct Unit {
    key: Key,
    overlays: usize,
}

/// Before and after, and what is between.
pub(super) fn report(arguments: &ChangeArguments, mut vnis: Vec<u32>) -> Result<Report, PlanError> {
    vnis.sort_unstable();
    vnis.dedup();
    let before = members(&arguments.gateways)?;
    let after = match &arguments.after[..] {
        [] => None,
        after => Some(members(after)?),
    };
    let units = units(arguments, &vnis);
    let owners = |members: &Members, serving: &Members, when| {
        let owners = match arguments.mode {
            Mode::Announce => units.iter().map(|unit| serving.winner(unit.key)).collect(),
            Mode::Floating => {
                let layout = Layout::new(members.clone(), arguments.shards);
                layout.owners(|id| serving.find(id).is_some())
            }
        };
        owners.ok_or(PlanError::Nobody(when))
    };
    let had = owners(&before, &before, "before")?;
    let has = match &after {
        Some(after) => Some(owners(&with_failed(after, &before)?, after, "after")?),
        None => None,
    };
    let floating = arguments.mode == Mode::Floating;
    let last = after.as_ref().unwrap_or(&before);
    let each = |(number, unit): (usize, &Unit)| EachRow {
        vni: (!floating).then(|| vnis[number]),
        shard: floating.then_some(number),
        overlays: unit.overlays,
        before: had[number].value(),
        after: has.as_ref().map(|has| has[number].value()),
        order: match floating {
            true => Vec::new(),
            false => last.rank(unit.key).into_iter().map(GatewayId::value).collect(),
        },
    };
    Ok(Report {
        mode: arguments.mode,
        overlays: vnis.len(),
        shards: floating.then_some(units.len()),
        before: rows(&before, &units, &had, floating),
        after: after.as_ref().zip(has.as_ref()).map(|(after, has)| rows(after, &units, has, floating)),
        moves: has.as_ref().map(|has| moves(&units, &had, has, floating)),
        each: match arguments.each {
            true => units.iter().enumerate().map(each).collect(),
            false => Vec::new(),
        },
    })
}

fn members(gateways: &[Gateways]) -> Result<Members, MembersError> {
    Members::new(gateways.iter().flat_map(Gateways::iter))
}

/// Those after the change and those that failed, who stay members.
fn with_failed(after: &Members, before: &Members) -> Result<Members, MembersError> {
    let failed = before.as_slice().iter().filter(|member| after.find(member.id).is_none());
    Members::new(after.as_slice().iter().chain(failed).copied())
}

fn units(arguments: &ChangeArguments, vnis: &[u32]) -> Vec<Unit> {
    match arguments.mode {
        Mode::Announce => vnis.iter().map(|&vni| Unit { key: Key::overlay(vni), overlays: 1 }).collect(),
        Mode::Floating => {
            let shards = 0..arguments.shards.value();
            let mut units: Vec<Unit> =
                shards.map(|shard| Unit { key: Key::shard(shard), overlays: 0 }).collect();
            for &vni in vnis {
                units[usize::from(arguments.shards.shard_of(vni))].overlays += 1;
            }
            units
        }
    }
}

fn rows(members: &Members, units: &[Unit], owners: &[GatewayId], floating: bool) -> Vec<GatewayRow> {
    let mut counts: BTreeMap<GatewayId, (usize, usize)> = BTreeMap::new();
    for (unit, &owner) in units.iter().zip(owners) {
        let (shards, overlays) = counts.entry(owner).or_default();
        *shards += 1;
        *overlays += unit.overlays;
    }
    let all: usize = units.iter().map(|unit| unit.overlays).sum();
    let row = |member: &Member| {
        let (shards, overlays) = counts.get(&member.id).copied().unwrap_or_default();
        let share = f64::from(member.weight.0) / f64::from(members.total_weight());
        let due = share * all as f64;
        GatewayRow {
            gateway: member.id.value(),
            weight: member.weight.0,
            share,
            shards: floating.then_some(shards),
            overlays,
            off: (due > 0.0).then(|| overlays as f64 / due - 1.0),
        }
    };
    members.as_slice().iter().map(row).collect()
}

fn moves(units: &[Unit], had: &[GatewayId], has: &[GatewayId], floating: bool) -> Moves {
    let mut ways: BTreeMap<(GatewayId, GatewayId), (usize, usize)> = BTreeMap::new();
    // What a gateway has more after than before.
    let mut gains: BTreeMap<GatewayId, i64> = BTreeMap::new();
    for ((unit, &from), &to) in units.iter().zip(had).zip(has).filter(|((_, from), to)| from != to) {
        let (shards, overlays) = ways.entry((from, to)).or_default();
        *shards += 1;
        *overlays += unit.overlays;
        *gains.entry(from).or_default() -= 1;
        *gains.entry(to).or_default() += 1;
    }
    let row = |(&(from, to), &(shards, overlays)): (&(GatewayId, GatewayId), &(usize, usize))| MoveRow {
        from: from.value(),
        to: to.value(),
        shards: floating.then_some(shards),
        overlays,
    };
    Moves {
        overlays: ways.values().map(|(_, overlays)| overlays).sum(),
        shards: floating.then(|| ways.values().map(|(shards, _)| shards).sum()),
        least: gains.values().filter(|&&gain| gain > 0).sum::<i64>() as usize,
        ways: ways.iter().map(row).collect(),
    }
}
