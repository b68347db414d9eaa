use super::*;
use crate::direct::client::BadField;
use crate::direct::url::http_target;
use crate::direct::validator::{EntityTag, HttpDate, Validators};
use hyper::StatusCode;
use rand_chacha::rand_core::SeedableRng;

const URL: &str = "http://h/a/film.mkv";

fn state(tag: Option<&str>, modified: Option<u64>) -> Validators {
    Validators {
        tag: tag.and_then(EntityTag::parse),
        modified: modified.map(HttpDate::at),
    }
}

fn kept(len: u64, validators: Validators) -> Option<Kept> {
    let origin = Origin {
        url: URL.to_owned(),
        validators,
        len: Some(100),
    };
    Some(Kept { len, origin })
}

fn fetch(len_wanted: Option<u64>, kept: Option<Kept>) -> Result<Fetch, FetchError> {
    let (config, rng) = (EngineConfig::default(), ChaCha8Rng::seed_from_u64(1));
    Fetch::new(
        URL,
        http_target(URL).unwrap(),
        len_wanted,
        kept,
        &config,
        rng,
    )
}

/// A fetch that has 40 bytes of 100 of the state `"a"` and has asked for the rest.
fn resuming() -> Fetch {
    let mut fetch = fetch(None, kept(40, state(Some("\"a\""), None))).unwrap();
    let request = fetch.request();
    assert_eq!(request.range, Some(ByteRange::from(40)));
    assert_eq!(request.if_range.as_deref(), Some("\"a\""));
    fetch
}

fn head(status: u16) -> Head {
    Head {
        status: StatusCode::from_u16(status).unwrap(),
        length: None,
        range: None,
        validators: Validators::default(),
        encoded: false,
        location: None,
        retry_after: None,
    }
}

fn whole(len: u64, tag: &str) -> Head {
    Head {
        length: Some(len),
        validators: state(Some(tag), None),
        ..head(200)
    }
}

fn part(range: std::ops::Range<u64>, total: Option<u64>, tag: Option<&str>) -> Head {
    Head {
        length: Some(range.end - range.start),
        range: Some(Ok(ContentRange::Part { range, total })),
        validators: state(tag, None),
        ..head(206)
    }
}

#[test]
fn a_file_is_fetched_from_its_start_to_its_end() {
    let mut fetch = fetch(Some(100), None).unwrap();
    let request = fetch.request();
    assert_eq!((request.range, request.if_range), (None, None));
    assert_eq!(fetch.judge(&whole(100, "\"a\"")), Worth::FromStart(None));
    assert_eq!(fetch.origin().url, URL);
    fetch.received(60).unwrap();
    fetch.received(40).unwrap();
    assert_eq!((fetch.ended(), fetch.have()), (Ok(true), 100));
}

#[test]
fn only_a_state_that_can_be_named_is_gone_on_with() {
    for (validators, if_range) in [
        (state(Some("\"a\""), Some(7)), Some("\"a\"")),
        (state(None, Some(7)), Some("Thu, 01 Jan 1970 00:00:07 GMT")),
        (state(Some("W/\"a\""), Some(7)), None),
        (state(None, None), None),
    ] {
        let mut fetch = fetch(None, kept(40, validators)).unwrap();
        let request = fetch.request();
        assert_eq!(request.if_range.as_deref(), if_range);
        assert_eq!(request.range.is_some(), if_range.is_some());
        if if_range.is_none() {
            let fresh = Worth::FromStart(Some(Fresh::Unknown));
            assert_eq!(fetch.judge(&whole(100, "\"a\"")), fresh);
        }
    }
}

#[test]
fn what_is_of_another_url_or_of_nobody_knows_what_is_not_touched() {
    let mut other = kept(40, state(Some("\"a\""), None)).unwrap();
    other.origin.url = "http://h/b".to_owned();
    let nobody = |len| Kept {
        len,
        origin: Origin::default(),
    };
    for (kept, refused) in [(other, true), (nobody(1), true), (nobody(0), false)] {
        let result = fetch(None, Some(kept)).map(|fetch| fetch.have());
        assert_eq!(result == Err(FetchError::OtherPart), refused, "{result:?}");
    }
}

