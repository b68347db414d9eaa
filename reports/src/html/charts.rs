//! Owns the charts of a run's page.
//!
//! Invariant: a chart names colours (`var(--g0)`) and never says them: the page fills in those of its scheme. Names
//! that come from a scenario pass through [`label`].

use plotly::common::{
    ColorBar, DashType, Fill, HoverInfo, Line, LineShape, Marker, MarkerSymbol, Mode, Orientation,
};
use plotly::layout::{
    Annotation, Axis, BarMode, HoverMode, Shape, ShapeLayer, ShapeLine, ShapeType,
};
use plotly::{Bar, HeatMap, Layout, Plot, Scatter};

use super::film::PackedFilm;
use super::palette::{Palette, label, scale};
use super::record::{PeerFile, RunFile};
use crate::table::{bytes, percent};

/// Points along the time of a chart, at most.
const COLUMNS: usize = 300;
/// Peers that are drawn one by one, at most.
pub(super) const PEERS_MAX: usize = 150;

/// A chart and how high it wants to be, pixels.
pub(super) type Drawn = (Plot, usize);

/// One line of a distribution.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) color: String,
    /// Ascending.
    pub(super) times: Vec<f64>,
    /// Of how many, finished or not.
    pub(super) of: usize,
    pub(super) dashed: bool,
}

/// The part that has finished by each moment, seconds since each joined.
pub(super) fn distribution(curves: &[Curve]) -> Drawn {
    let mut plot = Plot::new();
    for curve in curves {
        let (mut x, mut y) = (vec![0.0], vec![0.0]);
        for (at, time) in curve.times.iter().enumerate() {
            x.push(*time);
            y.push((at + 1) as f64 / curve.of.max(1) as f64);
        }
        let dash = match curve.dashed {
            true => DashType::Dot,
            false => DashType::Solid,
        };
        let line = Line::new()
            .shape(LineShape::Hv)
            .width(2.0)
            .dash(dash)
            .color(curve.color.clone());
        let trace = Scatter::new(x, y)
            .mode(Mode::Lines)
            .name(label(&curve.name))
            .line(line)
            .hover_template("%{y:.0%} within %{x:.1f} s");
        plot.add_trace(trace);
    }
    plot.set_layout(
        Layout::new()
            .x_axis(seconds("seconds from joining to the whole content"))
            .y_axis(
                Axis::new()
                    .title("finished")
                    .tick_format(".0%")
                    .range(vec![0.0, 1.03]),
            )
            .hover_mode(HoverMode::Closest)
            .show_legend(true),
    );
    (plot, 340)
}

/// The distribution of a run: a line per group, and all together where there are several.
pub(super) fn completions(run: &RunFile, others: &[&RunFile], palette: &Palette) -> Drawn {
    let groups = run.groups();
    let takers = |group: &str| {
        let of = run.peers.iter().filter(|p| p.takes() && p.group == group);
        of.count()
    };
    let with: Vec<&str> = groups.into_iter().filter(|g| takers(g) > 0).collect();
    let group = |name: &str| Curve {
        name: name.to_owned(),
        color: palette.group(name),
        times: run.completions_s(Some(name)),
        of: takers(name),
        dashed: false,
    };
    let mut curves: Vec<Curve> = with.iter().map(|name| group(name)).collect();
    for other in others {
        curves.push(Curve {
            name: format!("all, seed {}", other.seed),
            color: "var(--muted)".to_owned(),
            times: other.completions_s(None),
            of: other.takers(),
            dashed: true,
        });
    }
    distribution(&curves)
}

/// Copies of the pieces over time.
pub(super) fn copies(run: &RunFile) -> Drawn {
    let film = &run.film;
    let (step, columns) = columns(film.slices, 1);
    let rows = film.copies.first().map_or(0, Vec::len);
    let at = |column: usize| ((column + 1) * step).min(film.slices) - 1;
    let z: Vec<Vec<u16>> = (0..rows)
        .map(|row| (0..columns).map(|c| film.copies[at(c)][row]).collect())
        .collect();
    let x: Vec<f64> = (0..columns).map(|c| film.end_s(at(c))).collect();
    let per_row = (run.pieces as usize).div_ceil(rows.max(1)).max(1);
    let y: Vec<f64> = (0..rows).map(|row| (row * per_row) as f64).collect();
    let trace = HeatMap::new(x, y, z)
        .color_scale(scale())
        .zmin(0.0)
        .color_bar(bar("copies"))
        .hover_template("piece %{y}, %{x:.1f} s: %{z} copies<extra></extra>");
    let mut plot = Plot::new();
    plot.add_trace(trace);
    let pieces = match per_row {
        1 => "piece".to_owned(),
        n => format!("piece (each row: the rarest of {n})"),
    };
    let layout = Layout::new()
        .x_axis(seconds("simulated seconds").range(vec![0.0, run.sim_seconds]))
        .y_axis(Axis::new().title(pieces).zero_line(false));
    plot.set_layout(shaded(layout, film, run.sim_seconds, true));
    (plot, 380)
}

