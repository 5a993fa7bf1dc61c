//! Three gateways, one of which is killed under traffic.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Cluster, ClusterOptions, Failure, Family, GapProbe, GapWindow, wait_until};

use crate::{Trial, print_indented};

const OVERLAYS: u32 = 100;
const PROBED: u16 = 8;
/// As many as by default.
const SHARDS: u16 = 256;
const GATEWAYS: [u8; 3] = [1, 2, 3];
const INTERVAL: Duration = Duration::from_millis(1);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 100;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How gateways hand over.
pub(crate) struct Mode {
    name: &'static str,
    /// Keys and tables of `[cluster]`.
    tables: String,
    /// What of it is one gateway's.
    groups: &'static str,
}

impl Mode {
    /// Both.
    pub(crate) fn all() -> [Self; 2] {
        let signed = Cluster::SIGNED_BFD;
        let floating = Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS) + signed;
        [
            Self { name: "floating", tables: floating, groups: "shards" },
            Self { name: "announce", tables: Cluster::ANNOUNCE.to_owned() + signed, groups: "overlays" },
        ]
    }
}

/// Interval of BFD with reflector and router, by which they notice a death: in mode `announce` they tell of it.
const BFD: Duration = Duration::from_millis(50);

/// Kills the gateway that serves most, while datagrams go to and fro every millisecond.
pub(crate) fn show(binary: &Path, mode: &Mode, trials: &mut Vec<Trial>) -> Result<(), Box<dyn Error>> {
    let Mode { name, tables, groups } = mode;
    println!(
        "Building another network: three gateways in mode {name}, {OVERLAYS} overlays, {PROBED} stations in them."
    );
    println!();
    println!("  stations ─ FRR ─┐               ┌─ gateway 1 ─┐");
    println!("                  ├── underlay ───┼─ gateway 2 ─┼─── uplink ─ FRR ─ outer host");
    println!("  FRR, reflector ─┘               └─ gateway 3 ─┘");
    println!();
    let options =
        ClusterOptions { overlays: OVERLAYS, probed: PROBED, bfd: Some(BFD), ..ClusterOptions::default() };
    let mut cluster = Cluster::build(binary, options)?;
    cluster.start_all(Family::V4, tables)?;
    let owners = owners_of(&cluster, &GATEWAYS)?;
    cluster.wait_open(PATIENCE)?;
    let served = |number: &u8| owners.iter().filter(|owner| *owner == number).count();
    let victim = GATEWAYS.into_iter().max_by_key(served).unwrap_or(GATEWAYS[0]);

    let ways =
        [("out of the overlays", cluster.egress_flows()), ("into the overlays", cluster.ingress_flows())];
    let flows: Vec<_> = ways.iter().flat_map(|(_, flows)| flows.clone()).collect();
    let probe = GapProbe::start(&flows, INTERVAL)?;
    probe.wait_flowing(ENOUGH, PATIENCE)?;
    let begin = cluster.gateway(victim).fail(Failure::Killed)?;
    let flowing = probe.wait_flowing(ENOUGH, PATIENCE);
    let window = probe.stop()?.window(begin, Instant::now());
    for (way, (what, _)) in ways.iter().enumerate() {
        let of_way = flows.len() / ways.len();
        trials.push(Trial {
            what: format!("gateway {victim} of 3 is killed ({name}): outage {what}, {of_way} flows"),
            seen: outage(&window, way * of_way..(way + 1) * of_way),
            ok: flowing.is_ok(),
        });
    }
    let rest: Vec<u8> = GATEWAYS.into_iter().filter(|&number| number != victim).collect();
    let after = owners_of(&cluster, &rest)?;
    let moved = owners.iter().zip(&after).filter(|(before, after)| before != after).count();
    trials.push(Trial {
        what: format!("gateway {victim} of 3 is killed ({name}): {groups} that have another owner"),
        seen: format!("{moved} of {}; it had {}", owners.len(), served(&victim)),
        ok: moved >= served(&victim),
    });
    for what in ["cluster", "bfd"] {
        println!("vxgate show {what}, at gateway {}:", rest[0]);
        print_indented(&cluster.gateway(rest[0]).gateway.show_table(what)?);
        println!();
    }
    Ok(())
}

/// Waits until the gateways that run agree who serves what, and each has about its share.
fn owners_of(cluster: &Cluster, running: &[u8]) -> lab::Result<Vec<u8>> {
    wait_until("an owner of each overlay", PATIENCE, || {
        let owners = cluster.owners(running)?;
        let of = |number: u8| owners.iter().filter(|owner| **owner == number).count();
        let counts: Vec<usize> = running.iter().map(|&number| of(number)).collect();
        let is_spread = counts.iter().all(|count| count * running.len() * 2 > owners.len());
        if is_spread { Ok(owners) } else { Err(format!("of each: {counts:?}")) }
    })
}

/// The longest gap of those flows, and how much was lost.
fn outage(window: &GapWindow, flows: std::ops::Range<usize>) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let flows = &window.flows[flows];
    let longest = flows.iter().map(|flow| flow.gap_length()).max().unwrap_or_default();
    let hit = flows.iter().filter(|flow| flow.lost() > 0).count();
    let lost: u64 = flows.iter().map(|flow| flow.lost()).sum();
    let twice: u64 = flows.iter().map(|flow| flow.duplicates).sum();
    format!(
        "{:.0} ms at most ({hit} flows lost {lost} datagrams, {twice} came twice; the probe stood still {:.0} ms)",
        ms(longest),
        ms(window.sender_gap.max(window.receiver_gap))
    )
}