#[test]
fn answers_to_a_question_for_the_rest() {
    let nonsense = Worth::Useless(FetchError::Nonsense, None);
    for (case, head, worth, have) in [
        (
            "the rest",
            part(40..100, Some(100), Some("\"a\"")),
            Worth::Behind,
            40,
        ),
        (
            "of a state that it does not tell",
            part(40..100, None, None),
            Worth::Behind,
            40,
        ),
        (
            "some of it",
            part(40..50, Some(100), None),
            Worth::Behind,
            40,
        ),
        (
            "another place",
            part(0..100, Some(100), Some("\"a\"")),
            nonsense.clone(),
            40,
        ),
        (
            "a gap",
            part(41..100, Some(100), Some("\"a\"")),
            nonsense.clone(),
            40,
        ),
        (
            "another length",
            part(40..101, Some(101), Some("\"a\"")),
            nonsense.clone(),
            40,
        ),
        (
            "longer than the whole",
            part(40..101, None, Some("\"a\"")),
            nonsense.clone(),
            40,
        ),
        (
            "another state",
            part(40..100, Some(100), Some("\"b\"")),
            nonsense.clone(),
            40,
        ),
        (
            "more than it says",
            Head {
                length: Some(61),
                ..part(40..100, Some(100), None)
            },
            nonsense.clone(),
            40,
        ),
        ("no place", head(206), nonsense.clone(), 40),
        (
            "no sense",
            Head {
                range: Some(Err(BadField)),
                ..head(206)
            },
            nonsense,
            40,
        ),
        (
            "another state, whole",
            whole(90, "\"b\""),
            Worth::FromStart(Some(Fresh::Changed)),
            0,
        ),
        (
            "the same state, whole",
            whole(100, "\"a\""),
            Worth::FromStart(Some(Fresh::NoRanges)),
            0,
        ),
        (
            "compressed",
            Head {
                encoded: true,
                ..part(40..100, Some(100), None)
            },
            Worth::Useless(FetchError::Encoded, None),
            40,
        ),
    ] {
        let mut fetch = resuming();
        assert_eq!(fetch.judge(&head), worth, "{case}");
        assert_eq!(fetch.have(), have, "{case}");
    }
}

#[test]
fn after_a_wrong_part_everything_is_asked_for() {
    let mut fetch = resuming();
    let Worth::Useless(error, None) = fetch.judge(&part(0..100, Some(100), None)) else {
        panic!("it begins elsewhere");
    };
    assert!(matches!(fetch.failed(error, None), After::Pause(_)));
    assert_eq!(fetch.request().range, None);
    let fresh = Worth::FromStart(Some(Fresh::NoRanges));
    assert_eq!(fetch.judge(&whole(100, "\"a\"")), fresh);
}

#[test]
fn a_file_that_is_no_longer_than_what_is_here_is_whole() {
    let says = |total| Head {
        range: Some(Ok(ContentRange::Unsatisfied { total })),
        ..head(416)
    };
    let all = kept(100, state(Some("\"a\""), None));
    let mut whole = fetch(None, all.clone()).unwrap();
    assert_eq!(whole.request().range, Some(ByteRange::from(100)));
    assert_eq!(whole.judge(&says(100)), Worth::Complete);
    for head in [says(99), says(101), head(416)] {
        let mut fetch = fetch(None, all.clone()).unwrap();
        let _ = fetch.request();
        let worth = fetch.judge(&head);
        assert_eq!(worth, Worth::Useless(FetchError::Status(416), None));
        // Everything is asked for before it is given up.
        let after = fetch.failed(FetchError::Status(416), None);
        assert!(matches!(after, After::Pause(_)));
        assert_eq!(fetch.request().range, None);
        let after = fetch.failed(FetchError::Status(416), None);
        assert_eq!(after, After::GiveUp(FetchError::Status(416)));
    }
}

#[test]
fn a_body_that_is_shorter_or_longer_than_it_says_is_a_failure() {
    let mut fetch = resuming();
    assert_eq!(fetch.judge(&part(40..50, Some(100), None)), Worth::Behind);
    fetch.received(9).unwrap();
    assert_eq!(fetch.ended(), Err(FetchError::Http(HttpError::Lost)));
    fetch.received(1).unwrap();
    assert_eq!(fetch.ended(), Ok(false), "there is more of the file");
    assert_eq!(fetch.request().range, Some(ByteRange::from(50)));
    assert_eq!(fetch.judge(&part(50..60, Some(100), None)), Worth::Behind);
    assert_eq!(fetch.received(11), Err(FetchError::Nonsense));
}

#[test]
fn another_length_than_was_told_is_given_up() {
    let wrong = FetchError::WrongLength {
        wanted: 100,
        got: 99,
    };
    let mut told = fetch(Some(100), None).unwrap();
    let _ = told.request();
    assert_eq!(
        told.judge(&whole(99, "\"a\"")),
        Worth::Useless(wrong.clone(), None)
    );
    assert_eq!(
        told.failed(wrong.clone(), None),
        After::GiveUp(wrong.clone())
    );
    // A server may say how long it is only by ending.
    let mut unknown = fetch(Some(100), None).unwrap();
    let _ = unknown.request();
    assert_eq!(unknown.judge(&head(200)), Worth::FromStart(None));
    unknown.received(99).unwrap();
    assert_eq!(unknown.ended(), Err(wrong));
}