/// What the uplinks carried over what they could have.
pub(super) fn uplinks(run: &RunFile) -> Drawn {
    let film = &run.film;
    // A block counts when it is handed to the network: within less than a second that is more than an uplink carries.
    let second = 1000 / film.slice_ms.clamp(1, 1000);
    let (step, columns) = columns(film.slices, usize::try_from(second).expect("at most 1000"));
    let sum = |of: &[u64], c: usize| {
        let to = ((c + 1) * step).min(of.len());
        of[c * step..to].iter().sum::<u64>() as f64
    };
    let used: Vec<f64> = (0..columns)
        .map(|c| match sum(&film.capacity, c) {
            0.0 => 0.0,
            capacity => sum(&film.sent, c) / capacity,
        })
        .collect();
    let middle = |c: usize| {
        (film.end_s(c * step) + film.end_s(((c + 1) * step).min(film.slices) - 1)) / 2.0
            - film.slice_ms as f64 / 2e3
    };
    let x: Vec<f64> = (0..columns).map(middle).collect();
    let trace = Scatter::new(x, used)
        .mode(Mode::Lines)
        .name("all honest uplinks")
        .fill(Fill::ToZeroY)
        .fill_color("var(--fill)")
        .line(Line::new().width(2.0).color("var(--g0)"))
        .hover_template("%{y:.0%} at %{x:.1f} s<extra></extra>");
    let mut plot = Plot::new();
    plot.add_trace(trace);
    let layout = Layout::new()
        .x_axis(seconds("simulated seconds").range(vec![0.0, run.sim_seconds]))
        .y_axis(
            Axis::new()
                .title("of the uplinks online")
                .tick_format(".0%")
                .range_mode(plotly::layout::RangeMode::ToZero),
        )
        .show_legend(false);
    plot.set_layout(shaded(layout, film, run.sim_seconds, false));
    (plot, 300)
}

/// Each peer's life: stays as bars, marks as symbols.
pub(super) fn lives(run: &RunFile) -> Drawn {
    let film = &run.film;
    let shown = run.peers.len().min(PEERS_MAX);
    let kind = |word: &str| film.kinds.iter().position(|k| k == word);
    let (joined, left, crashed) = (kind("joined"), kind("left"), kind("crashed"));
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for host in 0..shown {
        let mut since = None;
        let marks = film.marks.iter().filter(|m| m.1 as usize == host);
        for (at, _, what) in marks {
            let at = *at as f64 / 1e3;
            if Some(*what) == joined {
                since.get_or_insert(at);
            } else if (Some(*what) == left || Some(*what) == crashed)
                && let Some(from) = since.take()
            {
                stay(&mut x, &mut y, host, from, at);
            }
        }
        if let Some(from) = since {
            stay(&mut x, &mut y, host, from, run.sim_seconds);
        }
    }
    let mut plot = Plot::new();
    let line = Line::new().width(3.0).color("var(--life)");
    plot.add_trace(
        Scatter::new(x, y)
            .mode(Mode::Lines)
            .name("online")
            .connect_gaps(false)
            .hover_info(HoverInfo::Skip)
            .line(line),
    );
    for (number, word) in film.kinds.iter().enumerate() {
        let marks: Vec<_> = film
            .marks
            .iter()
            .filter(|m| m.2 == number && (m.1 as usize) < shown)
            .collect();
        if marks.is_empty() {
            continue;
        }
        let (symbol, color) = symbol(word);
        let name = |host: u32| label(&run.peers[host as usize].name);
        let texts: Vec<String> = marks
            .iter()
            .map(|m| format!("{}: {word}, {:.1} s", name(m.1), m.0 as f64 / 1e3))
            .collect();
        let trace = Scatter::new(
            marks.iter().map(|m| m.0 as f64 / 1e3).collect(),
            marks.iter().map(|m| f64::from(m.1)).collect::<Vec<f64>>(),
        )
        .mode(Mode::Markers)
        .name(word)
        .marker(Marker::new().symbol(symbol).size(8).color(color))
        .text_array(texts)
        .hover_template("%{text}<extra></extra>");
        plot.add_trace(trace);
    }
    let peers = &run.peers[..shown];
    let layout = Layout::new()
        .x_axis(
            seconds("simulated seconds")
                .range(vec![-0.005 * run.sim_seconds, run.sim_seconds * 1.01]),
        )
        .y_axis(names(peers).range(vec![shown as f64 - 0.4, -0.6]))
        .hover_mode(HoverMode::Closest)
        .show_legend(true);
    plot.set_layout(shaded(layout, film, run.sim_seconds, true));
    (plot, 130 + shown * if shown > 60 { 10 } else { 16 })
}

