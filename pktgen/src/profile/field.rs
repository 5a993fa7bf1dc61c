//! Fields that change: what value a field of a header has is a pure function of the packet's position in its stream,
//! so that a receiver can tell what a packet was that never came.

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::de::value::{I64Deserializer, MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wire::MacAddr;

use super::value::Value;

/// The values that a field takes in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    values: Values,
    /// Packets that a value stays for; at least 1.
    every: u64,
    order: Order,
}

/// None of them is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    Range { first: u128, step: u64, count: u64 },
    List(Box<[u128]>),
}

/// Values that follow each other by steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) first: u128,
    pub(crate) step: u64,
    pub(crate) count: u64,
    pub(crate) order: Order,
}

/// Which value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after the other, and from the start again.
    Count,
    /// Any, drawn by a hash of this key and the position.
    Random { key: Key },
}

/// What draws depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Draws of its own.
    Own,
    /// The draws of all fields of a stream that name this number.
    Shared(u32),
    /// One that the seed was mixed into.
    Ready(u64),
}

impl Field {
    /// Always the same value.
    pub const fn fixed(value: u128) -> Self {
        Self { values: Values::Range { first: value, step: 0, count: 1 }, every: 1, order: Order::Count }
    }

    /// These values in turn.
    ///
    /// # Panics
    /// If there is none.
    pub fn list(values: impl Into<Box<[u128]>>) -> Self {
        let values = values.into();
        assert!(!values.is_empty(), "a field has a value");
        Self { values: Values::List(values), every: 1, order: Order::Count }
    }

    /// From `first` to `last`, or the last before it that is a number of steps away; `None` if there is no value, or
    /// there are more than 64 bits count.
    pub fn range(first: u128, last: u128, step: u64) -> Option<Self> {
        let steps = last.checked_sub(first)?.checked_div(step.into())?;
        let count = u64::try_from(steps).ok()?.checked_add(1)?;
        Some(Self { values: Values::Range { first, step, count }, every: 1, order: Order::Count })
    }

    /// MAC addresses as a profile or the command line writes them: one, a range, or a list with commas.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn macs(text: &str) -> Result<Self, String> {
        from_text::<MacAddr>(text)
    }

    /// As [`macs`](Self::macs), of IPv4 addresses.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn ipv4(text: &str) -> Result<Self, String> {
        from_text::<Ipv4Addr>(text)
    }

    /// As [`macs`](Self::macs), of IPv6 addresses.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn ipv6(text: &str) -> Result<Self, String> {
        from_text::<Ipv6Addr>(text)
    }

    /// The value, if it never changes.
    pub fn constant(&self) -> Option<u128> {
        (self.count() == 1).then(|| self.nth(0))
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        match &self.values {
            Values::Range { count, .. } => *count,
            Values::List(list) => list.len() as u64,
        }
    }

    /// The value of a packet.
    pub fn at(&self, position: u64) -> u128 {
        self.nth(self.index(position))
    }

    /// The largest value.
    pub(crate) fn largest(&self) -> u128 {
        match &self.values {
            Values::Range { count, .. } => self.nth(count - 1),
            Values::List(list) => list.iter().copied().max().unwrap_or(0),
        }
    }

    /// As a range with one value a packet, if it is one.
    pub(crate) fn as_range(&self) -> Option<Range> {
        match self.values {
            Values::Range { first, step, count } if self.every == 1 => {
                Some(Range { first, step, count, order: self.order })
            }
            _ => None,
        }
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = u128> {
        (0..self.count()).map(|index| self.nth(index))
    }

    /// The value with this number, which must be below [`count`](Self::count).
    #[inline]
    pub(crate) fn nth(&self, index: u64) -> u128 {
        match &self.values {
            Values::Range { first, step, .. } => first + u128::from(*step) * u128::from(index),
            Values::List(list) => list[index as usize],
        }
    }

    /// As [`nth`](Self::nth), the low 64 bits.
    #[inline]
    pub(crate) fn nth_low(&self, index: u64) -> u64 {
        match &self.values {
            Values::Range { first, step, .. } => (*first as u64).wrapping_add(step.wrapping_mul(index)),
            Values::List(list) => list[index as usize] as u64,
        }
    }

    fn index(&self, position: u64) -> u64 {
        let turn = position / self.every;
        match self.draw(turn) {
            Some(index) => index,
            None => turn % self.count(),
        }
    }

    /// The number of the value at a turn, if it is drawn.
    #[inline]
    fn draw(&self, turn: u64) -> Option<u64> {
        let Order::Random { key: Key::Ready(key) } = self.order else { return None };
        Some(((u128::from(mix(key.wrapping_add(turn))) * u128::from(self.count())) >> 64) as u64)
    }

    /// Makes draws depend on the seed, and on the field's number in its stream if it shares them with none.
    pub(super) fn seed(&mut self, seed: u64, number: u32) {
        if let Order::Random { key } = &mut self.order {
            let kind = match *key {
                Key::Own => u64::from(number),
                Key::Shared(shared) => 1 << 32 | u64::from(shared),
                Key::Ready(_) => return,
            };
            *key = Key::Ready(mix(seed ^ mix(kind)));
        }
    }
}

