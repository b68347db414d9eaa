//! Owns the tables of a comparison: a row per run, and a row per host of each run, for other programs.
//!
//! Invariant: both forms of a table, CSV and Parquet, have the same columns and the same values; a value that is not
//! there is an empty cell, and null.

use std::collections::BTreeSet;

use super::VariantRuns;
use super::record::{Peer, Record, X_BOUND};

/// What the cells of a column hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Words.
    Text,
    /// Whole numbers.
    Whole,
    /// Any numbers.
    Number,
}

/// One cell.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// No value.
    Empty,
    /// Of a column of [`Kind::Text`].
    Text(String),
    /// Of a column of [`Kind::Whole`].
    Whole(u64),
    /// Of a column of [`Kind::Number`].
    Number(f64),
}

/// A table.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// Name and kind of each column.
    pub columns: Vec<(String, Kind)>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// As CSV (RFC 4180, lines end with a line feed), with a line of names.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = self.columns.iter().map(|(name, _)| name.clone());
        let rows = self.rows.iter().map(|row| {
            row.iter()
                .map(|cell| match cell {
                    Cell::Empty => String::new(),
                    Cell::Text(text) => text.clone(),
                    Cell::Whole(number) => number.to_string(),
                    // As short as reads back the same.
                    Cell::Number(number) => number.to_string(),
                })
                .collect()
        });
        for line in std::iter::once(names.collect::<Vec<String>>()).chain(rows) {
            writer
                .write_record(line)
                .expect("memory takes everything, and all rows are as long");
        }
        let bytes = writer.into_inner().expect("memory takes everything");
        String::from_utf8(bytes).expect("made of strings")
    }
}

/// A column: its name, its kind, and the cell of one `T` in it.
struct Column<'a, T> {
    name: String,
    kind: Kind,
    cell: Box<dyn Fn(&T) -> Cell + 'a>,
}

fn column<'a, T>(
    name: impl Into<String>,
    kind: Kind,
    cell: impl Fn(&T) -> Cell + 'a,
) -> Column<'a, T> {
    Column {
        name: name.into(),
        kind,
        cell: Box::new(cell),
    }
}

fn words<'a, T>(name: &str, of: impl Fn(&T) -> String + 'a) -> Column<'a, T> {
    column(name, Kind::Text, move |one| Cell::Text(of(one)))
}

fn whole<'a, T>(name: &str, of: impl Fn(&T) -> u64 + 'a) -> Column<'a, T> {
    column(name, Kind::Whole, move |one| Cell::Whole(of(one)))
}

fn number<'a, T>(name: &str, of: impl Fn(&T) -> Option<f64> + 'a) -> Column<'a, T> {
    column(name, Kind::Number, move |one| {
        of(one).map_or(Cell::Empty, Cell::Number)
    })
}

fn table<T>(columns: &[Column<'_, T>], all: impl Iterator<Item = T>) -> Table {
    let row = |one: T| columns.iter().map(|c| (c.cell)(&one)).collect();
    Table {
        columns: columns.iter().map(|c| (c.name.clone(), c.kind)).collect(),
        rows: all.map(row).collect(),
    }
}

/// One run of a variant.
type OfRun<'a> = (&'a VariantRuns, &'a Record);
/// One host of it.
type OfPeer<'a> = (&'a VariantRuns, &'a Record, &'a Peer);

fn runs_of(variant: &VariantRuns) -> impl Iterator<Item = OfRun<'_>> {
    variant.runs.iter().map(move |run| (variant, run))
}