fn stay(x: &mut Vec<Option<f64>>, y: &mut Vec<Option<f64>>, host: usize, from: f64, to: f64) {
    x.extend([Some(from), Some(to), None]);
    y.extend([Some(host as f64), Some(host as f64), None]);
}

/// The symbol of a mark: told apart without its colour.
fn symbol(word: &str) -> (MarkerSymbol, &'static str) {
    match word {
        "joined" => (MarkerSymbol::LineNSOpen, "var(--muted)"),
        "interested" => (MarkerSymbol::CircleOpen, "var(--g4)"),
        "unchoked" => (MarkerSymbol::TriangleUpOpen, "var(--g0)"),
        "first piece" => (MarkerSymbol::Diamond, "var(--g1)"),
        "complete" => (MarkerSymbol::Star, "var(--good)"),
        "banned" => (MarkerSymbol::Hexagon2Open, "var(--bad)"),
        "crashed" => (MarkerSymbol::XThinOpen, "var(--bad)"),
        _ => (MarkerSymbol::TriangleLeft, "var(--muted)"),
    }
}

/// What each honest peer gave for what it took.
pub(super) fn shares(run: &RunFile, palette: &Palette) -> Option<Drawn> {
    let took = |p: &&PeerFile| p.role == "leecher" && p.downloaded > 0;
    let mut peers: Vec<&PeerFile> = run.peers.iter().filter(took).collect();
    peers.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)));
    if peers.is_empty() {
        return None;
    }
    let mut plot = Plot::new();
    for group in run.groups() {
        let of: Vec<_> = peers
            .iter()
            .enumerate()
            .filter(|(_, p)| p.group == group)
            .collect();
        if of.is_empty() {
            continue;
        }
        let text = |p: &PeerFile| {
            let (gave, took) = (bytes(p.uploaded), bytes(p.downloaded));
            format!("{}: gave {gave}, took {took}", label(&p.name))
        };
        let trace = Bar::new(
            of.iter().map(|(rank, _)| (rank + 1) as f64).collect(),
            of.iter().map(|(_, p)| ratio(p)).collect::<Vec<f64>>(),
        )
        .name(label(group))
        .marker(Marker::new().color(palette.group(group)))
        .hover_text_array(of.iter().map(|(_, p)| text(p)).collect())
        .hover_template("%{hovertext}<br>ratio %{y:.2f}<extra></extra>");
        plot.add_trace(trace);
    }
    let layout = Layout::new()
        .x_axis(
            Axis::new()
                .title("leechers, the most generous first")
                .zero_line(false),
        )
        .y_axis(Axis::new().title("uploaded / downloaded"))
        .bar_mode(BarMode::Overlay)
        .shapes(vec![across(1.0)])
        .show_legend(true);
    plot.set_layout(layout);
    Some((plot, 320))
}

fn ratio(peer: &PeerFile) -> f64 {
    peer.uploaded as f64 / peer.downloaded.max(1) as f64
}

/// Who unchoked whom, in parts of the run; of more peers than can be drawn, groups.
pub(super) fn unchokes(run: &RunFile) -> Option<Drawn> {
    let film = &run.film;
    if film.unchokes.is_empty() || run.sim_seconds <= 0.0 {
        return None;
    }
    let groups = run.groups();
    let by_group = run.peers.len() > PEERS_MAX;
    let row = |host: u32| {
        let peer = &run.peers[host as usize];
        match by_group {
            true => groups
                .iter()
                .position(|g| *g == peer.group)
                .expect("its own"),
            false => host as usize,
        }
    };
    let names: Vec<String> = match by_group {
        true => groups.iter().map(|g| label(g)).collect(),
        false => run.peers.iter().map(|p| label(&p.name)).collect(),
    };
    let members = |row: usize| match by_group {
        true => run.peers.iter().filter(|p| p.group == groups[row]).count(),
        false => 1,
    };
    let mut z = vec![vec![0.0; names.len()]; names.len()];
    for (by, whom, ms, _) in &film.unchokes {
        let (by, whom) = (row(*by), row(*whom));
        z[by][whom] += *ms as f64 / 1e3 / run.sim_seconds / (members(by) * members(whom)) as f64;
    }
    // White is never, not seldom.
    let z: Vec<Vec<Option<f64>>> = z
        .into_iter()
        .map(|row| row.into_iter().map(|v| (v > 0.0).then_some(v)).collect())
        .collect();
    let trace = HeatMap::new(names.clone(), names.clone(), z)
        .color_scale(scale())
        .zmin(0.0)
        .hover_on_gaps(false)
        .color_bar(bar("of the run").tick_format(".0%"))
        .hover_template("%{y} unchoked %{x} for %{z:.1%} of the run<extra></extra>");
    let mut plot = Plot::new();
    plot.add_trace(trace);
    let axis = |title: &str| Axis::new().title(title).show_grid(false).auto_margin(true);
    let layout = Layout::new()
        .x_axis(axis("who was unchoked").tick_angle(-90.0))
        .y_axis(axis("who unchoked").range(vec![names.len() as f64 - 0.5, -0.5]));
    plot.set_layout(layout);
    Some((plot, (names.len() * 8).clamp(360, 900)))
}

