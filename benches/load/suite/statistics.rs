//! What several rounds say together.

use serde::{Deserialize, Serialize};

use crate::histogram::median;

/// The middle of some samples, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

impl Spread {
    /// Of these samples; none of none.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        Some(Spread {
            median: median(samples.to_vec())?,
            min: samples.iter().copied().reduce(f64::min)?,
            max: samples.iter().copied().reduce(f64::max)?,
            count: samples.len(),
        })
    }
}

/// One figure of one broker, by round; rounds without a valid run are not in it.
pub type Series = Vec<(u32, f64)>;

/// The figures without their rounds.
pub fn values(series: &Series) -> Vec<f64> {
    series.iter().map(|(_, value)| *value).collect()
}

/// Quotients of the rounds that both have.
pub fn ratios(above: &Series, below: &Series) -> Vec<f64> {
    let quotient = |(round, value): &(u32, f64)| {
        let (_, other) = below.iter().find(|(other, _)| other == round)?;
        (*other > 0.0).then(|| value / other)
    };
    above.iter().filter_map(quotient).collect()
}

/// For each round that all series have: the largest by the smallest of its values.
pub fn widths(all: &[Series]) -> Vec<f64> {
    let Some(first) = all.first() else { return Vec::new() };
    let width = |(round, _): &(u32, f64)| {
        let of_round = |series: &Series| series.iter().find(|(other, _)| other == round).map(|(_, value)| *value);
        let values = all.iter().map(of_round).collect::<Option<Vec<f64>>>()?;
        let spread = Spread::of(&values)?;
        (spread.min > 0.0).then_some(spread.max / spread.min)
    };
    first.iter().filter_map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Median and range of samples in any order.
    #[test]
    fn spread() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 7.0]), Some(Spread { median: 3.0, min: 1.0, max: 7.0, count: 3 }));
    }

    /// Ratios are taken round by round, and a round that one side lacks does not count.
    #[test]
    fn ratios_pair_rounds() {
        let own = vec![(0, 10.0), (1, 30.0), (3, 8.0)];
        let other = vec![(1, 10.0), (2, 1.0), (0, 5.0), (3, 0.0)];
        assert_eq!(ratios(&own, &other), [2.0, 3.0]);
    }

    /// The width of a round is the largest by the smallest over all points.
    #[test]
    fn widths_need_all_points() {
        let points = [vec![(0, 10.0), (1, 10.0)], vec![(0, 12.0), (1, 11.0)], vec![(0, 11.0)]];
        assert_eq!(widths(&points), [1.2]);
        assert_eq!(widths(&[]), [] as [f64; 0]);
    }
}