fn peers_of((variant, run): OfRun<'_>) -> impl Iterator<Item = OfPeer<'_>> {
    run.peers.iter().map(move |peer| (variant, run, peer))
}

/// The values of `[vary]`, by the names of their keys.
fn axes<'a, T: 'a>(variants: &'a [VariantRuns], of: fn(&T) -> &VariantRuns) -> Vec<Column<'a, T>> {
    let keys = variants.iter().take(1).flat_map(|v| &v.choices);
    keys.enumerate()
        .map(|(at, (key, _))| words(key, move |one| of(one).choices[at].1.clone()))
        .collect()
}

/// A row per run.
#[must_use]
pub fn runs(variants: &[VariantRuns]) -> Table {
    let all = || variants.iter().flat_map(runs_of);
    let mut columns: Vec<Column<'_, OfRun<'_>>> = axes(variants, |one: &OfRun<'_>| one.0);
    columns.extend([
        whole("seed", |one: &OfRun<'_>| one.1.seed),
        words("verdict", |one: &OfRun<'_>| one.1.verdict.clone()),
        words("trace_hash", |one: &OfRun<'_>| one.1.trace_hash.clone()),
        whole("events", |one: &OfRun<'_>| one.1.events),
        whole("blocks", |one: &OfRun<'_>| one.1.blocks),
        number("sim_seconds", |one: &OfRun<'_>| Some(one.1.sim_seconds)),
        whole("content_bytes", |one: &OfRun<'_>| one.1.content_bytes),
        number("bound_s", |one: &OfRun<'_>| Some(one.1.bound_s)),
        words("bound_term", |one: &OfRun<'_>| one.1.bound_term.clone()),
        whole("unfinished", |one: &OfRun<'_>| one.1.unfinished as u64),
        number(X_BOUND, |one: &OfRun<'_>| one.1.times_bound()),
    ]);
    // Those of the whole run; of groups the kept runs have them. A group may have a dot in its name.
    let names: BTreeSet<&String> = all().flat_map(|(_, run)| run.metrics.keys()).collect();
    let groups: BTreeSet<&str> = all()
        .flat_map(|(_, run)| run.peers.iter().map(|p| p.group.as_str()))
        .collect();
    for name in names {
        let of_group = |group: &&str| name.strip_suffix(*group).is_some_and(|n| n.ends_with('.'));
        if !groups.iter().any(of_group) {
            columns.push(number(name, move |one: &OfRun<'_>| one.1.value(name)));
        }
    }
    table(&columns, all())
}

/// A row per host of each run.
#[must_use]
pub fn peers(variants: &[VariantRuns]) -> Table {
    let all = variants.iter().flat_map(runs_of).flat_map(peers_of);
    let mut columns: Vec<Column<'_, OfPeer<'_>>> = axes(variants, |one: &OfPeer<'_>| one.0);
    columns.extend([
        whole("seed", |one: &OfPeer<'_>| one.1.seed),
        words("name", |one: &OfPeer<'_>| one.2.name.clone()),
        words("group", |one: &OfPeer<'_>| one.2.group.clone()),
        words("role", |one: &OfPeer<'_>| one.2.role.clone()),
        number("joined_s", |one: &OfPeer<'_>| Some(one.2.joined_s)),
        number("completed_s", |one: &OfPeer<'_>| one.2.completed_s),
        number("first_block_s", |one: &OfPeer<'_>| one.2.first_block_s),
        number("first_piece_s", |one: &OfPeer<'_>| one.2.first_piece_s),
        number("online_s", |one: &OfPeer<'_>| Some(one.2.online_s)),
        whole("up_bytes_per_s", |one: &OfPeer<'_>| one.2.up),
        whole("downloaded", |one: &OfPeer<'_>| one.2.downloaded),
        whole("uploaded", |one: &OfPeer<'_>| one.2.uploaded),
        whole("wasted", |one: &OfPeer<'_>| one.2.wasted),
        whole("duplicates", |one: &OfPeer<'_>| one.2.duplicates),
        whole("hash_failed", |one: &OfPeer<'_>| one.2.hash_failed),
        whole("control", |one: &OfPeer<'_>| one.2.control),
        whole("announces", |one: &OfPeer<'_>| u64::from(one.2.announces)),
        whole("banned_by", |one: &OfPeer<'_>| u64::from(one.2.banned_by)),
        column("attack", Kind::Text, |one: &OfPeer<'_>| {
            one.2.attack.clone().map_or(Cell::Empty, Cell::Text)
        }),
    ]);
    table(&columns, all)
}
