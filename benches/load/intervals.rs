//! Confidence intervals by ranks: they hold whatever the distribution of the noise, which on shared machines has a long
//! tail, and they are exact for the few samples that a run of minutes gives.
//!
//! - [`paired`]: samples taken side by side; the Hodges-Lehmann estimate and the interval that inverts Wilcoxon's
//!   signed-rank test. It needs differences that are symmetric where nothing differs, which holds by itself when each pair
//!   is run in random order.
//! - [`apart`]: samples of two occasions; the shift, and the interval that inverts the test of Mann and Whitney.
//!
//! Hollander, Wolfe and Chicken, *Nonparametric Statistical Methods*, 3rd edition, sections 3.2, 3.3, 4.2 and 4.3.

use serde::Serialize;

use crate::histogram::median;

/// An estimate, and between which values the truth lies with the confidence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub estimate: f64,
    pub high: f64,
}

impl Interval {
    /// The same of the exponentials: logarithms of ratios become ratios.
    pub fn exp(self) -> Interval {
        Interval { low: self.low.exp(), estimate: self.estimate.exp(), high: self.high.exp() }
    }
}

/// Of differences of pairs; none where there are too few for this confidence (0 to 1).
pub fn paired(differences: &[f64], confidence: f64) -> Option<Interval> {
    let count = differences.len();
    let mut averages = Vec::with_capacity(count * (count + 1) / 2);
    for (at, one) in differences.iter().enumerate() {
        averages.extend(differences[at..].iter().map(|other| f64::midpoint(*one, *other)));
    }
    between(averages, &signed_ranks(count), confidence)
}

/// Of how much the second samples are above the first; none where there are too few for this confidence (0 to 1).
pub fn apart(first: &[f64], second: &[f64], confidence: f64) -> Option<Interval> {
    let differences = second.iter().flat_map(|after| first.iter().map(move |before| after - before)).collect();
    between(differences, &rank_sums(first.len(), second.len()), confidence)
}

/// The fewest pairs that give an interval.
pub fn pairs_min(confidence: f64) -> usize {
    (1..).find(|count| 2.0 * 0.5_f64.powi(*count) <= 1.0 - confidence).expect("powers of a half fall below it") as usize
}

/// Cuts as many values off both ends as the distribution of the statistic allows.
fn between(mut values: Vec<f64>, probabilities: &[f64], confidence: f64) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    let (mut cut, mut tail) = (0_usize, 0.0);
    for probability in probabilities {
        tail += probability;
        // Rounding may not cost the last one that fits.
        if 2.0 * tail > (1.0 - confidence) * (1.0 + 1e-9) {
            break;
        }
        cut += 1;
    }
    let low = *values.get(cut.checked_sub(1)?)?;
    let high = *values.get(values.len() - cut)?;
    Some(Interval { low, estimate: median(values)?, high })
}

/// The distribution of the sum of those ranks of 1 to `count` whose difference is positive, each with a probability of a
/// half.
fn signed_ranks(count: usize) -> Vec<f64> {
    let mut of = vec![0.0; count * (count + 1) / 2 + 1];
    of[0] = 1.0;
    for rank in 1..=count {
        for sum in (0..of.len()).rev() {
            of[sum] = 0.5 * (of[sum] + if sum >= rank { of[sum - rank] } else { 0.0 });
        }
    }
    of
}

/// The distribution of the number of pairs in which the one of `second` samples is above the one of `first`, where all
/// orders are alike.
fn rank_sums(first: usize, second: usize) -> Vec<f64> {
    let mut rows = vec![vec![1.0]; second + 1];
    for m in 1..=first {
        let mut next = vec![vec![1.0]];
        for n in 1..=second {
            // The largest of all is one of the first (it is above nothing), or of the second (above m).
            let (one, other) = (m as f64 / (m + n) as f64, n as f64 / (m + n) as f64);
            let at = |of: &Vec<f64>, sum: Option<usize>| sum.and_then(|sum| of.get(sum)).copied().unwrap_or(0.0);
            let sums =
                (0..=m * n).map(|sum| one * at(&rows[n], Some(sum)) + other * at(&next[n - 1], sum.checked_sub(m)));
            let of = sums.collect();
            next.push(of);
        }
        rows = next;
    }
    rows.swap_remove(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tails of both statistics as they stand in the tables of the book.
    #[test]
    fn tails_as_in_tables() {
        let tail = |of: &[f64], to: usize| of[..=to].iter().sum::<f64>();
        assert!((signed_ranks(10).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((tail(&signed_ranks(10), 8) - 0.0244).abs() < 5e-5);
        assert!((tail(&signed_ranks(6), 0) - 1.0 / 64.0).abs() < 1e-12);
        assert!((tail(&rank_sums(5, 5), 2) - 0.0159).abs() < 5e-5);
        assert!((tail(&rank_sums(3, 4), 0) - 1.0 / 35.0).abs() < 1e-12);
        assert!((rank_sums(7, 4).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    /// Intervals hold the estimate, and there is none of too few samples.
    #[test]
    fn few_samples_say_nothing() {
        assert_eq!(pairs_min(0.95), 6);
        assert_eq!(paired(&[1.0; 5], 0.95), None);
        assert_eq!(paired(&[1.0; 6], 0.95), Some(Interval { low: 1.0, estimate: 1.0, high: 1.0 }));
        let shifted = paired(&[0.9, 1.1, 1.0, 1.2, 0.8, 1.3, 0.7, 100.0], 0.95).unwrap();
        assert!(0.7 <= shifted.low && shifted.low < 1.0 && shifted.estimate < 1.3, "{shifted:?}");
        assert_eq!(apart(&[1.0, 2.0], &[3.0, 4.0], 0.95), None);
        let shifted = apart(&[1.0, 2.0, 3.0, 4.0, 5.0], &[11.0, 12.0, 13.0, 14.0, 15.0], 0.95).unwrap();
        assert_eq!((shifted.low, shifted.estimate, shifted.high), (7.0, 10.0, 13.0));
        assert_eq!(apart(&[], &[1.0], 0.95), None);
    }

    /// Of many comparisons of the same with the same, no more than the confidence allows see a difference: with noise
    /// of a long tail, and with a machine that gets slower while they run.
    #[test]
    fn the_same_does_not_differ() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut noise = move |drift: f64| {
            let tail = if random.f64() < 0.1 { 10.0 * random.f64() } else { 0.0 };
            (1.0 + random.f64() + tail) * drift
        };
        let (mut side_by_side, mut one_by_one) = (0, 0);
        const TIMES: usize = 2000;
        for _ in 0..TIMES {
            let differences: Vec<f64> = (0..12)
                .map(|pair| {
                    let drift = 1.0 + f64::from(pair) / 4.0;
                    (noise(drift) / noise(drift)).ln()
                })
                .collect();
            let of = paired(&differences, 0.95).unwrap();
            side_by_side += usize::from(of.low > 0.0 || of.high < 0.0);
            let samples: Vec<f64> = (0..16).map(|_| noise(1.0)).collect();
            let of = apart(&samples[..8], &samples[8..], 0.95).unwrap();
            one_by_one += usize::from(of.low > 0.0 || of.high < 0.0);
        }
        assert!(side_by_side < TIMES * 6 / 100 && one_by_one < TIMES * 6 / 100, "{side_by_side} {one_by_one}");
        assert!(side_by_side > TIMES / 100 && one_by_one > TIMES / 100, "{side_by_side} {one_by_one}");
    }
}
