//! Owns the attack `range-errors`: a file server that answers wrongly in every way in which a careless client
//! would put together a file from parts that do not belong together, one after the other; then it serves.
//!
//! Invariant: bytes sent as the present state of a file are true; those of the state before it, which has a
//! tag of its own, differ in every byte. So a file with a wrong byte was put together from both.

use std::sync::Arc;

use bytes::Bytes;
use skep_engine::direct::range::ContentRange;

use super::raw_server::{RawAnswer, RawRequest, ServerAttack};
use crate::content::Content;
use crate::file_disk;

/// The tag of the state before the present one.
const OLD_TAG: &str = "\"before\"";

/// What it answers to requests for a whole file, one after the other.
const WHOLE: &[Wrong] = &[Wrong::Unavailable, Wrong::OldState, Wrong::Cut];
/// What it answers to requests for a part.
const PART: &[Wrong] = &[
    Wrong::OtherState,
    Wrong::Unsatisfiable,
    Wrong::OtherPlace,
    Wrong::Failed,
    Wrong::CutPart,
    Wrong::WholeInstead,
];

/// One way to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    /// 503 with `Retry-After`.
    Unavailable,
    /// 200, the state before, cut after a third.
    OldState,
    /// 200, cut in the middle.
    Cut,
    /// 206 of the present state to a client that has a part of the one before.
    OtherState,
    /// 416, though there are such bytes.
    Unsatisfiable,
    /// 206 with bytes of another place than was asked for.
    OtherPlace,
    /// 500 without a word.
    Failed,
    /// 206, cut in the middle.
    CutPart,
    /// 200 and the whole, though a part was asked for, cut in the middle.
    WholeInstead,
}

/// The attacker.
pub(super) struct RangeErrors {
    content: Arc<Content>,
    whole: usize,
    part: usize,
}

impl RangeErrors {
    pub(super) fn new(content: Arc<Content>) -> RangeErrors {
        RangeErrors {
            content,
            whole: 0,
            part: 0,
        }
    }

    /// The next way to be wrong that fits the request.
    fn next(&mut self, request: &RawRequest) -> Option<Wrong> {
        let (row, at) = match request.range {
            None => (WHOLE, &mut self.whole),
            Some(_) => (PART, &mut self.part),
        };
        let wrong = row.get(*at).copied();
        *at += 1;
        wrong
    }

    fn wrong(&self, file: usize, from: u64, wrong: Wrong) -> RawAnswer {
        let len = self.content.files[file].len;
        match wrong {
            Wrong::Unavailable => words("503 Service Unavailable", "Retry-After: 2\n"),
            Wrong::Failed => words("500 Internal Server Error", ""),
            Wrong::Unsatisfiable => {
                let said = ContentRange::Unsatisfied { total: len };
                words(
                    "416 Range Not Satisfiable",
                    &format!("Content-Range: {said}\n"),
                )
            }
            Wrong::OldState => {
                let old = self.content.file_slice(file, 0, len);
                let old: Vec<u8> = old.iter().map(|byte| !byte).collect();
                cut(whole(OLD_TAG, Bytes::from(old)), 3)
            }
            Wrong::Cut | Wrong::WholeInstead => cut(self.true_whole(file), 2),
            Wrong::OtherState => self.true_part(file, from..len),
            Wrong::OtherPlace => {
                let before = from / 2;
                self.true_part(file, before..len)
            }
            Wrong::CutPart => cut(self.true_part(file, from..len), 2),
        }
    }

    fn true_whole(&self, file: usize) -> RawAnswer {
        let len = self.content.files[file].len;
        let tag = file_disk::version(&self.content, file).tag.to_string();
        whole(&tag, self.content.file_slice(file, 0, len))
    }

    fn true_part(&self, file: usize, range: std::ops::Range<u64>) -> RawAnswer {
        let tag = file_disk::version(&self.content, file).tag;
        let len = range.end - range.start;
        let body = self.content.file_slice(file, range.start, len);
        let total = Some(self.content.files[file].len);
        let said = ContentRange::Part { range, total };
        RawAnswer {
            head: format!(
                "HTTP/1.1 206 Partial Content\nETag: {tag}\nContent-Range: {said}\nContent-Length: {len}"
            ),
            body,
            close: false,
        }
    }
}

impl ServerAttack for RangeErrors {
    fn answer(&mut self, request: &RawRequest, active: bool) -> (RawAnswer, bool) {
        let files = &self.content.files;
        let Some(file) = files.iter().position(|f| f.path == request.path) else {
            return (words("404 Not Found", ""), false);
        };
        let len = files[file].len;
        let from = request.range.map_or(0, |(from, _)| from);
        if from > 0 && from >= len {
            return (words("416 Range Not Satisfiable", ""), false);
        }
        if active && let Some(wrong) = self.next(request) {
            return (self.wrong(file, from, wrong), true);
        }
        let answer = match request.range {
            None => self.true_whole(file),
            Some((from, to)) => {
                let end = to.map_or(len, |last| last.saturating_add(1).min(len));
                self.true_part(file, from..end.max(from))
            }
        };
        (answer, false)
    }
}

/// The whole of one state.
fn whole(tag: &str, body: Bytes) -> RawAnswer {
    let len = body.len();
    RawAnswer {
        head: format!("HTTP/1.1 200 OK\nETag: {tag}\nContent-Length: {len}"),
        body,
        close: false,
    }
}

/// An answer without a body.
fn words(status: &str, fields: &str) -> RawAnswer {
    RawAnswer {
        head: format!("HTTP/1.1 {status}\n{fields}Content-Length: 0"),
        body: Bytes::new(),
        close: false,
    }
}

/// The first of so many parts of the body, and the end of the connection.
fn cut(mut answer: RawAnswer, parts: usize) -> RawAnswer {
    answer.body.truncate(answer.body.len() / parts);
    answer.close = true;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::TorrentPlan;

    #[test]
    fn it_is_wrong_in_every_way_once_and_then_serves() {
        let plan = TorrentPlan {
            files: vec![("a".into(), 3000)],
            piece_bytes: 1024,
        };
        let content = Arc::new(Content::generate(&plan, 1, "http://10.0.0.1/announce"));
        let mut attack = RangeErrors::new(Arc::clone(&content));
        let whole = RawRequest {
            path: vec!["a".to_owned()],
            head_only: false,
            range: None,
        };
        let part = RawRequest {
            range: Some((1000, None)),
            ..whole.clone()
        };
        let mut seen = Vec::new();
        for request in [&whole, &part] {
            for _ in 0..8 {
                let (answer, acted) = attack.answer(request, true);
                let status = answer.head[9..12].to_owned();
                seen.push((status, answer.body.len(), answer.close, acted));
            }
        }
        let of = |status: &str, len, close, acted| (status.to_owned(), len, close, acted);
        let mut expected = vec![
            of("503", 0, false, true),
            of("200", 1000, true, true),
            of("200", 1500, true, true),
        ];
        expected.extend(vec![of("200", 3000, false, false); 5]);
        expected.extend([
            of("206", 2000, false, true),
            of("416", 0, false, true),
            of("206", 2500, false, true),
            of("500", 0, false, true),
            of("206", 1000, true, true),
            of("200", 1500, true, true),
        ]);
        expected.extend(vec![of("206", 2000, false, false); 2]);
        assert_eq!(seen, expected);
        let mut idle = RangeErrors::new(content);
        assert!(!idle.answer(&whole, false).1, "outside its time it serves");
    }
}
