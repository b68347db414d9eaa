//! Owns the picture of a sweep: time against N, both on logarithmic axes, one line with markers for each way,
//! the physical limits dashed. SVG, readable on a dark page because it brings its own light ground.
//!
//! Invariant: the same sweep gives the same bytes; every time that the sweep has is a marker in it.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::sweep::{Number, Sweep, Way};
use crate::table::bytes;

/// Width and height, pixels.
const SIZE: (u32, u32) = (860, 520);
/// The page under the picture may be dark.
const GROUND: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x26, 0x2b, 0x33);
const FAINT: RGBColor = RGBColor(0x5c, 0x64, 0x70);
const GRID: RGBColor = RGBColor(0xe4, 0xe7, 0xeb);
/// Of the ways, in their order; told apart without colours by their markers.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xb3, 0x4a, 0x2a),
    RGBColor(0x1c, 0x6b, 0x8a),
    RGBColor(0x6b, 0x53, 0x9c),
    RGBColor(0x4d, 0x7a, 0x34),
    RGBColor(0x8a, 0x6d, 0x1f),
    RGBColor(0x4a, 0x55, 0x68),
];
const FONT: &str = "sans-serif";

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// No way has a time.
    #[error("nobody finished in any variant: there is nothing to draw")]
    Empty,
    /// The library could not draw.
    #[error("the chart cannot be drawn: {0}")]
    Draw(String),
}

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
type Plot<'a, 's> = ChartContext<'a, SVGBackend<'s>, Cartesian2d<LogAxis, LogAxis>>;

/// A logarithmic axis with marks of our choice.
struct LogAxis {
    /// Its ends; more than zero.
    ends: Range<f64>,
    marks: Vec<f64>,
}

impl LogAxis {
    /// From the smallest to the largest of these values, and as much air as this share of the way.
    fn around(values: &[f64], air: f64) -> LogAxis {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // One value alone has some room, too.
        let factor = libm::pow(high / low, air).max(1.05);
        LogAxis {
            ends: low / factor..high * factor,
            marks: Vec::new(),
        }
    }
}

impl Ranged for LogAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let way = libm::log(self.ends.end / self.ends.start);
        let share = libm::log(value / self.ends.start) / way;
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

fn failed(error: impl std::fmt::Display) -> ChartError {
    ChartError::Draw(error.to_string())
}

/// Draws the sweep as an SVG document.
///
/// # Errors
/// When no variant has a time.
pub fn draw(sweep: &Sweep) -> Result<String, ChartError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&GROUND).map_err(failed)?;
        on(&root, sweep)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

fn on(root: &Area<'_>, sweep: &Sweep) -> Result<(), ChartError> {
    let times = |way: &Way| {
        way.points
            .iter()
            .filter_map(|p| p.last_s)
            .collect::<Vec<_>>()
    };
    let mut seconds: Vec<f64> = sweep.ways.iter().flat_map(times).collect();
    if seconds.is_empty() {
        return Err(ChartError::Empty);
    }
    let limits = sweep.numbers.iter();
    seconds.extend(limits.flat_map(|n| [n.direct_limit_s, n.swarm_limit_s].into_iter().flatten()));
    seconds.retain(|s| *s > 0.0);
    titles(root, sweep)?;
    let rest = root.clone().shrink((14, 66), (SIZE.0 - 28, SIZE.1 - 76));
    let mut builder = ChartBuilder::on(&rest);
    builder
        .x_label_area_size(50)
        .y_label_area_size(74)
        .margin_right(8);
    let mut plot = builder
        .build_cartesian_2d(numbers(sweep), times_axis(&seconds))
        .map_err(failed)?;
    plot.configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style(text(17, INK))
        .axis_desc_style(text(18, INK))
        .x_desc(axis_title(&sweep.axis))
        .y_desc("time until the last is complete, seconds")
        .x_label_formatter(&|n| format!("{n:.0}"))
        .y_label_formatter(&|seconds| plain(*seconds))
        .draw()
        .map_err(failed)?;
    let direct = |n: &Number| n.direct_limit_s;
    let swarm = |n: &Number| n.swarm_limit_s;
    limit(
        &mut plot,
        sweep,
        "limit of direct download",
        &direct,
        COLOURS[0],
    )?;
    limit(&mut plot, sweep, "limit of a swarm", &swarm, COLOURS[1])?;
    for (at, way) in sweep.ways.iter().enumerate() {
        line(&mut plot, sweep, way, at)?;
    }
    plot.configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(14)
        .legend_area_size(34)
        .label_font(text(17, INK))
        .background_style(GROUND.mix(0.92))
        .border_style(GRID)
        .draw()
        .map_err(failed)
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    TextStyle {
        color: colour.to_backend_color(),
        ..TextStyle::from((FONT, size).into_font())
    }
}

