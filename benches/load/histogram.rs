//! Latencies in HDR histograms, where every value counts and percentiles are exact to a tenth of a percent; and
//! medians.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::Serialize;

/// Finer than any clock that is read here, in nanoseconds; what is below counts as this.
const LATENCY_NS_MIN: u64 = 64;
/// Ten minutes; what is above counts as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Latencies of one kind, in nanoseconds.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        Latencies(Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3).expect("constant bounds that fit"))
    }

    /// Takes one.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(LATENCY_NS_MIN));
    }

    /// Takes all of another.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency at a quantile (0 to 1), in µs.
    pub fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// As HdrHistogram's V2 encoding has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).expect("a vector takes all, and counts fit");
        bytes
    }

    /// The inverse of [`Latencies::to_bytes`], also for histograms with other bounds.
    ///
    /// # Errors
    /// These are no such bytes.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Latencies, String> {
        let wrong = |error: &dyn std::fmt::Debug| format!("no histogram in HdrHistogram's V2 encoding: {error:?}");
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes).map_err(|error| wrong(&error))?;
        let mut all = Latencies::new();
        all.0.add(&read).map_err(|error| wrong(&error))?;
        Ok(all)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// What there is to say.
    pub fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: self.0.len(),
            min: self.0.min() as f64 / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

/// The middle sample, or the mean of the two middle ones; none of none.
pub fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(samples[middle]),
        _ => Some(f64::midpoint(samples[middle - 1], samples[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The median is the middle, or the mean of the two middle ones.
    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    /// Percentiles come back within the precision promised, and extremes saturate.
    #[test]
    fn percentiles_within_a_tenth_of_a_percent() {
        let mut latencies = Latencies::new();
        for us in 1..=10_000 {
            latencies.record(us * 1000);
        }
        let got = latencies.percentiles();
        assert_eq!(got.count, 10_000);
        for (value, want) in [(got.p50, 5000.0), (got.p99, 9900.0), (got.p999, 9990.0), (got.max, 10_000.0)] {
            assert!((value / want - 1.0_f64).abs() < 0.001, "{value} for {want}");
        }
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!(latencies.percentiles().count, 10_002);
    }
}
