//! Bad keys, full tables and readers that do not come back.

use super::*;

/// Under this secret, all keys of IPv4 addresses have the same hash.
pub(super) const BROKEN: Secret =
    Secret::fixed([0, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89]);

fn v4(n: u32) -> FlowKey {
    FlowKey::address(Vni::new(1).unwrap(), std::net::Ipv4Addr::from_bits(n).into())
}

fn mac(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    FlowKey::mac(Vni::new(1).unwrap(), MacAddr([2, 0, a, b, c, d]))
}

fn table(max_flows: usize, secret: Secret) -> (FlowWriter, FlowReaders) {
    flow_table(max_flows, 2, secret).unwrap()
}

#[test]
fn keys_of_equal_hash_are_refused_beyond_two_buckets_and_harm_no_others() {
    let (mut writer, readers) = table(100_000, BROKEN);
    let accepted = (0..10_000).filter(|n| writer.insert(v4(*n), flow(*n)).is_ok()).count();
    assert_eq!(accepted, 2 * SLOTS);
    assert_eq!(writer.statistics().growths, 0, "growth does not part them");
    for n in 0..90_000 {
        writer.insert(mac(n), flow(n)).unwrap();
        writer.insert(v4(n % 1000 + 500), flow(n)).unwrap_err();
    }
    let mut reader = readers.reader().unwrap();
    let view = reader.view();
    assert!((0..90_000).all(|n| view.get(mac(n)) == Some(flow(n))));
    assert_eq!((0..10_000).filter(|n| view.get(v4(*n)).is_some()).count(), 2 * SLOTS);
    let statistics = writer.statistics();
    // One that finds both buckets full while the table grows ends that growth.
    assert!(statistics.hurried <= statistics.growths, "{statistics:?}");
}

#[test]
fn a_table_takes_as_many_keys_as_it_was_made_for() {
    for max_flows in [0, 1, 7, 8, 1000, 50_000] {
        let (mut writer, _) = table(max_flows, SECRET);
        let count = max_flows as u32;
        assert!((0..count).all(|n| writer.insert(mac(n), flow(n)) == Ok(None)), "{max_flows}");
        assert_eq!(writer.insert(mac(count), flow(0)), Err(TableFull));
        assert!((0..count).all(|n| writer.insert(mac(n), flow(n + 1)) == Ok(Some(flow(n)))));
        assert!((0..count).all(|n| writer.get(mac(n)) == Some(flow(n + 1))));
        if count > 0 {
            assert_eq!(writer.remove(mac(0)), Some(flow(1)));
            assert_eq!(writer.insert(mac(count), flow(0)), Ok(None));
        }
    }
}

#[test]
fn a_reader_that_does_not_come_back_stops_replacements_and_nothing_else() {
    let (mut writer, readers) = table(64, SECRET);
    let mut reader = readers.reader().unwrap();
    writer.insert(mac(1), flow(1)).unwrap();
    let view = reader.view();
    let replaced = (2..1000).take_while(|n| writer.insert(mac(1), flow(*n)).is_ok()).count();
    // Spare records: 64, an eighth of those of the keys, and those of keys that are not there.
    assert_eq!(replaced, 64 + 8 + 63);
    assert_eq!(writer.insert(mac(2), flow(2)), Err(TableFull));
    assert!(view.get(mac(1)).is_some() && writer.get(mac(1)).is_some());
    assert!(writer.maintain(), "records are waiting");
    reader.offline();
    assert_eq!(writer.insert(mac(2), flow(2)), Ok(None));
    assert!(!writer.maintain());
}

#[test]
fn outgrown_arrays_are_kept_for_readers_and_given_back() {
    let (mut writer, readers) = table(100_000, SECRET);
    let mut reader = readers.reader().unwrap();
    let view = reader.view();
    assert!((0..20_000).all(|n| writer.insert(mac(n), flow(n)).is_ok()));
    while writer.statistics().growing {
        writer.maintain();
    }
    assert_eq!(view.get(mac(19_999)), None, "the view is older than the key, and its array too");
    let kept = writer.memory_bytes();
    assert!(writer.maintain());
    reader.quiesce();
    assert!(!writer.maintain());
    let buckets = writer.statistics().buckets;
    assert_eq!(kept - writer.memory_bytes(), (buckets - FIRST_BUCKETS) * 64);
    assert!((0..20_000).all(|n| reader.view().get(mac(n)) == Some(flow(n))));
}

#[test]
fn bounds_of_memory_hold() {
    let (mut writer, _) = table(200_000, SECRET);
    for n in 0..200_000 {
        writer.insert(mac(n), flow(n)).unwrap();
        writer.insert(mac(n), flow(n + 1)).unwrap();
    }
    while writer.maintain() {}
    let each = writer.memory_bytes() as f64 / 200_000.0;
    assert!(each < 32.0 + 64.0 / 7.0 * 8.0 / 5.0 * 2.0 + 1.0, "{each} bytes a key");
}

#[test]
fn many_keys_are_set_and_found_at_once() {
    let (mut writer, readers) = table(1000, SECRET);
    let flows: Vec<_> = (0..1000).map(|n| (mac(n), flow(n))).collect();
    writer.insert_all(&flows).unwrap();
    assert_eq!(writer.insert_all(&[(mac(5), flow(6)), (mac(2000), flow(0))]), Err(TableFull));
    let mut reader = readers.reader().unwrap();
    for count in [0, 1, 11, 12, 13, 24, 25, 64, 1000] {
        let keys: Vec<_> = (0..count).map(|n| mac(n * 2)).collect();
        let mut found = Vec::new();
        reader.view().get_all(&keys, |at, flow| found.push((at as u32, flow.map(seed))));
        let expected = (0..count).map(|n| (n, (n < 500).then_some(n * 2)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "but for key 5, which is odd");
    }
    assert_eq!(reader.view().get(mac(5)), Some(flow(6)), "set before the refusal");
}

#[test]
fn there_are_as_many_readers_as_the_table_was_made_for() {
    let (_writer, readers) = table(1, SECRET);
    let [first, _second] = [(); 2].map(|()| readers.reader().unwrap());
    assert!(readers.reader().is_none());
    drop(first);
    assert!(readers.clone().reader().is_some());
}