fn titles(root: &Area<'_>, sweep: &Sweep) -> Result<(), ChartError> {
    let at = |size, colour| text(size, colour).pos(Pos::new(HPos::Left, VPos::Top));
    let content = sweep.content_bytes.map_or("the content".to_owned(), bytes);
    let title = format!("{}: time until the last of N has {content}", sweep.scenario);
    let seeds = match sweep.seeds {
        1 => "one seed of the simulation".to_owned(),
        n => format!("medians of {n} seeds of the simulation"),
    };
    let under = format!("{seeds}; both axes logarithmic");
    root.draw_text(&title, &at(24, INK), (20, 12))
        .map_err(failed)?;
    root.draw_text(&under, &at(17, FAINT), (20, 42))
        .map_err(failed)
}

/// What the numbers are, in words.
fn axis_title(axis: &str) -> String {
    let group = axis
        .strip_prefix("group.")
        .and_then(|rest| rest.strip_suffix(".count"));
    match group {
        Some(group) => format!("N: hosts in the group \"{group}\" that want the content"),
        None => format!("N: {axis}"),
    }
}

/// N, with a mark at each.
fn numbers(sweep: &Sweep) -> LogAxis {
    let marks: Vec<f64> = sweep.numbers.iter().map(|n| n.n as f64).collect();
    LogAxis {
        marks: marks.clone(),
        ..LogAxis::around(&marks, 0.04)
    }
}

/// Seconds, with marks at 1, 2 and 5 times the powers of ten.
fn times_axis(seconds: &[f64]) -> LogAxis {
    let axis = LogAxis::around(seconds, 0.07);
    let decade = |end: f64| libm::log10(end).floor() as i32;
    let decades = decade(axis.ends.start)..=decade(axis.ends.end);
    let marks = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * libm::pow(10.0, f64::from(d))));
    LogAxis {
        marks: marks.filter(|m| axis.ends.contains(m)).collect(),
        ..axis
    }
}

/// A number of the 1-2-5 row as people write it.
fn plain(value: f64) -> String {
    if value >= 0.95 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}

fn limit(
    plot: &mut Plot<'_, '_>,
    sweep: &Sweep,
    name: &str,
    of: &dyn Fn(&Number) -> Option<f64>,
    colour: RGBColor,
) -> Result<(), ChartError> {
    let points: Vec<(f64, f64)> = sweep
        .numbers
        .iter()
        .filter_map(|n| Some((*n, of(n).filter(|s| *s > 0.0)?)))
        .map(|(n, s)| (n.n as f64, s))
        .collect();
    if points.is_empty() {
        return Ok(());
    }
    let style = colour.mix(0.8).stroke_width(1);
    let dashes = DashedLineSeries::new(points, 6, 5, style);
    let drawn = plot.draw_series(dashes).map_err(failed)?;
    drawn
        .label(name)
        .legend(move |(x, y)| DashedPathElement::new(vec![(x, y), (x + 26, y)], 6, 5, style));
    Ok(())
}

fn line<'a, 's: 'a>(
    plot: &mut Plot<'a, 's>,
    sweep: &Sweep,
    way: &Way,
    at: usize,
) -> Result<(), ChartError> {
    let colour = COLOURS[at % COLOURS.len()];
    let points: Vec<(f64, f64)> = sweep
        .numbers
        .iter()
        .zip(&way.points)
        .filter_map(|(n, p)| Some((n.n as f64, p.last_s?)))
        .collect();
    let style = colour.stroke_width(2);
    let drawn = plot
        .draw_series(LineSeries::new(points.clone(), style))
        .map_err(failed)?;
    let name = if way.name.is_empty() {
        &sweep.scenario
    } else {
        &way.name
    };
    drawn.label(name.as_str()).legend(move |(x, y)| {
        let stroke = PathElement::new(vec![(0, 0), (26, 0)], style);
        let marker = Polygon::new(outline(at), colour.filled());
        EmptyElement::at((x, y)) + stroke + marker
    });
    // Shapes differ, so that lines can be told apart without colours.
    let points = points.iter();
    match at % 3 {
        0 => plot.draw_series(points.map(|p| Circle::new(*p, 4, colour.filled()))),
        1 => plot.draw_series(points.map(|p| EmptyElement::at(*p) + square(colour))),
        _ => plot.draw_series(points.map(|p| TriangleMarker::new(*p, 6, colour.filled()))),
    }
    .map(|_| ())
    .map_err(failed)
}

