//! Curves of kept runs: latency by percentile, and figures by round.

use std::error::Error;

use plotters::chart::ChartBuilder;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, RGBColor};

use super::Bundle;
use super::figure::Figure;
use crate::histogram::Latencies;
use crate::suite::markdown::number;
use crate::suite::plot::{PAPER, dark, font, plain, ticks};

/// Colours that stand out on white and on black; they come round again.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xE5, 0x48, 0x4D),
    RGBColor(0x3E, 0x8E, 0xDE),
    RGBColor(0x30, 0xA4, 0x6C),
    RGBColor(0xC0, 0x8A, 0x2B),
    RGBColor(0x9A, 0x6D, 0xD7),
    RGBColor(0x8B, 0x94, 0x9E),
];
// In pixels.
const SIZE: (u32, u32) = (620, 380);
const LEGEND: (i32, i32) = (84, 44);
const LEGEND_LINE: i32 = 20;
/// The percentiles of the axis, and how far out the last one is.
const NINES: [(f64, &str); 6] =
    [(1.0, "0"), (2.0, "50"), (10.0, "90"), (100.0, "99"), (1000.0, "99.9"), (10_000.0, "99.99")];

/// The colour of the run with this number.
pub fn colour(number: usize) -> String {
    let RGBColor(red, green, blue) = COLOURS[number % COLOURS.len()];
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Latency against percentile, for each named run that has any.
pub fn percentiles(runs: &[(&str, &Latencies)]) -> Result<String, Box<dyn Error>> {
    let count = runs.iter().map(|(_, latencies)| latencies.len()).max().unwrap_or(0);
    // No further out than where a few values decide.
    let last = (count as f64 / 5.0).clamp(10.0, 10_000.0);
    let curves: Vec<Vec<(f64, f64)>> = runs.iter().map(|(_, latencies)| curve(latencies, last)).collect();
    let values = || curves.iter().flatten().map(|(_, us)| *us);
    let (low, high) = (values().fold(f64::INFINITY, f64::min) / 1.3, values().fold(0.0, f64::max) * 1.3);
    if high == 0.0 {
        return Ok(String::new());
    }
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        let nines = NINES.iter().map(|(out, _)| *out).filter(|out| *out <= last).collect();
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                (1.0..last).log_scale().with_key_points(nines),
                (low..high).log_scale().with_key_points(ticks(low, high)),
            )?;
        let label =
            |out: &f64| NINES.iter().find(|(of, _)| of == out).map_or(String::new(), |(_, name)| (*name).to_owned());
        plain(&mut chart.configure_mesh())
            .x_desc("percentile")
            .y_desc("µs")
            .x_label_formatter(&label)
            .y_label_formatter(&|us| number(*us).trim_end_matches(".00").trim_end_matches(".0").to_owned())
            .draw()?;
        for (at, curve) in curves.iter().enumerate() {
            chart.draw_series([PathElement::new(curve.clone(), COLOURS[at % COLOURS.len()].stroke_width(2))])?;
        }
        legend(&root, runs.iter().map(|(name, _)| *name))?;
        root.present()?;
    }
    Ok(dark(text))
}

/// Points of a curve: the latency that all but one in `x` values stay below.
fn curve(latencies: &Latencies, last: f64) -> Vec<(f64, f64)> {
    if latencies.is_empty() {
        return Vec::new();
    }
    const STEPS: u32 = 120;
    let out = (0..=STEPS).map(|step| last.powf(f64::from(step) / f64::from(STEPS)));
    out.map(|out| (out, latencies.at(1.0 - 1.0 / out))).collect()
}

/// One figure in each round of each run: does it drift, are there outliers?
pub fn rounds(figure: &Figure, runs: &[(&str, &Bundle)]) -> Result<String, Box<dyn Error>> {
    let samples: Vec<Vec<f64>> = runs.iter().map(|(_, bundle)| bundle.samples(figure)).collect();
    let values = || samples.iter().flatten().copied();
    let high = values().fold(0.0, f64::max) * 1.15;
    let longest = samples.iter().map(Vec::len).max().unwrap_or(0);
    if high == 0.0 || longest < 2 {
        return Ok(String::new());
    }
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (SIZE.0, 240)).into_drawing_area();
        root.fill(&PAPER)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(0.5..longest as f64 + 0.5, 0.0..high)?;
        plain(&mut chart.configure_mesh())
            .disable_x_mesh()
            .x_labels(longest.min(20))
            .x_desc("round")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| number(*y).trim_end_matches(".00").trim_end_matches(".0").to_owned())
            .draw()?;
        for (at, samples) in samples.iter().enumerate() {
            let points = (1..).zip(samples).map(|(round, value)| (f64::from(round), *value));
            let style = COLOURS[at % COLOURS.len()];
            chart.draw_series([PathElement::new(points.clone().collect::<Vec<_>>(), style.stroke_width(1))])?;
            chart.draw_series(points.map(|at| Circle::new(at, 3, style.filled())))?;
        }
        root.present()?;
    }
    Ok(dark(text))
}

fn legend<'a>(
    area: &plotters::drawing::DrawingArea<SVGBackend, plotters::coord::Shift>,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Box<dyn Error>> {
    let style = font(13).pos(Pos::new(HPos::Left, VPos::Center));
    for (at, name) in names.enumerate() {
        let (x, y) = (LEGEND.0, LEGEND.1 - LEGEND_LINE + at as i32 * LEGEND_LINE);
        area.draw(&Rectangle::new([(x, y - 2), (x + 20, y + 2)], COLOURS[at % COLOURS.len()].filled()))?;
        area.draw(&Text::new(name.to_owned(), (x + 28, y), style.clone()))?;
    }
    Ok(())
}
