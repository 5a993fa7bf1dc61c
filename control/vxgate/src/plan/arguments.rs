//! What `vxgate plan` is asked.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use cluster::assign::{GatewayId, Member, ShardCount, Weight};

use crate::cli::vni;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct PlanArguments {
    #[command(subcommand)]
    pub(super) question: Option<Question>,
    #[command(flatten)]
    pub(super) change: Option<ChangeArguments>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// How even the load is if chance assigns overlays: stations' rates are log-normal, two gateways share them.
    ///
    /// And how uneven it gets if gateways draw costs from few levels and one of them wins all ties. The same seed gives
    /// the same figures.
    Study(StudyArguments),
}

#[derive(Debug, Args)]
pub(super) struct ChangeArguments {
    /// Gateways before the change: ids, each with =WEIGHT if it is not 100, as in 1,2=50 or 1-10.
    #[arg(long, short, value_name = "LIST", value_delimiter = ',', value_parser = gateways, required = true)]
    pub(super) gateways: Vec<Gateways>,
    /// Gateways after the change, written in full.
    ///
    /// Who is missing has failed but stays a member; who is new or has another weight makes another list of members.
    #[arg(long, short, value_name = "LIST", value_delimiter = ',', value_parser = gateways)]
    pub(super) after: Vec<Gateways>,
    /// What is assigned.
    #[arg(long, short, value_enum, value_name = "MODE", default_value_t = Mode::Announce)]
    pub(super) mode: Mode,
    /// Overlays: VNIs and ranges.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = vnis, default_value = "1-65536")]
    pub(super) vnis: Vec<Vnis>,
    /// Configuration file (TOML) that has the overlays.
    #[arg(long, short, value_name = "FILE", conflicts_with = "vnis")]
    pub(super) config: Option<PathBuf>,
    /// Number of shards, the same on all gateways.
    #[arg(long, value_name = "N", value_parser = shards, default_value = "256")]
    pub(super) shards: ShardCount,
    /// Each overlay (with the order of its gateways), or each shard.
    #[arg(long)]
    pub(super) each: bool,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    pub(super) output: Form,
}

#[derive(Debug, Args)]
pub(super) struct StudyArguments {
    /// Samples of each distribution.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub(super) samples: NonZeroU32,
    /// Where the random numbers start.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) seed: u64,
    /// Also draw the figures into this file (SVG).
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    pub(super) output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Aligned columns.
    Table,
    /// One JSON object.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Overlays, by highest random weight.
    Announce,
    /// Shards, by quotas.
    Floating,
}

/// Gateways of one weight.
#[derive(Clone, Debug)]
pub(super) struct Gateways {
    ids: RangeInclusive<u16>,
    weight: Weight,
}

impl Gateways {
    pub(super) fn iter(&self) -> impl Iterator<Item = Member> {
        self.ids.clone().filter_map(GatewayId::new).map(|id| Member { id, weight: self.weight })
    }
}

/// Overlays that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Vnis(RangeInclusive<u32>);

impl Vnis {
    pub(super) fn iter(&self) -> RangeInclusive<u32> {
        self.0.clone()
    }
}

/// `1`, `1-10`, `1=50`, `1-10=50`.
fn gateways(text: &str) -> Result<Gateways, String> {
    let (ids, weight) = match text.split_once('=') {
        Some((ids, weight)) => (ids, weight.parse().map(Weight).map_err(|_| "a weight is from 0 to 65535")?),
        None => (text, Weight::default()),
    };
    let id = |text: &str| match text.parse::<GatewayId>() {
        Ok(id) => Ok(id.value()),
        Err(_) => Err("a gateway's id is a number from 1 to 65535".to_owned()),
    };
    Ok(Gateways { ids: range(ids, id)?, weight })
}

/// `7` or `1-65536`.
fn vnis(text: &str) -> Result<Vnis, String> {
    range(text, vni).map(Vnis)
}

fn range<T: PartialOrd + Copy>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<RangeInclusive<T>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse(first)?, parse(last)?);
    if first > last {
        return Err("a range is written with the lower number first".into());
    }
    Ok(first..=last)
}

fn shards(text: &str) -> Result<ShardCount, String> {
    let shards = text.parse().map_err(|_| cluster::assign::ShardCountError.to_string())?;
    ShardCount::new(shards).map_err(|error| error.to_string())
}
