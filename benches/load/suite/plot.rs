//! The curves as SVG: CPU of a delivery and latency, against messages in flight and against subscribers. Both axes are
//! logarithmic, so that a factor is the same distance everywhere. Bars reach from the lowest to the highest round.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::chart::{ChartBuilder, ChartContext, MeshStyle};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange, LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::Ranged;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::broker::{BROKERS, Broker};
use super::document::{Document, Figure};
use super::markdown;
use super::statistics::{Spread, values};

/// One file.
pub struct Plot {
    pub file: &'static str,
    pub title: &'static str,
    x: &'static str,
    panels: &'static [Panel],
}

/// One pair of axes.
struct Panel {
    title: &'static str,
    figure: Figure,
    points: &'static [Point],
}

/// Where a measure lies on the x axis.
type Point = (f64, &'static str);

const IN_FLIGHT: &[Point] = &[(1.0, "fanout-1"), (4.0, "fanout-4"), (16.0, "fanout-16"), (64.0, "fanout-64")];
const SUBSCRIBERS: &[Point] = &[
    (10.0, "subscribers-10-1"),
    (100.0, "subscribers-100-1"),
    (1000.0, "subscribers-1000-1"),
    (10_000.0, "subscribers-10000-1"),
    (18_000.0, "subscribers-18000-1"),
];
const SUBSCRIBERS_64: &[Point] = &[
    (10.0, "subscribers-10"),
    (100.0, "subscribers-100"),
    (1000.0, "subscribers-1000"),
    (10_000.0, "subscribers-10000"),
    (18_000.0, "subscribers-18000"),
];

/// All plots, in the order of the report.
pub const PLOTS: &[Plot] = &[
    Plot {
        file: "cpu-in-flight.svg",
        title: "CPU of a delivery against messages in flight",
        x: "messages in flight, 1 to 1000 subscribers",
        panels: &[Panel { title: "CPU a delivery, ns", figure: Figure::Cpu, points: IN_FLIGHT }],
    },
    Plot {
        file: "latency-in-flight.svg",
        title: "Latency against messages in flight",
        x: "messages in flight, 1 to 1000 subscribers",
        panels: &[
            Panel { title: "latency p50, µs", figure: Figure::P50, points: IN_FLIGHT },
            Panel { title: "latency p99, µs", figure: Figure::P99, points: IN_FLIGHT },
        ],
    },
    Plot {
        file: "cpu-subscribers.svg",
        title: "CPU of a delivery against subscribers",
        x: "subscribers",
        panels: &[
            Panel { title: "CPU a delivery, ns, 1 in flight", figure: Figure::Cpu, points: SUBSCRIBERS },
            Panel { title: "CPU a delivery, ns, 64 in flight", figure: Figure::Cpu, points: SUBSCRIBERS_64 },
        ],
    },
    Plot {
        file: "latency-subscribers.svg",
        title: "Latency against subscribers",
        x: "subscribers, 1 message in flight",
        panels: &[
            Panel { title: "latency p50, µs", figure: Figure::P50, points: SUBSCRIBERS },
            Panel { title: "latency p99, µs", figure: Figure::P99, points: SUBSCRIBERS },
        ],
    },
];

// In pixels.
const PANEL: (u32, u32) = (430, 400);
const LEGEND_WIDTH: u32 = 150;
const LEGEND_LINE: i32 = 24;

/// Text, lines behind the curves, and paper; each has a dark counterpart in [`STYLE`].
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
pub const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { \
    [fill=\"#1F2328\"] { fill: #E6EDF3 } [stroke=\"#1F2328\"] { stroke: #E6EDF3 } \
    [fill=\"#D8DEE4\"] { fill: #30363D } [stroke=\"#D8DEE4\"] { stroke: #30363D } \
    [fill=\"#FFFFFF\"] { fill: #0D1117 } }</style>";

/// Writes those plots for which there are figures.
///
/// # Errors
/// A file cannot be written.
pub fn write(document: &Document, directory: &Path) -> Result<(), Box<dyn Error>> {
    for plot in PLOTS.iter().filter(|plot| plot.has_points(document)) {
        let path = directory.join(plot.file);
        fs::write(&path, plot.draw(document)?).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// A broker's curve: x, and the rounds' figures there.
struct Curve {
    broker: Broker,
    points: Vec<(f64, Spread)>,
}

impl Panel {
    fn curves(&self, document: &Document) -> Vec<Curve> {
        let curve = |broker| {
            let spread = |measure| Spread::of(&values(&document.series(measure, broker, self.figure)));
            let point =
                |(x, measure): &Point| spread(measure).filter(|spread| spread.min > 0.0).map(|spread| (*x, spread));
            Curve { broker, points: self.points.iter().filter_map(point).collect() }
        };
        BROKERS.into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
    }
}

impl Plot {
    /// Whether there is anything to draw: a curve with two points.
    pub fn has_points(&self, document: &Document) -> bool {
        self.panels.iter().any(|panel| panel.curves(document).iter().any(|curve| curve.points.len() > 1))
    }

    /// The file's text.
    fn draw(&self, document: &Document) -> Result<String, Box<dyn Error>> {
        let width = PANEL.0 * self.panels.len() as u32 + LEGEND_WIDTH;
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, (width, PANEL.1)).into_drawing_area();
            root.fill(&PAPER)?;
            let (panels, legend) = root.split_horizontally(width - LEGEND_WIDTH);
            let mut shown = Vec::new();
            for (area, panel) in panels.split_evenly((1, self.panels.len())).iter().zip(self.panels) {
                let curves = panel.curves(document);
                draw_panel(area, panel, &curves, self.x)?;
                shown.extend(curves.iter().map(|curve| curve.broker));
            }
            let shown: Vec<_> = BROKERS.into_iter().filter(|broker| shown.contains(broker)).collect();
            draw_legend(&legend, &shown)?;
            root.present()?;
        }
        Ok(dark(text))
    }
}

/// A drawing that is dark where its reader wants that.
pub fn dark(mut text: String) -> String {
    // Behind the opening tag.
    let opened = text.find("<svg").and_then(|at| text[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
    text.insert_str(opened, STYLE);
    text
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Axis = WithKeyPoints<LogCoord<f64>>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw_panel(area: &Area, panel: &Panel, curves: &[Curve], x_title: &str) -> Result<(), Box<dyn Error>> {
    let xs: Vec<_> = panel.points.iter().map(|(x, _)| *x).collect();
    let spreads = || curves.iter().flat_map(|curve| &curve.points).map(|(_, spread)| spread);
    let lowest = spreads().map(|spread| spread.min).fold(f64::INFINITY, f64::min);
    let highest = spreads().map(|spread| spread.max).fold(0.0, f64::max);
    if highest == 0.0 {
        return Ok(());
    }
    let (bottom, top) = (lowest / 1.4, highest * 1.4);
    let y = (bottom..top).log_scale().with_key_points(ticks(bottom, top));
    let x = (xs[0] / 1.3..xs[xs.len() - 1] * 1.3).log_scale().with_key_points(x_ticks(&xs));
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, font(15))
        .margin(12)
        .margin_right(20)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)?;
    plain(&mut chart.configure_mesh())
        .x_desc(x_title)
        .x_label_formatter(&|x| markdown::number(x.round()))
        .y_label_formatter(&|y| markdown::number(*y).trim_end_matches(".00").trim_end_matches(".0").to_owned())
        .draw()?;
    for (at, curve) in curves.iter().enumerate() {
        // Beside each other, so that bars can be told apart.
        let aside = 1.025_f64.powf(at as f64 - (curves.len() - 1) as f64 / 2.0);
        draw_curve(&mut chart, curve, aside)?;
    }
    Ok(())
}

/// Axes as all plots have them.
pub fn plain<'m, 'a, 'b, 'c, X: Ranged, Y: Ranged>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, SVGBackend<'c>>,
) -> &'m mut MeshStyle<'a, 'b, X, Y, SVGBackend<'c>> {
    mesh.bold_line_style(GRID)
        .light_line_style(GRID.mix(0.0))
        .axis_style(INK)
        .label_style(font(12))
        .axis_desc_style(font(13))
}

fn draw_curve(chart: &mut Chart, curve: &Curve, aside: f64) -> Result<(), Box<dyn Error>> {
    let line = stroke(curve.broker);
    let medians = curve.points.iter().map(|(x, spread)| (x * aside, spread.median));
    chart.draw_series([PathElement::new(medians.clone().collect::<Vec<_>>(), line)])?;
    let bars = curve.points.iter().map(|(x, spread)| {
        let x = x * aside;
        PathElement::new(vec![(x, spread.min), (x, spread.max)], line)
    });
    chart.draw_series(bars)?;
    chart.draw_series(medians.map(|at| Circle::new(at, 3, line.filled())))?;
    Ok(())
}

fn draw_legend(area: &Area, shown: &[Broker]) -> Result<(), Box<dyn Error>> {
    let text = font(13).pos(Pos::new(HPos::Left, VPos::Center));
    for (line, broker) in (0..).zip(shown) {
        let y = 60 + line * LEGEND_LINE;
        let colour = stroke(*broker).color;
        area.draw(&Rectangle::new([(0, y - 2), (20, y + 2)], colour.filled()))?;
        area.draw(&Text::new(broker.title(), (28, y), text.clone()))?;
    }
    Ok(())
}

pub fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Colours that stand out on white and on black.
fn stroke(broker: Broker) -> ShapeStyle {
    let (colour, width) = match broker {
        Broker::Floor => (RGBColor(0x8B, 0x94, 0x9E), 2),
        Broker::Ringmain | Broker::RingmainSpinning | Broker::RingmainTwoShards => (RGBColor(0xE5, 0x48, 0x4D), 3),
        Broker::Mosquitto => (RGBColor(0x3E, 0x8E, 0xDE), 2),
        Broker::NatsServer => (RGBColor(0x30, 0xA4, 0x6C), 2),
        Broker::RabbitmqServer => (RGBColor(0xC0, 0x8A, 0x2B), 2),
        Broker::Rumqttd => (RGBColor(0x9A, 0x6D, 0xD7), 2),
    };
    colour.stroke_width(width)
}

/// Round numbers between these: powers of ten, and 2 and 5 of them where there is room.
pub fn ticks(from: f64, to: f64) -> Vec<f64> {
    let steps: &[f64] = if to / from > 2000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
    all.filter(|tick| (from..=to).contains(tick)).collect()
}

/// The points themselves, except one whose label would touch that of the one before.
fn x_ticks(xs: &[f64]) -> Vec<f64> {
    let mut ticks: Vec<f64> = Vec::new();
    for x in xs {
        if ticks.last().is_some_and(|last| x / last < 3.0) {
            ticks.pop();
        }
        ticks.push(*x);
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::document::tests::{document, run};

    /// Ticks are round numbers within the range.
    #[test]
    fn round_ticks() {
        assert_eq!(ticks(3.0, 120.0), [5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks(30.0, 1e6), [100.0, 1000.0, 10_000.0, 100_000.0, 1_000_000.0]);
        assert_eq!(x_ticks(&[10.0, 1000.0, 10_000.0, 18_000.0]), [10.0, 1000.0, 18_000.0]);
    }

    /// A plot shows each broker that has figures, by name, and can turn dark; without two points there is none.
    #[test]
    fn svg() {
        let runs = [("fanout-1", 4000.0), ("fanout-64", 100.0)].into_iter().flat_map(|(measure, cpu)| {
            [run(measure, Broker::Ringmain, 0, cpu), run(measure, Broker::Ringmain, 1, cpu * 1.1)]
        });
        let mut document = document(runs.collect());
        let text = PLOTS[0].draw(&document).unwrap();
        assert!(text.contains(">\nringmain\n") && text.contains("prefers-color-scheme"), "{text}");
        assert!(!text.contains("mosquitto"));
        let directory = tempfile::tempdir().unwrap();
        write(&document, directory.path()).unwrap();
        assert!(directory.path().join("cpu-in-flight.svg").exists());
        assert!(!directory.path().join("cpu-subscribers.svg").exists());
        document.runs.clear();
        assert!(!PLOTS[0].has_points(&document));
    }
}
