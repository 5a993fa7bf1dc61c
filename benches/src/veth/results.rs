//! What was measured, as figures.

use vxgate_bench::frames::Shape;

use super::contender::{Contender, Kind};
use super::turn::Turn;
use crate::figure::{Figure, Goal, median};

/// A ratio of two contenders, each with so many overlays, and what it should be.
type Ratio = ((Kind, u32), (Kind, u32), Option<Goal>);

const RATIOS: [Ratio; 6] = [
    ((Kind::Vxgate, 1), (Kind::Reflector, 1), Some(Goal::AtLeast(0.85))),
    ((Kind::Vxgate, 1), (Kind::Kernel, 1), Some(Goal::AtLeast(1.4))),
    ((Kind::Vxgate, 100), (Kind::Kernel, 100), None),
    ((Kind::Vxgate, 1000), (Kind::Kernel, 1000), Some(Goal::AtLeast(4.0))),
    ((Kind::Vxgate, 4000), (Kind::Kernel, 4000), None),
    ((Kind::Vxgate, 65_536), (Kind::Vxgate, 1), Some(Goal::AtLeast(0.9))),
];

/// All turns of one contender with one shape, by repetition.
struct Series {
    shape: String,
    who: (Kind, u32),
    turns: Vec<(usize, Turn)>,
}

/// All turns, in the order in which contenders and shapes first came.
#[derive(Default)]
pub(crate) struct Results {
    series: Vec<Series>,
}

impl Results {
    pub(crate) fn add(&mut self, repetition: usize, shape: Shape, contender: &Contender, turn: Turn) {
        let (shape, who) = (shape.to_string(), (contender.kind, contender.overlays));
        let of = self.series.iter_mut().find(|series| series.shape == shape && series.who == who);
        match of {
            Some(series) => series.turns.push((repetition, turn)),
            None => self.series.push(Series { shape, who, turns: vec![(repetition, turn)] }),
        }
    }

    /// Packets a second of a contender with a shape; not a number if there is none.
    pub(crate) fn rate(&self, shape: Shape, who: (Kind, u32)) -> f64 {
        let shape = shape.to_string();
        let of = self.series.iter().filter(|series| series.shape == shape && series.who == who);
        median_or_none(of.flat_map(Series::valid).map(|(_, turn)| turn.rate()))
    }

    /// Rates, each with what it took, then the ratios. What is void is in none; a figure of nothing is not a number, and
    /// meets no goal.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let rate = |series: &Series| {
            let (kind, overlays) = series.who;
            let name = format!("{}: {kind} {overlays}", series.shape);
            let rate = median_or_none(series.valid().map(|(_, turn)| 1e-3 * turn.rate()));
            Figure::new(name, rate, "kpps").note(series.note())
        };
        let rates = self.series.iter().map(rate);
        let mut shapes: Vec<&str> = self.series.iter().map(|series| series.shape.as_str()).collect();
        shapes.dedup();
        let ratios =
            shapes.iter().flat_map(|shape| RATIOS.iter().filter_map(|ratio| self.ratio(shape, ratio)));
        rates.chain(ratios).collect()
    }

    /// Taken inside each repetition.
    fn ratio(&self, shape: &str, &(ours, theirs, goal): &Ratio) -> Option<Figure> {
        let find = |who| self.series.iter().find(|series| series.shape == shape && series.who == who);
        let (our_series, their_series) = (find(ours)?, find(theirs)?);
        let ratios = our_series.valid().filter_map(|(repetition, our_turn)| {
            let (_, their_turn) = their_series.valid().find(|(other, _)| other == repetition)?;
            Some(our_turn.rate() / their_turn.rate())
        });
        let name = format!("{shape}: {} {} over {} {}", ours.0, ours.1, theirs.0, theirs.1);
        Some(Figure::new(name, median_or_none(ratios), "×").goal(goal))
    }
}

impl Series {
    fn valid(&self) -> impl Iterator<Item = &(usize, Turn)> {
        self.turns.iter().filter(|(_, turn)| turn.fault().is_none())
    }

    /// What a packet took of the core, and what is void.
    fn note(&self) -> String {
        let middle = |value: fn(&Turn) -> f64| median_or_none(self.valid().map(|(_, turn)| value(turn)));
        let void = match self.turns.len() - self.valid().count() {
            0 => String::new(),
            void => format!("; {void} of {} void", self.turns.len()),
        };
        let shares = [middle(Turn::refused_share), middle(Turn::wasted_share)];
        Turn::note_of(middle(Turn::reception_ns), middle(Turn::process_ns), shares) + &void
    }
}

fn median_or_none(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    if values.is_empty() { f64::NAN } else { median(values) }
}
