//! Owns the attack `range-errors`: a file server that answers wrongly in every way in which a careless client
//! would put together a file from parts that do not belong together: each file's first answer is cut, and the
//! request for the rest of it is answered wrongly in a way of its own; then the file is served.
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

/// What it answers to the first request for a part of a file, in the order of the files.
const PARTS: &[Wrong] = &[
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
    /// Requests for each file as a whole, and for a part of it, that it answered wrongly.
    done: Vec<(usize, usize)>,
}

impl RangeErrors {
    pub(super) fn new(content: Arc<Content>) -> RangeErrors {
        RangeErrors {
            done: vec![(0, 0); content.files.len()],
            content,
        }
    }

    /// The next way to be wrong that fits the request.
    fn next(&mut self, file: usize, request: &RawRequest) -> Option<Wrong> {
        let part = PARTS[file % PARTS.len()];
        // The first file of all is late, too.
        let late = (file == 0).then_some(Wrong::Unavailable);
        let begun = match part {
            Wrong::OtherState => Wrong::OldState,
            _ => Wrong::Cut,
        };
        let (whole_done, part_done) = &mut self.done[file];
        let (mut row, done) = match request.range {
            None => ([late, Some(begun)], whole_done),
            Some(_) => ([Some(part), None], part_done),
        };
        row.sort_by_key(Option::is_none);
        let wrong = row.get(*done).copied().flatten();
        *done += 1;
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
        if active && let Some(wrong) = self.next(file, request) {
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

    fn content(files: usize) -> Arc<Content> {
        let plan = TorrentPlan {
            files: (0..files).map(|n| (format!("f{n}"), 3000)).collect(),
            piece_bytes: 1024,
        };
        Arc::new(Content::generate(&plan, "http://10.0.0.1/announce"))
    }

    fn request(file: usize, range: Option<(u64, Option<u64>)>) -> RawRequest {
        RawRequest {
            path: vec!["content".to_owned(), format!("f{file}")],
            head_only: false,
            range,
        }
    }

    #[test]
    fn each_file_is_cut_once_and_its_rest_is_wrong_once_in_a_way_of_its_own() {
        let mut attack = RangeErrors::new(content(6));
        let (mut cuts, mut parts) = (Vec::new(), Vec::new());
        for file in 0..6 {
            for _ in 0..4 {
                let (answer, acted) = attack.answer(&request(file, None), true);
                cuts.push((answer.head[9..12].to_owned(), answer.body.len(), acted));
            }
            for _ in 0..2 {
                let (answer, acted) = attack.answer(&request(file, Some((1000, None))), true);
                parts.push((answer.head[9..12].to_owned(), answer.body.len(), acted));
            }
        }
        let of = |status: &str, len, acted| (status.to_owned(), len, acted);
        let served = || of("200", 3000, false);
        let mut expected = vec![
            of("503", 0, true),
            of("200", 1000, true),
            served(),
            served(),
        ];
        for _ in 1..6 {
            expected.extend([of("200", 1500, true), served(), served(), served()]);
        }
        assert_eq!(cuts, expected);
        let wrong = [
            of("206", 2000, true),
            of("416", 0, true),
            of("206", 2500, true),
            of("500", 0, true),
            of("206", 1000, true),
            of("200", 1500, true),
        ];
        let expected = wrong.into_iter().flat_map(|w| [w, of("206", 2000, false)]);
        assert_eq!(parts, expected.collect::<Vec<_>>());
    }

    #[test]
    fn outside_its_time_it_serves() {
        let content = content(2);
        let mut attack = RangeErrors::new(Arc::clone(&content));
        let (answer, acted) = attack.answer(&request(1, Some((10, Some(19)))), false);
        assert_eq!(answer.body, content.file_slice(1, 10, 10));
        assert!(!acted && !answer.close && answer.head.contains("bytes 10-19/3000"));
    }
}