/// What each group sent over what its uplinks could have carried.
pub(super) fn groups_up(run: &RunFile, palette: &Palette) -> Option<Drawn> {
    let mut plot = Plot::new();
    let groups = run.groups();
    let part = |group: &str| {
        let of = run
            .peers
            .iter()
            .filter(|p| p.group == group && p.role != "client");
        let (sent, could) = of.fold((0.0, 0.0), |(sent, could), p| {
            (sent + p.uploaded as f64, could + p.up as f64 * p.online_s)
        });
        (could > 0.0).then(|| (label(group), palette.group(group), sent / could))
    };
    let parts: Vec<(String, String, f64)> = groups.iter().filter_map(|group| part(group)).collect();
    if parts.is_empty() {
        return None;
    }
    for (group, color, used) in &parts {
        let trace = Bar::new(vec![*used], vec![group.clone()])
            .orientation(Orientation::Horizontal)
            .name(group)
            .marker(Marker::new().color(color.clone()))
            .text(percent(*used))
            .hover_template("%{y}: %{x:.1%}<extra></extra>");
        plot.add_trace(trace);
    }
    let layout = Layout::new()
        .x_axis(
            Axis::new()
                .title("of its uplink while online")
                .tick_format(".0%"),
        )
        .y_axis(Axis::new().auto_margin(true))
        .show_legend(false);
    plot.set_layout(layout);
    Some((plot, 120 + 34 * parts.len()))
}

/// How many slices, `least` or more, make one column, and how many columns there are.
fn columns(slices: usize, least: usize) -> (usize, usize) {
    let step = slices.div_ceil(COLUMNS).max(least);
    (step, slices.div_ceil(step))
}

pub(super) fn seconds(title: &str) -> Axis {
    Axis::new()
        .title(title)
        .zero_line(false)
        .range_mode(plotly::layout::RangeMode::ToZero)
}

fn bar(title: &str) -> ColorBar {
    ColorBar::new().title(title).thickness(12).outline_width(0)
}

/// An axis with a peer's name at each of its places.
fn names(peers: &[PeerFile]) -> Axis {
    let every = peers.len().div_ceil(60).max(1);
    let shown = || peers.iter().enumerate().step_by(every);
    Axis::new()
        .tick_values(shown().map(|(at, _)| at as f64).collect())
        .tick_text(shown().map(|(_, p)| label(&p.name)).collect())
        .auto_margin(true)
        .show_grid(false)
        .zero_line(false)
}

/// A dashed line across, at a height.
fn across(y: f64) -> Shape {
    Shape::new()
        .shape_type(ShapeType::Line)
        .x_ref("paper")
        .x0(0.0)
        .x1(1.0)
        .y0(y)
        .y1(y)
        .line(
            ShapeLine::new()
                .color("var(--muted)")
                .width(1.0)
                .dash(DashType::Dash),
        )
}

/// The layout with the times of the faults shaded, and named where there is room and there are few.
fn shaded(layout: Layout, film: &PackedFilm, end_s: f64, named: bool) -> Layout {
    const NAMED: usize = 8;
    let (mut shapes, mut texts) = (Vec::new(), Vec::new());
    for fault in &film.faults {
        let from = fault.began_ms as f64 / 1e3;
        let to = fault.ended_ms.map_or(from, |ms| ms as f64 / 1e3);
        shapes.push(
            Shape::new()
                .shape_type(ShapeType::Rect)
                .layer(ShapeLayer::Above)
                .y_ref("paper")
                .x0(from)
                .x1(to.max(from + end_s * 0.001))
                .y0(0.0)
                .y1(1.0)
                .fill_color("var(--fault)")
                .line(ShapeLine::new().width(1.0).color("var(--fault-edge)")),
        );
        if named && film.faults.len() <= NAMED {
            texts.push(
                Annotation::new()
                    .text(label(&fault.name))
                    .x(from)
                    .y_ref("paper")
                    .y(1.0)
                    .x_anchor(plotly::common::Anchor::Left)
                    .y_anchor(plotly::common::Anchor::Bottom)
                    .show_arrow(false),
            );
        }
    }
    layout.shapes(shapes).annotations(texts)
}
