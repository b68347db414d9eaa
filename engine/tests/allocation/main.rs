//! What comes from outside never panics and never makes a parser hold more than its cap, a function of
//! the input's length; and what is written reads back. A test binary of its own: the library that
//! counts allocations takes the place of the allocator.
//!
//! Invariant: a measurement covers one call on one thread and nothing else; each cap is as low as the
//! parser allows, and the canaries at the end show that one above it is caught.
//!
//! The table: `cargo test -p skep-engine --test allocation -- --nocapture caps`.

mod bencoded;
mod direct;
mod inputs;
mod measure;
mod packets;
mod round_trips;

use measure::{Cap, Input, Parser, headline};

#[test]
fn caps_hold_for_every_parser() {
    println!("{}", headline());
    let mut failures = Vec::new();
    let parsers = [bencoded::parsers(), packets::parsers(), direct::parsers()];
    for parser in parsers.iter().flatten() {
        match parser.try_all(1000) {
            Ok(row) => println!("{row}"),
            Err(why) => failures.push(why),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A parser of a length prefix and so many bytes, and what it is tried with.
fn prefixed(read: fn(&Input)) -> Parser {
    Parser {
        name: "a canary",
        read,
        cap: Cap::linear(1024, 20),
        valid: || vec![b"\x00\x00\x00\x05hello".to_vec()],
        hostile: Vec::new,
    }
}

fn prefix(input: &Input) -> Option<(usize, &[u8])> {
    let (prefix, rest) = input.bytes.split_first_chunk()?;
    // So that a machine without so much memory lives on.
    let length = u32::from_be_bytes(*prefix) & 0x0fff_ffff;
    Some((usize::try_from(length).ok()?, rest))
}

#[test]
fn a_parser_that_checks_a_length_before_it_allocates_passes() {
    let careful = prefixed(|input| {
        if let Some((length, rest)) = prefix(input)
            && let Some(body) = rest.get(..length)
        {
            drop(body.to_vec());
        }
    });
    careful.try_all(1000).expect("it is careful");
}

#[test]
fn a_parser_that_allocates_by_a_length_prefix_is_caught() {
    let trusting = prefixed(|input| {
        if let Some((length, rest)) = prefix(input) {
            let mut body = Vec::with_capacity(length);
            body.extend(rest.iter().take(length));
            drop::<Vec<u8>>(std::hint::black_box(body));
        }
    });
    let why = trusting.try_all(1000).expect_err("it trusts a stranger");
    assert!(why.contains("above its cap"), "{why}");
}

#[test]
fn a_parser_that_grows_beyond_proportion_is_caught() {
    let wasteful = prefixed(|input| {
        let kept: Vec<[u8; 64]> = input.bytes.iter().map(|byte| [*byte; 64]).collect();
        drop(std::hint::black_box(kept));
    });
    let why = wasteful.try_all(1000).expect_err("64 bytes for one");
    assert!(why.contains("above its cap"), "{why}");
}

#[test]
fn a_parser_that_panics_is_caught() {
    let brittle = prefixed(|input| {
        if let Some((length, rest)) = prefix(input) {
            drop(rest[..length].to_vec());
        }
    });
    let why = brittle.try_all(1000).expect_err("it does not look");
    assert!(why.contains("panicked"), "{why}");
}