#[test]
fn redirects_are_followed_a_few_times_and_a_new_try_begins_where_the_user_said() {
    let to = |location: &str| Head {
        location: Some(location.to_owned()),
        ..head(302)
    };
    let mut fetch = resuming();
    let moved = http_target("http://h/b").unwrap();
    assert_eq!(fetch.judge(&to("../b")), Worth::Moved(moved.clone()));
    assert_eq!(fetch.request().target, moved);
    for _ in 1..EngineConfig::default().fetch_redirects_max {
        assert_eq!(fetch.judge(&to("/b")), Worth::Moved(moved.clone()));
    }
    let worth = fetch.judge(&to("/b"));
    assert_eq!(worth, Worth::Useless(FetchError::Redirected, None));
    assert!(matches!(
        fetch.failed(HttpError::Lost.into(), None),
        After::Pause(_)
    ));
    assert_eq!(fetch.request().target, http_target(URL).unwrap());
    let worth = fetch.judge(&to("https://h/"));
    let error = FetchError::Location(UrlError::Https);
    assert_eq!(worth, Worth::Useless(error.clone(), None));
    assert_eq!(fetch.failed(error.clone(), None), After::GiveUp(error));
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_given_up() {
    for (status, again) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (410, false),
        (429, true),
        (500, true),
        (501, false),
        (503, true),
        (505, false),
        (204, false),
        (304, false),
    ] {
        let mut fetch = resuming();
        let Worth::Useless(error, None) = fetch.judge(&head(status)) else {
            panic!("{status}");
        };
        assert_eq!(error, FetchError::Status(status));
        let after = fetch.failed(error, None);
        assert_eq!(matches!(after, After::Pause(_)), again, "{status}");
    }
}

#[test]
fn pauses_double_with_jitter_heed_the_server_and_begin_anew_with_progress() {
    let config = EngineConfig::default();
    let lost = || FetchError::Http(HttpError::Lost);
    let mut fetch = resuming();
    for tries in 0..config.fetch_retries {
        let longest = (config.fetch_retry_min * (1 << tries)).min(config.fetch_retry_max);
        let After::Pause(pause) = fetch.failed(lost(), None) else {
            panic!("{tries}");
        };
        assert!(
            longest / 2 <= pause && pause <= longest,
            "{tries}: {pause:?}"
        );
    }
    assert_eq!(fetch.failed(lost(), None), After::GiveUp(lost()));
    for (told, pause) in [(20, 20), (100_000, 120)] {
        let mut fetch = resuming();
        let told = Some(Duration::from_secs(told));
        let after = fetch.failed(FetchError::Status(503), told);
        assert_eq!(after, After::Pause(Duration::from_secs(pause)));
    }
    let mut fetch = resuming();
    for _ in 0..100 {
        let After::Pause(pause) = fetch.failed(lost(), None) else {
            panic!("each time something came");
        };
        assert!(pause <= config.fetch_retry_min);
        let _ = fetch.request();
        let have = fetch.have();
        assert_eq!(
            fetch.judge(&part(have..have + 1, None, None)),
            if have < 100 {
                Worth::Behind
            } else {
                Worth::Useless(FetchError::Nonsense, None)
            }
        );
        if have == 100 {
            return;
        }
        fetch.received(1).unwrap();
    }
}

#[test]
fn what_was_there_already_is_no_progress() {
    let lost = || FetchError::Http(HttpError::Lost);
    let mut fetch = fetch(None, None).unwrap();
    // A server without tags sends 60 bytes of 100 each time, and then the connection ends.
    for tries in 0..=EngineConfig::default().fetch_retries {
        let _ = fetch.request();
        let answer = Head {
            length: Some(100),
            ..head(200)
        };
        assert!(matches!(fetch.judge(&answer), Worth::FromStart(_)));
        fetch.received(60).unwrap();
        assert_eq!(fetch.ended(), Err(lost()));
        let after = fetch.failed(lost(), None);
        let ends = tries == EngineConfig::default().fetch_retries;
        assert_eq!(after == After::GiveUp(lost()), ends, "{tries}");
    }
    // One byte more than ever is.
    let _ = fetch.request();
    let answer = Head {
        length: Some(100),
        ..head(200)
    };
    fetch.judge(&answer);
    fetch.received(61).unwrap();
    assert!(matches!(fetch.failed(lost(), None), After::Pause(_)));
}
