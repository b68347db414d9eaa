//! Owns how a film is written down: small enough to be part of a page, quick to read for the script that shows it.
//!
//! Invariant: what the script alone reads (flows, progress) is packed; what charts are made of is plain.
//!
//! A packed list is base64 of numbers of 7 bits a byte, the lowest first, the highest bit set while more follow.
//! Flows, for each slice: how many; for each, how much higher its sender is than that of the one before (0 for the
//! first of sender 0), its receiver, and KiB, at least 1. Progress, for each slice: how many; for each, the host,
//! and its parts of 250.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use skep_sim::film::{FaultSpan, Film, MarkKind};

/// A film as files and pages hold it. Positions are those of the run's peers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackedFilm {
    /// Milliseconds of a slice.
    pub slice_ms: u64,
    /// How many slices there are.
    pub slices: usize,
    /// Packed.
    pub flows: String,
    /// Packed.
    pub progress: String,
    /// For each slice, the least copies of the pieces of each row.
    pub copies: Vec<Vec<u16>>,
    /// For each slice, payload bytes sent by who is honest.
    pub sent: Vec<u64>,
    /// For each slice, payload bytes that the honest uplinks online could have carried.
    pub capacity: Vec<u64>,
    /// Milliseconds, host, and place of the kind in `kinds`.
    pub marks: Vec<(u64, u32, usize)>,
    /// What marks are called.
    pub kinds: Vec<String>,
    /// Marks that are not there, because there were too many.
    pub marks_missed: u64,
    /// Who unchoked, whom, milliseconds, times.
    pub unchokes: Vec<(u32, u32, u64, u32)>,
    /// Unchokes of further pairs.
    pub unchokes_missed: u64,
    /// Faults that began.
    pub faults: Vec<PackedFault>,
}

/// When a fault was there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackedFault {
    /// Its name in the plan.
    pub name: String,
    /// Milliseconds since the start of the run.
    pub began_ms: u64,
    /// The same; without one it was over in a moment, or never is.
    pub ended_ms: Option<u64>,
    /// Whom it hit.
    pub hosts: Vec<u32>,
}

impl PackedFault {
    fn of(span: &FaultSpan) -> PackedFault {
        PackedFault {
            name: span.name.clone(),
            began_ms: span.began_ms,
            ended_ms: span.ended_ms,
            hosts: span.hosts.clone(),
        }
    }
}

impl PackedFilm {
    /// Packs a film.
    #[must_use]
    pub fn of(film: &Film) -> PackedFilm {
        let (mut flows, mut progress) = (Vec::new(), Vec::new());
        for slice in &film.slices {
            number(&mut flows, slice.flows.len() as u64);
            let mut before = 0;
            for flow in &slice.flows {
                number(&mut flows, u64::from(flow.from - before));
                number(&mut flows, u64::from(flow.to));
                number(&mut flows, flow.bytes.div_ceil(1024).max(1));
                before = flow.from;
            }
            number(&mut progress, slice.progress.len() as u64);
            for (host, parts) in &slice.progress {
                number(&mut progress, u64::from(*host));
                number(&mut progress, u64::from(*parts));
            }
        }
        let slices = || film.slices.iter();
        let marks = film.marks.iter();
        let unchokes = film.unchokes.iter();
        PackedFilm {
            slice_ms: film.slice_ms,
            slices: film.slices.len(),
            flows: BASE64.encode(&flows),
            progress: BASE64.encode(&progress),
            copies: slices().map(|slice| slice.copies.clone()).collect(),
            sent: slices().map(|slice| slice.sent).collect(),
            capacity: slices().map(|slice| slice.capacity).collect(),
            marks: marks
                .map(|mark| (mark.at_ms, mark.host, mark.what as usize))
                .collect(),
            kinds: MarkKind::ALL.map(|kind| kind.word().to_owned()).to_vec(),
            marks_missed: film.marks_missed,
            unchokes: unchokes.map(|u| (u.by, u.whom, u.ms, u.times)).collect(),
            unchokes_missed: film.unchokes_missed,
            faults: film.faults.iter().map(PackedFault::of).collect(),
        }
    }

    /// The end of a slice, seconds.
    #[must_use]
    pub fn end_s(&self, slice: usize) -> f64 {
        (self.slice_ms * (slice as u64 + 1)) as f64 / 1e3
    }
}

/// 7 bits a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_sim::film::{Flow, Slice};

    fn numbers(text: &str) -> Vec<u64> {
        let bytes = BASE64.decode(text.as_bytes()).expect("ours");
        let (mut all, mut value, mut shift) = (Vec::new(), 0, 0);
        for byte in bytes {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                all.push(value);
                (value, shift) = (0, 0);
            }
        }
        all
    }

    #[test]
    fn flows_are_packed_as_described() {
        let flow = |from, to, bytes| Flow { from, to, bytes };
        let film = Film {
            slice_ms: 100,
            slices: vec![
                Slice {
                    flows: vec![flow(0, 2, 16_384), flow(0, 300, 1), flow(5, 0, 3_000_000)],
                    progress: vec![(2, 250)],
                    ..Slice::default()
                },
                Slice::default(),
            ],
            ..Film::default()
        };
        let packed = PackedFilm::of(&film);
        assert_eq!(
            numbers(&packed.flows),
            [3, 0, 2, 16, 0, 300, 1, 5, 0, 2930, 0]
        );
        assert_eq!(numbers(&packed.progress), [1, 2, 250, 0]);
        assert_eq!((packed.slices, packed.end_s(1)), (2, 0.2));
    }
}
