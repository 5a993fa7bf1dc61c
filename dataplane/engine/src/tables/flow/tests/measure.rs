//! Figures, printed: `cargo test --release -p vxgate-engine flow::tests::measure -- --ignored --nocapture`.

use std::hint::black_box;

use super::*;

const KEYS: u32 = 3_000_000;

fn key(n: u32) -> FlowKey {
    let vni = Vni::new(n / 48 % 65_536 + 1).unwrap();
    let [a, b, c, d] = (n / 3).to_be_bytes();
    match n % 3 {
        0 => FlowKey::mac(vni, MacAddr([2, 0, a, b, c, d])),
        1 => FlowKey::address(vni, std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 3).into()),
        _ => {
            FlowKey::address(vni, std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n / 3)).into())
        }
    }
}

/// Numbers below `KEYS` in an order without a pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(KEYS)) >> 32) as u32
    }
}

/// Nanoseconds that this thread had a processor: not those in which others had it.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn each<T>(name: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let start = processor_time();
    let result = work();
    println!("{name:40} {:8.1} ns", (processor_time() - start) as f64 / count as f64);
    result
}

fn batches(reader: &mut FlowReader, keys: &[FlowKey]) -> usize {
    let mut found = 0;
    for keys in keys.as_chunks::<64>().0 {
        reader.view().get_all(keys, |_, flow| {
            found += flow.map_or(0, |flow| black_box(usize::from(flow.mtu) | 1) & 1)
        });
        reader.quiesce();
    }
    found
}

/// What memory alone takes for as much: two dependent lines of arrays as large as the table's, fetched side by side.
fn two_lines(
    buckets: &sys::words::Words,
    records: &sys::words::Words,
    random: &mut Random,
    count: usize,
) -> u64 {
    let mut sum = 0;
    for _ in 0..count / 64 {
        let some: [usize; 64] = std::array::from_fn(|_| random.next() as usize);
        for at in some {
            sys::prefetch::read_at(buckets, at * 8 / 24 * 8);
        }
        for at in some {
            let value = buckets[at * 8 / 24 * 8].load(std::sync::atomic::Ordering::Relaxed) as usize;
            sys::prefetch::read_at(records, (at + value) * 4);
        }
        for at in some {
            sum += records[at * 4].load(std::sync::atomic::Ordering::Relaxed);
        }
    }
    sum
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
    let all: Vec<(FlowKey, Flow)> = keys.iter().enumerate().map(|(n, key)| (*key, flow(n as u32))).collect();
    let (mut bulk, _) = flow_table(4_000_000, 2, SECRET).unwrap();
    each("insert 3 M as one, with growth", keys.len(), || bulk.insert_all(&all).unwrap());
    drop(bulk);
    let mut random = Random(0x1234_5678_9abc_def1);
    let some: Vec<u32> = (0..1 << 20).map(|_| random.next()).collect();
    each("move, random order", some.len(), || {
        for n in &some {
            writer.insert(keys[*n as usize], flow(n + 1)).unwrap();
        }
    });
    let moves: Vec<(FlowKey, Flow)> = some.iter().map(|n| all[*n as usize]).collect();
    each("move as one, random order", moves.len(), || writer.insert_all(&moves).unwrap());
    each("move three by three, random order", moves.len() / 3 * 3, || {
        moves.chunks_exact(3).for_each(|three| writer.insert_all(three).unwrap());
    });
    let asked: Vec<FlowKey> = (0..1 << 22).map(|_| keys[random.next() as usize]).collect();
    for _ in 0..3 {
        let found = each("look up, batches of 64", asked.len(), || batches(&mut reader, &asked));
        assert_eq!(found, asked.len());
    }
    let arrays = [8_usize << 20, 12 << 20].map(|len| sys::words::Words::zeroed(len).unwrap());
    arrays
        .iter()
        .flat_map(|words| words.iter())
        .for_each(|word| word.store(0, std::sync::atomic::Ordering::Relaxed));
    each("two lines of such arrays", 1 << 22, || {
        black_box(two_lines(&arrays[0], &arrays[1], &mut random, 1 << 22))
    });
    drop(arrays);
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
