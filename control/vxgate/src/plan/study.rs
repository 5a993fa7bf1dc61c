//! How even chance is: the load-balance study of R. Wohlbold (2023), with our hash.
//!
//! A sample is a number of overlays, each with the rate of one station, and two gateways that HRW assigns them to. What
//! counts is the part of all traffic that the busier one carries. All arithmetic is by `libm`, so that a seed gives the
//! same figures on every machine.

use cluster::assign::{GatewayId, Key, Member, Members, Weight};
use fastrand::Rng;
use serde::Serialize;

/// Mbit/s that no station exceeds.
const HIGHEST_RATE: f64 = 1600.0;

/// Mbit/s of a station: 3.596 Gbit/s of 5 785 stations, Chaos Communication Camp 2019.
const MEAN_RATE: f64 = 0.6216;

/// Shapes of the log-normal distribution.
const SIGMAS: [f64; 3] = [1.0, 2.0, 4.0];

/// Numbers of overlays.
const OVERLAYS: [u32; 3] = [10, 100, 1000];

/// Numbers of cost levels.
const LEVELS: [u32; 9] = [1, 2, 3, 4, 8, 16, 32, 64, 256];

/// Overlays whose costs are drawn in a sample of ties.
const TIED_OVERLAYS: u32 = 100;

/// The figures.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Study {
    pub(super) samples: u32,
    pub(super) seed: u64,
    pub(super) shares: Vec<ShareRow>,
    pub(super) ties: Vec<TieRow>,
}

/// The busier gateway's part of all traffic, 1/2 to 1.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ShareRow {
    pub(super) sigma: f64,
    pub(super) mu: f64,
    pub(super) overlays: u32,
    pub(super) mean: f64,
    pub(super) quantiles: Quantiles,
}

/// Percentiles.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p5: f64,
    pub(super) p25: f64,
    pub(super) p50: f64,
    pub(super) p75: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

/// The part of the overlays that the gateway gets which wins all ties.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct TieRow {
    pub(super) levels: u32,
    pub(super) found: f64,
    pub(super) expected: f64,
}

/// All of it.
pub(super) fn study(samples: u32, seed: u64) -> Study {
    let mut rng = Rng::with_seed(seed);
    let mut shares = Vec::new();
    for sigma in SIGMAS {
        let rates = Rates::with_mean(MEAN_RATE, sigma);
        for overlays in OVERLAYS {
            let mut found = shares_of_the_busier(&rates, overlays, samples, &mut rng.fork());
            found.sort_unstable_by(f64::total_cmp);
            let mean = found.iter().sum::<f64>() / f64::from(samples);
            shares.push(ShareRow { sigma, mu: rates.mu, overlays, mean, quantiles: quantiles(&found) });
        }
    }
    let ties = LEVELS.map(|levels| TieRow {
        levels,
        found: share_with_ties(levels, samples, &mut rng.fork()),
        expected: 0.5 + 0.5 / f64::from(levels),
    });
    Study { samples, seed, shares, ties: ties.into() }
}

/// Of sorted samples, at least one.
fn quantiles(sorted: &[f64]) -> Quantiles {
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    Quantiles { p5: at(5), p25: at(25), p50: at(50), p75: at(75), p95: at(95), p99: at(99) }
}

/// A sample each.
fn shares_of_the_busier(rates: &Rates, overlays: u32, samples: u32, rng: &mut Rng) -> Vec<f64> {
    let [Some(first), Some(second)] = [1, 2].map(GatewayId::new) else { return Vec::new() };
    let gateways = [first, second].map(|id| Member { id, weight: Weight::default() });
    let Ok(gateways) = Members::new(gateways) else { return Vec::new() };
    let sample = |_| {
        let (mut of_first, mut all) = (0.0, 0.0);
        for _ in 0..overlays {
            let rate = rates.draw(rng);
            all += rate;
            if gateways.winner(Key::overlay(rng.u32(..))) == Some(first) {
                of_first += rate;
            }
        }
        f64::max(of_first, all - of_first) / all
    };
    (0..samples).map(sample).collect()
}

/// Two gateways draw a cost for each overlay; the lower one gets it, and the first if they are the same.
fn share_with_ties(levels: u32, samples: u32, rng: &mut Rng) -> f64 {
    let overlays = u64::from(samples) * u64::from(TIED_OVERLAYS);
    let won = (0..overlays).filter(|_| rng.u32(0..levels) <= rng.u32(0..levels)).count();
    won as f64 / overlays as f64
}

/// A log-normal distribution without what is above [`HIGHEST_RATE`].
#[derive(Debug)]
struct Rates {
    mu: f64,
    sigma: f64,
}

