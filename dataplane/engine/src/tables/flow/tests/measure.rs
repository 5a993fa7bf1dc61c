//! Figures, printed: `cargo test --release -p vxgate-engine flow::tests::measure -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

const KEYS: u32 = 3_000_000;

fn key(n: u32) -> FlowKey {
    let vni = Vni::new(n / 48 % 65_536 + 1).unwrap();
    let [a, b, c, d] = (n / 3).to_be_bytes();
    match n % 3 {
        0 => FlowKey::mac(vni, MacAddr([2, 0, a, b, c, d])),
        1 => FlowKey::address(vni, std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 3).into()),
        _ => FlowKey::address(vni, std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n / 3)).into()),
    }
}

/// Numbers below `KEYS` in an order without a pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) * u64::from(KEYS) >> 32) as u32
    }
}

fn each<T>(name: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{name:40} {:8.1} ns", start.elapsed().as_secs_f64() * 1e9 / count as f64);
    result
}

fn batches(reader: &mut FlowReader, keys: &[FlowKey]) -> usize {
    let mut found = 0;
    for keys in keys.as_chunks::<64>().0 {
        {
            let view = reader.view();
            let hashes = keys.map(|key| {
                let hash = view.hash(key);
                view.prefetch(hash);
                hash
            });
            let candidates = hashes.map(|hash| view.candidate(hash));
            for n in 0..64 {
                found += usize::from(black_box(view.flow(keys[n], hashes[n], candidates[n])).is_some());
            }
        }
        reader.quiesce();
    }
    found
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    let keys: Vec<FlowKey> = (0..KEYS).map(key).collect();
    let (mut writer, readers) = flow_table(4_000_000, 2, SECRET).unwrap();
    let mut reader = readers.reader().unwrap();
    each("insert 3 M, with growth", keys.len(), || {
        for (n, key) in keys.iter().enumerate() {
            writer.insert(*key, flow(n as u32)).unwrap();
        }
    });
    println!("{:?}", writer.statistics());
    let mut random = Random(0x1234_5678_9abc_def1);
    let some: Vec<u32> = (0..1 << 20).map(|_| random.next()).collect();
    each("move, random order", some.len(), || {
        for n in &some {
            writer.insert(keys[*n as usize], flow(n + 1)).unwrap();
        }
    });
    let asked: Vec<FlowKey> = (0..1 << 22).map(|_| keys[random.next() as usize]).collect();
    for _ in 0..3 {
        let found = each("look up, batches of 64", asked.len(), || batches(&mut reader, &asked));
        assert_eq!(found, asked.len());
    }
    let absent: Vec<FlowKey> = (0..1 << 22).map(|_| key(KEYS + random.next())).collect();
    let found = each("look up what is absent", absent.len(), || batches(&mut reader, &absent));
    assert_eq!(found, 0);
    let hot = vec![asked[0]; 1 << 22];
    for _ in 0..3 {
        each("look up, one key, batches of 64", hot.len(), || batches(&mut reader, &hot));
    }
    each("look up, one key, one by one", hot.len(), || {
        let view = reader.view();
        for key in &hot {
            black_box(view.get(*key));
        }
    });
    reader.offline();
    each("remove, random order", some.len(), || {
        for n in &some {
            writer.remove(keys[*n as usize]);
        }
    });
    println!("{:?}", writer.statistics());
}
