//! Owns [`Film`]: what a run looked like, in slices of time, small enough to be drawn and shown.
//!
//! Invariant: a film is made of what was seen of a run and changes nothing in it. It is bounded: slices are as long
//! as it takes for there to be at most [`SLICES_MAX`] of them with at most [`FLOWS_MAX`] flows.

/// Slices of a film at most; when there are more, each two become one.
pub const SLICES_MAX: usize = 1_200;
/// Flows of a film at most, over all slices; when there are more, each two slices become one.
pub const FLOWS_MAX: usize = 300_000;
/// Marks of a film at most; later ones are counted.
pub const MARKS_MAX: usize = 20_000;
/// Pairs of peers of which is known who unchoked whom; further ones are counted.
pub const PAIRS_MAX: usize = 100_000;
/// Parts in which the content is drawn: each stands for so many pieces that there are at most this many.
pub const ROWS_MAX: usize = 96;
/// What a peer that has everything has, see [`Slice::progress`].
pub const WHOLE: u8 = 250;

/// What a run looked like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Film {
    /// Milliseconds of a slice.
    pub slice_ms: u64,
    /// The slices, from the start of the run; the last one may be shorter.
    pub slices: Vec<Slice>,
    /// What peers did for the first time, or did and were done to, in the order of time.
    pub marks: Vec<Mark>,
    /// Marks that are not there, because there were too many.
    pub marks_missed: u64,
    /// Who unchoked whom.
    pub unchokes: Vec<Unchokes>,
    /// Unchokes of further pairs.
    pub unchokes_missed: u64,
    /// The faults of the plan that began.
    pub faults: Vec<FaultSpan>,
}

/// A slice of time. What *stands* in it stands so at its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slice {
    /// What each sent to each, ascending by sender and receiver.
    pub flows: Vec<Flow>,
    /// The least copies among the honest peers online, of the pieces of each row.
    pub copies: Vec<u16>,
    /// Who has more or less than at the end of the slice before: position in the plan, and how much of the content
    /// stands there, in parts of [`WHOLE`].
    pub progress: Vec<(u32, u8)>,
    /// Payload bytes sent by who is honest.
    pub sent: u64,
    /// Payload bytes that the honest uplinks online could have carried.
    pub capacity: u64,
}

/// Payload from one host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Who sent it: position in the plan.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// Bytes.
    pub bytes: u64,
}

/// Something in the life of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Milliseconds since the start of the run.
    pub at_ms: u64,
    /// Position in the plan.
    pub host: u32,
    /// What.
    pub what: MarkKind,
}

/// What is marked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MarkKind {
    /// A stay began.
    Joined,
    /// For the first time it wanted something of somebody.
    Interested,
    /// For the first time somebody would answer its requests.
    Unchoked,
    /// Its first piece is verified; a client's first bytes are there.
    FirstPiece,
    /// It has everything, for the first time.
    Complete,
    /// An honest peer banned it, for the first time.
    Banned,
    /// A stay ended as its user wanted.
    Left,
    /// A stay ended by a crash or a power loss.
    Crashed,
}

impl MarkKind {
    /// Every kind.
    pub const ALL: [MarkKind; 8] = [
        MarkKind::Joined,
        MarkKind::Interested,
        MarkKind::Unchoked,
        MarkKind::FirstPiece,
        MarkKind::Complete,
        MarkKind::Banned,
        MarkKind::Left,
        MarkKind::Crashed,
    ];

    /// What it is called.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MarkKind::Joined => "joined",
            MarkKind::Interested => "interested",
            MarkKind::Unchoked => "unchoked",
            MarkKind::FirstPiece => "first piece",
            MarkKind::Complete => "complete",
            MarkKind::Banned => "banned",
            MarkKind::Left => "left",
            MarkKind::Crashed => "crashed",
        }
    }
}

/// How one peer unchoked another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unchokes {
    /// Who unchoked: position in the plan.
    pub by: u32,
    /// Whom.
    pub whom: u32,
    /// Milliseconds, all together.
    pub ms: u64,
    /// Times.
    pub times: u32,
}

/// When a fault was there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultSpan {
    /// Its name in the plan.
    pub name: String,
    /// Milliseconds since the start of the run.
    pub began_ms: u64,
    /// The same, at most the end of the run; `None`: it was over in a moment, or never is.
    pub ended_ms: Option<u64>,
    /// Whom it hit: positions in the plan.
    pub hosts: Vec<u32>,
}

impl Film {
    /// The end of the last slice, milliseconds.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.slice_ms * self.slices.len() as u64
    }
}