/// A bijection without pattern (the finaliser of SplitMix64: Steele, Lea and Flood 2014).
#[inline]
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Goes through a field's values without dividing, as long as positions come one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Number of the value, where it counts; of the turn, where it is drawn.
    index: u64,
    /// Packets that this turn has had.
    phase: u64,
    /// Turns and packets from one position to the next.
    stride: (u64, u64),
}

impl Walk {
    /// Stands at `position`; each [`next`](Self::next) goes `stride` positions on.
    pub(crate) fn new(field: &Field, position: u64, stride: u64) -> Self {
        let turn = position / field.every;
        let turns = stride / field.every;
        let (index, turns) = match field.order {
            Order::Count => (turn % field.count(), turns % field.count()),
            Order::Random { .. } => (turn, turns),
        };
        Self { index, phase: position % field.every, stride: (turns, stride % field.every) }
    }

    /// The number of the value here; then goes on.
    #[inline]
    pub(crate) fn next(&mut self, field: &Field) -> u64 {
        let here = field.draw(self.index);
        let index = self.index;
        self.phase += self.stride.1;
        self.index = self.index.wrapping_add(self.stride.0);
        if self.phase >= field.every {
            self.phase -= field.every;
            self.index = self.index.wrapping_add(1);
        }
        match here {
            Some(drawn) => drawn,
            None => {
                // Below twice the count: the stride is below it, and index was.
                if self.index >= field.count() {
                    self.index -= field.count();
                }
                index
            }
        }
    }
}

/// Reads a field whose values are of `V`.
pub(super) fn of<'de, V: Value, D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
    deserializer.deserialize_any(Forms(PhantomData::<V>))
}

/// As [`of`], for keys that may be left out.
pub(super) fn maybe<'de, V: Value, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Field>, D::Error> {
    of::<V, D>(deserializer).map(Some)
}

/// Reads a value, the first and the last with a hyphen, or several with commas.
fn from_text<V: Value>(text: &str) -> Result<Field, String> {
    if text.contains(',') {
        let values =
            text.split(',').map(|part| V::from_text(part).map(V::bits)).collect::<Result<Vec<_>, _>>()?;
        return Ok(Field::list(values));
    }
    match text.split_once('-') {
        Some((first, last)) => range(V::from_text(first)?, V::from_text(last)?, 1),
        None => V::from_text(text).map(|value| Field::fixed(value.bits())),
    }
}

fn range<V: Value>(from: V, to: V, step: u64) -> Result<Field, String> {
    if step == 0 {
        return Err("a step of 0 goes nowhere: take 1 or more".into());
    }
    let (first, last) = (from.bits(), to.bits());
    if first > last {
        return Err("the range ends before it begins: swap from and to".into());
    }
    Field::range(first, last, step).ok_or_else(|| "the range has more than 2^64 values: raise step".into())
}

/// A value that is written as a number or a text.
struct Written<V>(V);

