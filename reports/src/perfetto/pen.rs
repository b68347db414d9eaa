//! Owns how entries of the format are written, and the counters of bytes per second.
//!
//! Invariant: the file is one array; the first failure ends the writing and is told at the end.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use skep_engine::Now;

/// Over how long bytes per second are counted.
pub(super) const SECOND: u64 = 1_000_000_000;

/// One event of the format.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    ph: &'static str,
    /// Microseconds.
    ts: f64,
    pid: u32,
    tid: u32,
    /// Of an instant: how far it reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// Where entries go.
pub(super) struct Pen<W: Write> {
    out: W,
    begun: bool,
    failed: Option<io::Error>,
}

impl<W: Write> Pen<W> {
    /// Nothing written yet.
    pub(super) fn new(out: W) -> Pen<W> {
        Pen {
            out,
            begun: false,
            failed: None,
        }
    }

    /// Ends the array.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let tail: &[u8] = if self.begun { b"\n]\n" } else { b"[]\n" };
        self.out.write_all(tail)?;
        self.out.flush()
    }

    fn write(&mut self, entry: &Entry<'_>) {
        if self.failed.is_some() {
            return;
        }
        let head: &[u8] = if self.begun { b",\n" } else { b"[\n" };
        self.begun = true;
        let written = self.out.write_all(head);
        let written = written.and_then(|()| Ok(serde_json::to_writer(&mut self.out, entry)?));
        self.failed = written.err();
    }

    fn put(&mut self, ph: &'static str, at: u64, [pid, tid]: [u32; 2], name: &str, args: Value) {
        let s = (ph == "i").then_some("t");
        // Whole nanoseconds of a year are exact.
        let ts = at as f64 / 1e3;
        self.write(&Entry {
            name,
            ph,
            ts,
            pid,
            tid,
            s,
            args,
        });
    }

    pub(super) fn begin(&mut self, at: Now, track: [u32; 2], name: &str, args: Value) {
        self.put("B", at.0, track, name, args);
    }

    pub(super) fn end(&mut self, at: Now, track: [u32; 2]) {
        self.put("E", at.0, track, "", Value::Null);
    }

    pub(super) fn moment(&mut self, at: Now, track: [u32; 2], name: &str, args: Value) {
        self.put("i", at.0, track, name, args);
    }

    pub(super) fn count(&mut self, at: u64, pid: u32, name: &str, value: u64) {
        self.put("C", at, [pid, 0], name, json!({ "value": value }));
    }

    pub(super) fn process(&mut self, pid: u32, name: &str) {
        let args = json!({ "name": name });
        self.put("M", 0, [pid, 0], "process_name", args);
        let order = json!({ "sort_index": pid });
        self.put("M", 0, [pid, 0], "process_sort_index", order);
    }

    pub(super) fn track(&mut self, track: [u32; 2], name: &str) {
        let args = json!({ "name": name });
        self.put("M", 0, track, "thread_name", args);
        let order = json!({ "sort_index": track[1] });
        self.put("M", 0, track, "thread_sort_index", order);
    }
}

/// Bytes of the second that is going on.
#[derive(Default)]
pub(super) struct Rate {
    second: u64,
    bytes: u64,
    /// Told last.
    told: u64,
}

impl Rate {
    /// So many bytes more.
    pub(super) fn add<W: Write>(
        &mut self,
        at: Now,
        bytes: u64,
        pid: u32,
        name: &str,
        pen: &mut Pen<W>,
    ) {
        self.turn(at.0 / SECOND, pid, name, pen);
        self.bytes += bytes;
    }

    /// Tells of the seconds before this one.
    pub(super) fn turn<W: Write>(&mut self, second: u64, pid: u32, name: &str, pen: &mut Pen<W>) {
        if second == self.second {
            return;
        }
        let before = self.second;
        let bytes = std::mem::take(&mut self.bytes);
        if bytes != self.told {
            pen.count(before * SECOND, pid, name, bytes);
        }
        self.told = bytes;
        if second > before + 1 && bytes > 0 {
            pen.count((before + 1) * SECOND, pid, name, 0);
            self.told = 0;
        }
        self.second = second;
    }
}