impl Rates {
    /// With `mu` such that the mean *after* the cut is `mean`, in Mbit/s.
    fn with_mean(mean: f64, sigma: f64) -> Self {
        // The mean grows with mu.
        let (mut low, mut high) = (-100.0, libm::log(HIGHEST_RATE));
        for _ in 0..100 {
            let mu = (low + high) / 2.0;
            match (Self { mu, sigma }).moment(1.0) < mean {
                true => low = mu,
                false => high = mu,
            }
        }
        Self { mu: low, sigma }
    }

    /// The mean of the rate to the power of `order`.
    fn moment(&self, order: f64) -> f64 {
        let (mu, sigma) = (self.mu, self.sigma);
        let cut = (libm::log(HIGHEST_RATE) - mu) / sigma;
        libm::exp(order * mu + (order * sigma) * (order * sigma) / 2.0) * normal_below(cut - order * sigma)
            / normal_below(cut)
    }

    /// One rate; what is above the cut is drawn again.
    fn draw(&self, rng: &mut Rng) -> f64 {
        loop {
            let rate = libm::exp(self.mu + self.sigma * normal(rng));
            if rate <= HIGHEST_RATE {
                return rate;
            }
        }
    }
}

/// The probability that a standard normal variable is below `x`.
fn normal_below(x: f64) -> f64 {
    libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}

/// A standard normal variable, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.f64()));
    radius * libm::cos(std::f64::consts::TAU * rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: u32 = 10_000;

    #[test]
    fn rates_have_the_mean_after_the_cut() {
        for sigma in SIGMAS {
            let rates = Rates::with_mean(MEAN_RATE, sigma);
            assert!((rates.moment(1.0) - MEAN_RATE).abs() < 1e-9, "{rates:?}");
            let mut rng = Rng::with_seed(1);
            let count = 200_000;
            let mean = (0..count).map(|_| rates.draw(&mut rng)).sum::<f64>() / f64::from(count);
            let deviation = (rates.moment(2.0) - MEAN_RATE * MEAN_RATE).sqrt() / f64::from(count).sqrt();
            assert!((mean - MEAN_RATE).abs() < 5.0 * deviation, "{sigma}: {mean} within {deviation}");
        }
    }

    /// With equal rates the busier one has the greater part of b tosses of a coin.
    #[test]
    fn equal_rates_are_tosses_of_a_coin() {
        let equal = Rates { mu: 0.0, sigma: 0.0 };
        let mean = |overlays| {
            let found = shares_of_the_busier(&equal, overlays, SAMPLES, &mut Rng::with_seed(2));
            found.iter().sum::<f64>() / f64::from(SAMPLES)
        };
        // 1/2 + C(b, b/2) / 2^(b+1), and five deviations of at most 1/(2 √b).
        for (overlays, expected) in [(2, 0.75), (10, 0.5 + 252.0 / 2048.0)] {
            let within = 5.0 * 0.5 / f64::from(overlays * SAMPLES).sqrt();
            assert!((mean(overlays) - expected).abs() < within, "{overlays}: {}", mean(overlays));
        }
    }

    #[test]
    fn ties_give_what_the_formula_says() {
        for row in study(SAMPLES / 10, 3).ties {
            let tosses = f64::from(SAMPLES / 10 * TIED_OVERLAYS);
            let deviation = (row.expected * (1.0 - row.expected) / tosses).sqrt();
            assert!((row.found - row.expected).abs() <= 5.0 * deviation, "{row:?}");
        }
    }

    /// What the source found: chance does from 100 overlays on up to σ = 2, and neither with 10 nor with σ = 4.
    #[test]
    fn the_findings_of_the_source() {
        let median = |sigma, overlays| {
            let rates = Rates::with_mean(MEAN_RATE, sigma);
            let mut found = shares_of_the_busier(&rates, overlays, SAMPLES / 10, &mut Rng::with_seed(4));
            found.sort_unstable_by(f64::total_cmp);
            quantiles(&found).p50
        };
        assert!(median(1.0, 100) < 0.56 && median(2.0, 1000) < 0.57, "even");
        assert!(median(2.0, 100) < 0.65);
        assert!(median(2.0, 10) > 0.7 && median(4.0, 100) > 0.7 && median(4.0, 10) > 0.85, "uneven");
        assert!(median(1.0, 10) > 0.58);
    }

    #[test]
    fn a_seed_replays() {
        assert_eq!(study(20, 5), study(20, 5));
        assert_ne!(study(20, 5).shares, study(20, 6).shares);
    }
}