impl<'de, V: Value> Deserialize<'de> for Written<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<V>(PhantomData<V>);

        impl<V: Value> Visitor<'_> for Either<V> {
            type Value = V;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(V::WHAT)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<V, E> {
                V::from_number(number).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<V, E> {
                V::from_text(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

#[derive(Clone, Copy, Deserialize, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum OrderName {
    #[default]
    Count,
    Random,
}

/// The long form of a field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "V: Value")]
struct Table<V> {
    from: Option<Written<V>>,
    to: Option<Written<V>>,
    step: Option<u64>,
    list: Option<Vec<Written<V>>>,
    every: Option<u64>,
    #[serde(default)]
    order: OrderName,
    key: Option<u32>,
}

impl<V: Value> Table<V> {
    fn field(self) -> Result<Field, String> {
        let mut field = match (self.from, self.to, self.list, self.step) {
            (Some(from), Some(to), None, step) => range(from.0, to.0, step.unwrap_or(1))?,
            (None, None, Some(list), None) => from_list(list)?,
            _ => return Err("write from and to (and step), or list".into()),
        };
        field.every = match self.every {
            Some(0) => return Err("every = 0 packets is never: take 1 or more".into()),
            every => every.unwrap_or(1),
        };
        field.order = match (self.order, self.key) {
            (OrderName::Count, None) => Order::Count,
            (OrderName::Random, None) => Order::Random { key: Key::Own },
            (OrderName::Random, Some(key)) => Order::Random { key: Key::Shared(key) },
            (OrderName::Count, Some(_)) => {
                return Err("a key is for order = \"random\": add that, or remove key".into());
            }
        };
        Ok(field)
    }
}

fn from_list<V: Value>(list: Vec<Written<V>>) -> Result<Field, String> {
    match list.is_empty() {
        true => Err("an empty list: name at least one value".into()),
        false => Ok(Field::list(list.into_iter().map(|value| value.0.bits()).collect::<Vec<_>>())),
    }
}

struct Forms<V>(PhantomData<V>);

impl<'de, V: Value> Visitor<'de> for Forms<V> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, a range \"A-B\", a list of values, or {{ from = A, to = B }}", V::WHAT)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Field, E> {
        let Written(value) = Written::<V>::deserialize(I64Deserializer::<E>::new(number))?;
        Ok(Field::fixed(value.bits()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
        from_text::<V>(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field, A::Error> {
        let list = Vec::<Written<V>>::deserialize(SeqAccessDeserializer::new(list))?;
        from_list(list).map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field, A::Error> {
        let table = Table::<V>::deserialize(MapAccessDeserializer::new(map))?;
        table.field().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::value::Number;

    #[derive(Deserialize)]
    struct File {
        #[serde(deserialize_with = "of::<Number<65535>, _>")]
        field: Field,
    }

    fn field(text: &str) -> Field {
        let file: File = toml::from_str(&format!("field = {text}")).unwrap();
        let mut field = file.field;
        field.seed(1, 7);
        field
    }

    fn first(text: &str, count: u64) -> Vec<u128> {
        let field = field(text);
        (0..count).map(|position| field.at(position)).collect()
    }

    #[test]
    fn forms() {
        assert_eq!(first("5", 3), [5, 5, 5]);
        assert_eq!(first("\"5-6\"", 3), [5, 6, 5]);
        assert_eq!(first("[9, 1, 9]", 4), [9, 1, 9, 9]);
        assert_eq!(first("\"9, 1\"", 3), [9, 1, 9]);
        assert_eq!(first("{ from = 1, to = 8, step = 3 }", 4), [1, 4, 7, 1]);
        assert_eq!(first("{ from = 1, to = 2, every = 2 }", 5), [1, 1, 2, 2, 1]);
        assert_eq!(first("{ list = [3, 4] }", 3), [3, 4, 3]);
    }

    #[test]
    fn draws_differ_by_field_and_are_shared_by_key() {
        let random = "{ from = 0, to = 65535, order = \"random\" }";
        let keyed = "{ from = 0, to = 65535, order = \"random\", key = 3 }";
        let drawn = |text: &str, number| {
            let mut field = toml::from_str::<File>(&format!("field = {text}")).unwrap().field;
            field.seed(1, number);
            (0..64).map(|position| field.at(position)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(random, 1), drawn(random, 1));
        assert_ne!(drawn(random, 1), drawn(random, 2));
        assert_eq!(drawn(keyed, 1), drawn(keyed, 2));
        let distinct: std::collections::HashSet<_> = drawn(random, 1).into_iter().collect();
        assert!(distinct.len() > 60);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| {
            let error =
                toml::from_str::<File>(&format!("field = {text}")).map(|file| file.field).unwrap_err();
            error.message().to_owned()
        };
        assert!(wrong("70000").contains("from 0 to 65535"));
        assert!(wrong("\"6-5\"").contains("swap"));
        assert!(wrong("[]").contains("at least one"));
        assert!(wrong("{ from = 1 }").contains("from and to"));
        assert!(wrong("{ from = 1, to = 2, step = 0 }").contains("1 or more"));
        assert!(wrong("{ from = 1, to = 2, every = 0 }").contains("1 or more"));
        assert!(wrong("{ from = 1, to = 2, key = 2 }").contains("random"));
        assert!(wrong("{ from = 1, to = 2, until = 2 }").contains("until"));
    }

    proptest! {
        #[test]
        fn a_walk_goes_where_division_says(
            count in 1_u64..40, every in 1_u64..9, start in 0_u64..1000, stride in 1_u64..50, random: bool,
        ) {
            let mut field = Field::range(10, 10 + u128::from(count) - 1, 1).unwrap();
            field.every = every;
            if random {
                field.order = Order::Random { key: Key::Own };
                field.seed(3, 4);
            }
            let mut walk = Walk::new(&field, start, stride);
            for step in 0..100 {
                prop_assert_eq!(field.nth(walk.next(&field)), field.at(start + step * stride));
            }
        }
    }
}
