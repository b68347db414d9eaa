//! Owns the parsers under test of direct download: fields of HTTP heads, paths, URLs, the note beside a part.
//!
//! Invariant: each cap says in a comment what it pays for.

use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use skep_engine::direct::disk::Origin;
use skep_engine::direct::note::{NOTE_BYTES_MAX, Note};
use skep_engine::direct::path::parse_path;
use skep_engine::direct::range::{ContentRange, parse_range};
use skep_engine::direct::url::{HttpTarget, URL_BYTES_MAX, http_target};
use skep_engine::direct::validator::{
    EntityTag, HttpDate, Validators, Version, condition, range_holds,
};

use super::measure::{Cap, Input, Parser};

const KIB: u64 = 1024;

pub fn parsers() -> Vec<Parser> {
    vec![
        Parser {
            name: "byte ranges",
            read: |input| {
                let _ = parse_range(&input.text, 1000);
                let _ = ContentRange::parse(&input.text);
            },
            // Nothing: numbers are read where they stand.
            cap: Cap::linear(0, 0),
            valid: || texts(&["bytes=0-9", "bytes=-5, 7-", "bytes 0-9/100", "bytes */7"]),
            hostile: || {
                let big = "9".repeat(10_000);
                vec![
                    many("bytes=", "0-1,", 5000),
                    many("bytes=", "2000-,", 5000),
                    format!("bytes={big}-{big}").into_bytes(),
                    format!("bytes {big}-{big}/{big}").into_bytes(),
                ]
            },
        },
        Parser {
            name: "entity tags, dates",
            read: |input| {
                drop(EntityTag::parse(&input.text));
                let _ = HttpDate::parse(&input.text);
            },
            // A tag of 256 bytes.
            cap: Cap::linear(256, 0),
            valid: || {
                texts(&[
                    "W/\"a-b\"",
                    "Sun, 06 Nov 1994 08:49:37 GMT",
                    "Sunday, 06-Nov-94 08:49:37 GMT",
                    "Sun Nov  6 08:49:37 1994",
                ])
            },
            hostile: || {
                let tag = |len| format!("\"{}\"", "x".repeat(len)).into_bytes();
                vec![
                    tag(256),
                    tag(257),
                    tag(60_000),
                    many("Sun, ", "9", 60_000),
                    many("Sun, 06 Nov ", "9", 60_000),
                ]
            },
        },
        Parser {
            name: "conditions",
            read: conditions,
            // The field as it came, and as text in a buffer that doubles; the table of fields; and a tag.
            cap: Cap::linear(2 * KIB, 50),
            valid: || texts(&["\"a\", W/\"b\"", "*", "Sun, 06 Nov 1994 08:49:37 GMT"]),
            hostile: || {
                vec![
                    many("", "\"a\",", 4000),
                    many("\"", "a", 16_000),
                    many("", "\"", 16_001),
                    vec![0xff; 16_000],
                    [&b"\""[..], &[0xff; 16_000], b"\""].concat(),
                ]
            },
        },
        Parser {
            name: "served paths",
            read: |input| drop(parse_path(&input.text)),
            // A part of one byte and its slash become a name of 24 bytes and its own buffer, in a list that
            // doubles. A head of `serve_head_max` bytes bounds it.
            cap: Cap::linear(KIB, 385),
            valid: || texts(&["/", "/films/big%20one.mkv", "/%C3%A9/", "/a/b/c/"]),
            hostile: || {
                vec![
                    many("", "/a", 8000),
                    many("", "/a", 4097),
                    many("", "/", 8000),
                    many("/", "%41", 5000),
                    many("/", "%ff", 5000),
                    many("", "/%61", 4000),
                    many("", "/..", 4000),
                ]
            },
        },
        Parser {
            name: "URLs of files",
            read: |input| {
                if let Ok(target) = http_target(&input.text) {
                    drop(target.file_name());
                    drop(target.join("../b?c"));
                }
                drop(home().join(&input.text));
            },
            // Of a reference: the parts of its path, 16 bytes for one of a byte, in a list that doubles; then
            // a byte becomes three. Of what is above 4 KiB nothing.
            cap: Cap {
                fixed: 2 * KIB,
                steep: 320,
                knee: URL_BYTES_MAX as u64,
                flat: 0,
            },
            valid: || {
                texts(&[
                    "http://h.example:81/a/b%20c?d#e",
                    "http://[::1]/a",
                    "//other/a",
                    "../a/./b",
                ])
            },
            hostile: || {
                vec![
                    many("http://h/", "\u{e9}", 2000),
                    many("http://h", "/a", 2000),
                    many("", "/a", 2000),
                    many("", "/a", 1025),
                    many("", "/a", 513),
                    many("", "/", 4096),
                    many("", "/", 100_000),
                    many("", "../", 1300),
                    many("a", "/<", 2000),
                    many("http://h/", "%41", 1300),
                ]
            },
        },
        Parser {
            name: "note beside a part",
            read: |input| drop(Note::parse(&input.text)),
            // Its URL, and the one that it takes the place of; of what is above 8 KiB nothing.
            cap: Cap {
                fixed: 512,
                steep: 10,
                knee: NOTE_BYTES_MAX as u64,
                flat: 0,
            },
            valid: || {
                let note = Note {
                    origin: Origin {
                        url: "http://h/a".to_owned(),
                        validators: Validators {
                            tag: EntityTag::parse("\"a\""),
                            modified: Some(HttpDate::at(7)),
                        },
                        len: Some(100),
                    },
                    synced: 40,
                };
                vec![note.write().expect("it can be written").into_bytes()]
            },
            hostile: || {
                let first = "skep fetch 1\n";
                let url = |len| format!("url {}\n", "x".repeat(len));
                vec![
                    format!("{first}{}", url(8000)).into_bytes(),
                    format!("{first}{}{}", url(4000), url(4000)).into_bytes(),
                    format!("{first}{}", url(100_000)).into_bytes(),
                    many(first, "url x\n", 1300),
                    many(first, "etag \"x\"\n", 800),
                    many(first, "synced 99999999999999999999\n", 200),
                ]
            },
        },
    ]
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn many(head: &str, tail: &str, count: usize) -> Vec<u8> {
    (head.to_owned() + &tail.repeat(count)).into_bytes()
}

/// Where a reference is found.
fn home() -> HttpTarget {
    http_target("http://h.example/a/b").expect("a URL")
}

/// Weighs the input as each condition of a request.
fn conditions(input: &Input) {
    let version = Version {
        len: 100,
        tag: EntityTag::parse("\"1\"").expect("a tag"),
        modified: Some(HttpDate::at(7)),
    };
    let with = |name: HeaderName| {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(&input.bytes).ok()?;
        headers.insert(name, value);
        Some(headers)
    };
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if let Some(headers) = with(name) {
            let _ = condition(&headers, &version);
        }
    }
    if let Some(headers) = with(IF_RANGE) {
        let _ = range_holds(&headers, &version);
    }
}
