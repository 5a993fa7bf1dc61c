//! Assignment against `assignment-vectors.txt`, which another implementation can check too.

use cluster::assign::{GatewayId, Key, Layout, Member, Members, ShardCount, Weight};

fn members(text: &str) -> Members {
    Members::new(text.split(',').map(|member| {
        let (id, weight) = member.split_once('=').unwrap();
        Member { id: id.parse().unwrap(), weight: Weight(weight.parse().unwrap()) }
    }))
    .unwrap()
}

fn ids(text: &str) -> Vec<GatewayId> {
    text.split(',').map(|id| id.parse().unwrap()).collect()
}

#[test]
fn vectors() {
    let mut seen = 0;
    for line in include_str!("assignment-vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        seen += 1;
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["hash", kind, number, gateway, hash, distance] => {
                let key = match kind {
                    "overlay" => Key::overlay(number.parse().unwrap()),
                    _ => Key::shard(number.parse().unwrap()),
                };
                let found = key.hash(gateway.parse().unwrap());
                assert_eq!(found.to_string(), hash, "{line}");
                assert_eq!(cluster::assign::distance(found).to_string(), distance, "{line}");
            }
            ["distance", hash, distance] => {
                let found = cluster::assign::distance(hash.parse().unwrap());
                assert_eq!(found.to_string(), distance, "{line}");
            }
            ["rank", vni, all, order] => {
                assert_eq!(members(all).rank(Key::overlay(vni.parse().unwrap())), ids(order), "{line}");
            }
            ["shard", shards, vni, shard] => {
                let shards = ShardCount::new(shards.parse().unwrap()).unwrap();
                assert_eq!(shards.shard_of(vni.parse().unwrap()).to_string(), shard, "{line}");
            }
            ["owners", shards, all, serving, owners] => {
                let layout = Layout::new(members(all), ShardCount::new(shards.parse().unwrap()).unwrap());
                let serving = ids(serving);
                assert_eq!(layout.owners(|id| serving.contains(&id)), Some(ids(owners)), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
    assert!(seen > 100, "{seen}");
}