/// A square marker around its point.
fn square(colour: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(-4, -4), (4, 4)], colour.filled())
}

/// The corners of the marker of a way in the legend: a circle (nearly), a square, a triangle.
fn outline(way: usize) -> Vec<(i32, i32)> {
    let corners: &[(i32, i32)] = match way % 3 {
        0 => &[
            (-4, -2),
            (-2, -4),
            (2, -4),
            (4, -2),
            (4, 2),
            (2, 4),
            (-2, 4),
            (-4, 2),
        ],
        1 => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
        _ => &[(0, -6), (5, 3), (-5, 3)],
    };
    corners.iter().map(|(x, y)| (13 + x, *y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::example;

    /// The value of an attribute of an element, as a number.
    fn attribute(element: &str, name: &str) -> f64 {
        let from = element.find(&format!(" {name}=\"")).expect("it is there") + name.len() + 3;
        let to = element[from..].find('"').expect("its end") + from;
        element[from..to].parse().expect("a number")
    }

    fn colour(at: usize) -> String {
        let RGBColor(r, g, b) = COLOURS[at];
        format!("fill=\"#{r:02X}{g:02X}{b:02X}\"")
    }

    /// Centres of the markers of one way.
    fn markers(svg: &str, at: usize, element: &str) -> Vec<(f64, f64)> {
        let mine = |line: &&str| line.starts_with(element) && line.contains(&colour(at));
        let centre = |line: &str| match element {
            "<circle" => (attribute(line, "cx"), attribute(line, "cy")),
            _ => (
                attribute(line, "x") + attribute(line, "width") / 2.0,
                attribute(line, "y") + attribute(line, "height") / 2.0,
            ),
        };
        svg.lines().filter(mine).map(centre).collect()
    }

    #[test]
    fn the_same_sweep_gives_the_same_bytes() {
        let drawn = draw(&example()).expect("a picture");
        assert_eq!(drawn, draw(&example()).expect("a picture"));
        assert!(drawn.starts_with("<svg"), "{}", &drawn[..80]);
    }

    #[test]
    fn every_time_is_a_marker_at_its_place() {
        let sweep = example();
        let svg = draw(&sweep).expect("a picture");
        let seen = [markers(&svg, 0, "<circle"), markers(&svg, 1, "<rect")];
        let mut all = Vec::new();
        for (way, seen) in sweep.ways.iter().zip(seen) {
            let times = sweep.numbers.iter().zip(&way.points);
            let times: Vec<(f64, f64)> = times
                .filter_map(|(n, p)| Some((libm::log(n.n as f64), libm::log(p.last_s?))))
                .collect();
            assert_eq!(seen.len(), times.len(), "{}", way.name);
            all.extend(times.into_iter().zip(seen));
        }
        // Both axes are logarithmic, and the same for all ways.
        let ((n0, t0), (x0, y0)) = all[0];
        let ((n3, t3), (x3, y3)) = all[3];
        for ((n, t), (x, y)) in all {
            let (at_x, at_y) = (
                x0 + (x3 - x0) * (n - n0) / (n3 - n0),
                y0 + (y3 - y0) * (t - t0) / (t3 - t0),
            );
            assert!(
                (x - at_x).abs() <= 1.5 && (y - at_y).abs() <= 1.5,
                "{x} {y}"
            );
        }
        for text in [
            "swarm",
            "direct download",
            "limit of a swarm",
            ">64<",
            ">500<",
        ] {
            let text = text.trim_matches(['<', '>']);
            assert!(svg.lines().any(|line| line.trim() == text), "{text}\n{svg}");
        }
    }

    #[test]
    fn without_any_time_there_is_no_picture() {
        let mut sweep = example();
        for way in &mut sweep.ways {
            way.points.iter_mut().for_each(|p| p.last_s = None);
        }
        assert!(matches!(draw(&sweep), Err(ChartError::Empty)));
    }

    #[test]
    fn words_become_text_and_no_elements() {
        let mut sweep = example();
        sweep.ways[0].name = "<script>&".to_owned();
        let svg = draw(&sweep).expect("a picture");
        assert!(!svg.contains("<script>"));
    }
}
