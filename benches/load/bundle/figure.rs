//! The figures by which runs are compared.

use serde_json::Value;

/// One of them.
#[derive(Debug)]
pub struct Figure {
    /// With its unit.
    pub name: &'static str,
    /// Where it stands in a report.
    pointer: &'static str,
    pub better: Better,
}

/// In which direction a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
}

const fn lower(name: &'static str, pointer: &'static str) -> Figure {
    Figure { name, pointer, better: Better::Lower }
}

const fn higher(name: &'static str, pointer: &'static str) -> Figure {
    Figure { name, pointer, better: Better::Higher }
}

/// All, in the order of tables.
pub const FIGURES: &[Figure] = &[
    lower("latency p50, µs", "/traffic/latency_us/p50"),
    lower("latency p99, µs", "/traffic/latency_us/p99"),
    lower("CPU of a delivery, ns", "/traffic/broker/cpu_ns_per_delivery"),
    higher("deliveries a second", "/traffic/delivered_per_second"),
    lower("p99 with a slow reader ÷ quiet", "/slow/p99_ratio"),
    lower("p99 in a storm ÷ quiet", "/storm/p99_ratio"),
    higher("connections a second, in a storm", "/storm/connections_per_second"),
    lower("CPU of a connection, ns", "/connect/broker/cpu_ns_per_connection"),
    lower("memory of a connection, B", "/connect/broker/anonymous_per_connection"),
];

impl Figure {
    /// Of a report. One that is 0 says nothing: ratios are compared. Nor does a share of a few connections.
    pub fn of(&self, report: &Value) -> Option<f64> {
        if self.pointer.starts_with("/connect/") && report.pointer("/connect/connections")?.as_u64()? < 100 {
            return None;
        }
        report.pointer(self.pointer)?.as_f64().filter(|value| *value > 0.0)
    }
}
