//! Owns what a parser under test is, and how much memory one call of it holds at most.
//!
//! Invariant: everything that a call needs is made before it is measured. Counted is what is allocated
//! and not yet freed on this thread; a buffer that grows counts with what it grows from, as if the
//! allocator always moved it.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::inputs;

/// One input, in every form that a parser may want.
pub struct Input {
    /// As it is.
    pub bytes: Vec<u8>,
    /// As text: what is not UTF-8 is replaced.
    pub text: String,
    /// To be cut without copying.
    pub whole: Bytes,
}

impl Input {
    fn new(bytes: &[u8]) -> Input {
        Input {
            bytes: bytes.to_vec(),
            text: String::from_utf8_lossy(bytes).into_owned(),
            whole: Bytes::copy_from_slice(bytes),
        }
    }

    /// Bytes of its longest form.
    fn len(&self) -> u64 {
        self.bytes.len().max(self.text.len()) as u64
    }
}

/// The most that one call may hold: `fixed`, `steep` tenths of a byte for each of the first `knee` bytes of
/// the input, and `flat` tenths for each byte.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    pub fixed: u64,
    pub steep: u64,
    pub knee: u64,
    pub flat: u64,
}

impl Cap {
    /// A cap that grows by `flat` tenths of a byte with each byte of the input.
    pub const fn linear(fixed: u64, flat: u64) -> Cap {
        Cap {
            fixed,
            steep: 0,
            knee: 0,
            flat,
        }
    }

    /// Bytes, for an input of so many.
    fn of(&self, len: u64) -> u64 {
        self.fixed + (self.steep * len.min(self.knee) + self.flat * len) / 10
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fixed)?;
        let tenths = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
        if self.flat > 0 {
            write!(f, " + {} n", tenths(self.flat))?;
        }
        if self.steep > 0 {
            write!(f, " + {} min(n, {})", tenths(self.steep), self.knee)?;
        }
        Ok(())
    }
}

/// Bytes as they are drawn, which say on one line what they are.
#[derive(Clone)]
pub struct Raw(pub Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0[..self.0.len().min(300)];
        write!(f, "{} bytes: {}", self.0.len(), head.escape_ascii())
    }
}

/// A parser, and what it is tried with.
pub struct Parser {
    pub name: &'static str,
    /// The call that is measured.
    pub read: fn(&Input),
    pub cap: Cap,
    /// Inputs that it takes, to be damaged.
    pub valid: fn() -> Vec<Vec<u8>>,
    /// Inputs made to hurt it.
    pub hostile: fn() -> Vec<Vec<u8>>,
}

/// What a parser was seen to hold.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    cases: u64,
    longest: u64,
    peak: u64,
    peak_len: u64,
    /// The largest share of a cap that was used, in percent.
    share: u64,
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    arbitrary: Seen,
    near: Seen,
    hostile: Seen,
    cap: Cap,
}

/// What stands above the rows.
pub fn headline() -> String {
    let mut out = format!("{:<21}", "parser");
    for kind in ["arbitrary", "near misses", "hostile"] {
        out += &format!(" | {kind:<11} cases, longest, peak (of input), % of cap");
    }
    out + " | cap for n bytes"
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<21}", self.name)?;
        for seen in [self.arbitrary, self.near, self.hostile] {
            let peak = format!("{} ({})", seen.peak, seen.peak_len);
            let (cases, longest, share) = (seen.cases, seen.longest, seen.share);
            write!(f, " | {cases:>5} {longest:>8} {peak:>19} {share:>3} %")?;
        }
        write!(f, " | {}", self.cap)
    }
}

impl Parser {
    /// One call: what it held at most, or that it panicked.
    fn peak(&self, input: &Input) -> Result<u64, String> {
        let mut panicked = false;
        let counted = allocation_counter::measure(|| {
            // A panic that left here would leave the counter open.
            panicked = catch_unwind(AssertUnwindSafe(|| (self.read)(input))).is_err();
        });
        if panicked {
            return Err(format!("{} panicked", self.name));
        }
        Ok(counted.bytes_max)
    }

    fn try_one(&self, bytes: &[u8], seen: &Cell<Seen>) -> Result<(), String> {
        let input = Input::new(bytes);
        let (len, peak) = (input.len(), self.peak(&input)?);
        let mut now = seen.get();
        now.cases += 1;
        now.longest = now.longest.max(len);
        if peak > now.peak {
            (now.peak, now.peak_len) = (peak, len);
        }
        now.share = now
            .share
            .max((peak * 100).div_ceil(self.cap.of(len).max(1)));
        seen.set(now);
        if peak > self.cap.of(len) {
            let (cap, name) = (self.cap, self.name);
            let head = bytes[..bytes.len().min(60)].escape_ascii();
            return Err(format!(
                "{name} held {peak} bytes for {len}, above its cap of {cap}: {head}"
            ));
        }
        Ok(())
    }

    /// Tries arbitrary bytes and damaged inputs, `cases` times each, and all hostile ones.
    pub fn try_all(&self, cases: u32) -> Result<Row, String> {
        let config = Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        };
        let (arbitrary, near, hostile) = (Cell::default(), Cell::default(), Cell::default());
        let tried = |strategy, seen: &Cell<Seen>| {
            let run = TestRunner::new(config.clone()).run(&strategy, |Raw(bytes)| {
                self.try_one(&bytes, seen).map_err(TestCaseError::fail)
            });
            // proptest tells of the smallest input that fails, and how it found it.
            run.map_err(|error| error.to_string())
        };
        tried(inputs::arbitrary(), &arbitrary)?;
        tried(inputs::damaged((self.valid)()), &near)?;
        let mut worst = Ok(());
        for bytes in (self.hostile)().iter().chain(&(self.valid)()) {
            if let Err(why) = self.try_one(bytes, &hostile) {
                worst = Err(why);
            }
        }
        worst?;
        Ok(Row {
            name: self.name,
            arbitrary: arbitrary.get(),
            near: near.get(),
            hostile: hostile.get(),
            cap: self.cap,
        })
    }
}
