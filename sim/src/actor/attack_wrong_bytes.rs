//! Owns the attack `wrong-bytes`: a file server whose answers have, with probability p, one wrong byte
//! somewhere. Whoever checks no hashes ends with a wrong file.
//!
//! Invariant: but for that byte its answers are those of an honest server.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::direct::range::ContentRange;

use super::raw_server::{RawAnswer, RawRequest, ServerAttack};
use crate::content::Content;
use crate::file_disk;

/// The attacker.
pub(super) struct WrongBytes {
    probability_ppm: u32,
    content: Arc<Content>,
    rng: ChaCha8Rng,
}

impl WrongBytes {
    pub(super) fn new(probability_ppm: u32, content: Arc<Content>, rng: ChaCha8Rng) -> WrongBytes {
        WrongBytes {
            probability_ppm,
            content,
            rng,
        }
    }

    /// These bytes of a file, true or wrong.
    fn body(&mut self, file: usize, first: u64, len: u64, active: bool) -> (Bytes, bool) {
        let truth = self.content.file_slice(file, first, len);
        let draw = self.rng.next_u64() % 1_000_000;
        if !active || truth.is_empty() || draw >= u64::from(self.probability_ppm) {
            return (truth, false);
        }
        let mut wrong = BytesMut::from(&truth[..]);
        let at = usize::try_from(self.rng.next_u64() % len).expect("inside the body");
        wrong[at] ^= 1 << (self.rng.next_u32() % 8);
        (wrong.freeze(), true)
    }
}

impl ServerAttack for WrongBytes {
    fn answer(&mut self, request: &RawRequest, active: bool) -> (RawAnswer, bool) {
        let found = self
            .content
            .files
            .iter()
            .position(|f| f.path == request.path);
        let Some(file) = found else {
            return (plain("404 Not Found", String::new(), Bytes::new()), false);
        };
        let len = self.content.files[file].len;
        let tag = file_disk::version(&self.content, file).tag;
        let (first, end) = match request.range {
            None => (0, len),
            Some((first, last)) => {
                let end = last.map_or(len, |last| last.saturating_add(1).min(len));
                (first, end)
            }
        };
        if first >= end {
            let said = ContentRange::Unsatisfied { total: len };
            let said = format!("Content-Range: {said}\n");
            let answer = plain("416 Range Not Satisfiable", said, Bytes::new());
            return (answer, false);
        }
        let (body, wrong) = self.body(file, first, end - first, active && !request.head_only);
        let answer = match request.range {
            None => plain("200 OK", format!("ETag: {tag}\n"), body),
            Some(_) => {
                let total = Some(len);
                let range = first..end;
                let said = ContentRange::Part { range, total };
                let fields = format!("ETag: {tag}\nContent-Range: {said}\n");
                plain("206 Partial Content", fields, body)
            }
        };
        (answer, wrong)
    }
}

fn plain(status: &str, fields: String, body: Bytes) -> RawAnswer {
    RawAnswer {
        head: format!("HTTP/1.1 {status}\n{fields}Content-Length: {}", body.len()),
        body,
        close: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::TorrentPlan;
    use crate::seed;

    #[test]
    fn it_lies_about_as_often_as_it_is_told_and_in_one_byte() {
        let plan = TorrentPlan {
            files: vec![("a".into(), 3000)],
            piece_bytes: 1024,
        };
        let content = Arc::new(Content::generate(&plan, "http://10.0.0.1/announce"));
        let rng = seed::stream(1, "attack");
        let mut attack = WrongBytes::new(500_000, Arc::clone(&content), rng);
        let part = RawRequest {
            path: vec!["a".to_owned()],
            head_only: false,
            range: Some((1000, Some(1999))),
        };
        let truth = content.file_slice(0, 1000, 1000);
        let mut lies = 0;
        for _ in 0..200 {
            let (answer, acted) = attack.answer(&part, true);
            assert!(answer.head.contains("bytes 1000-1999/3000"));
            let differ = answer.body.iter().zip(&truth).filter(|(a, b)| a != b);
            assert_eq!(differ.count(), usize::from(acted));
            lies += u32::from(acted);
        }
        assert!((70..130).contains(&lies), "{lies}");
        assert!(!attack.answer(&part, false).1, "outside its time it serves");
    }
}
