//! Owns what tells one state of a file from another (RFC 9110, 8.8): entity tags, times of change, and the
//! conditions of a request that name them (RFC 9110, 13).
//!
//! Invariant: two states of a file whose tags match by the strong comparison have the same bytes; where that
//! is not certain the tag is weak, and no part is ever joined to another by a weak one.

use std::fmt;
use std::time::Duration;

use hyper::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

/// Bytes of the longest tag that a client remembers.
const TAG_BYTES_MAX: usize = 256;

/// Shortest time between a change and the answer that tells of it, for the time to say which state it was:
/// it is counted in whole seconds (RFC 9110, 8.8.2.2).
const SETTLED_AFTER_S: u64 = 1;

/// An entity tag, as it stands in a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntityTag {
    weak: bool,
    /// Without its quotes.
    opaque: String,
}

impl EntityTag {
    /// The tag of a state of a file: its length, when it was changed, and which file of its disk it is.
    #[must_use]
    pub fn of_file(len: u64, modified_ns: u128, file: u64, weak: bool) -> EntityTag {
        EntityTag {
            weak,
            opaque: format!("{len:x}-{modified_ns:x}-{file:x}"),
        }
    }

    /// Reads a tag; `None` when it is none, or is longer than 256 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<EntityTag> {
        let text = text.trim_matches([' ', '\t']);
        let (weak, quoted) = match text.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let opaque = quoted.strip_prefix('"')?.strip_suffix('"')?;
        let sound = |b: u8| b == b'!' || (b'#'..=b'~').contains(&b) || b >= 0x80;
        (opaque.len() <= TAG_BYTES_MAX && opaque.bytes().all(sound)).then(|| EntityTag {
            weak,
            opaque: opaque.to_owned(),
        })
    }

    /// Whether it says nothing about every single byte.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// The strong comparison: the same, and neither is weak.
    #[must_use]
    pub fn same_bytes(&self, other: &EntityTag) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// The weak comparison.
    #[must_use]
    pub fn same_meaning(&self, other: &EntityTag) -> bool {
        self.opaque == other.opaque
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weak = if self.weak { "W/" } else { "" };
        write!(f, "{weak}\"{}\"", self.opaque)
    }
}

/// Seconds since 1970, as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HttpDate(u64);

/// The last second that has four digits for its year.
const SECONDS_MAX: u64 = 253_402_300_799;

impl HttpDate {
    /// A moment; what cannot be written is the last one that can.
    #[must_use]
    pub fn at(seconds: u64) -> HttpDate {
        HttpDate(seconds.min(SECONDS_MAX))
    }

    /// Reads any of the three forms that HTTP has had.
    #[must_use]
    #[expect(
        clippy::disallowed_types,
        reason = "the library counts from 1970 by it; no clock is read"
    )]
    pub fn parse(text: &str) -> Option<HttpDate> {
        let at = httpdate::parse_http_date(text.trim_matches([' ', '\t'])).ok()?;
        let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
        Some(HttpDate::at(since.as_secs()))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl fmt::Display for HttpDate {
    #[expect(
        clippy::disallowed_types,
        reason = "the library counts from 1970 by it; no clock is read"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(self.0);
        httpdate::HttpDate::from(at).fmt(f)
    }
}

/// One state of a file on a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Bytes.
    pub len: u64,
    /// Its tag.
    pub tag: EntityTag,
    /// When it was changed, if that is known.
    pub modified: Option<HttpDate>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Answer it.
    Met,
    /// The client has this state already: 304.
    NotModified,
    /// It asks for another state than this one: 412.
    Failed,
}

/// Weighs the conditions of a GET or HEAD in their order (RFC 9110, 13.2.2). Without tags, a time that cannot
/// be read is no condition.
#[must_use]
pub fn condition(headers: &HeaderMap, version: &Version) -> Condition {
    let date = |name: HeaderName| field(headers, name).and_then(|text| HttpDate::parse(&text));
    if let Some(tags) = field(headers, IF_MATCH) {
        if !names(&tags, |tag| tag.same_bytes(&version.tag)) {
            return Condition::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(IF_UNMODIFIED_SINCE), version.modified)
        && modified > since
    {
        return Condition::Failed;
    }
    if let Some(tags) = field(headers, IF_NONE_MATCH) {
        if names(&tags, |tag| tag.same_meaning(&version.tag)) {
            return Condition::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(IF_MODIFIED_SINCE), version.modified)
        && modified <= since
    {
        return Condition::NotModified;
    }
    Condition::Met
}

/// Whether a `Range` is to be heeded: there is no `If-Range`, or it names this very state (RFC 9110, 13.1.5).
/// A time does so only when the tag is strong: a weak one says that the file has just been changed.
#[must_use]
pub fn range_holds(headers: &HeaderMap, version: &Version) -> bool {
    let Some(text) = field(headers, IF_RANGE) else {
        return true;
    };
    if let Some(tag) = EntityTag::parse(&text) {
        return tag.same_bytes(&version.tag);
    }
    let date = HttpDate::parse(&text);
    date.is_some() && date == version.modified && !version.tag.is_weak()
}

/// A field's value; several lines of it are one list.
fn field(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter();
    let mut whole = String::from_utf8_lossy(lines.next()?.as_bytes()).into_owned();
    for line in lines {
        whole.push(',');
        whole.push_str(&String::from_utf8_lossy(line.as_bytes()));
    }
    Some(whole)
}

/// Whether a list of tags, or `*`, names what is looked for.
fn names(list: &str, found: impl Fn(&EntityTag) -> bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    // A tag may hold commas: the quotes tell where it ends.
    let mut rest = list;
    while let Some(open) = rest.find('"') {
        let Some(len) = rest[open + 1..].find('"') else {
            return false;
        };
        let start = if rest[..open].ends_with("W/") {
            open - 2
        } else {
            open
        };
        let end = open + len + 2;
        if EntityTag::parse(&rest[start..end]).is_some_and(|tag| found(&tag)) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// What a client knows of the state of a file that it has a part of: enough to ask for the rest of the same
/// one, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Validators {
    /// The tag that the server gave.
    pub tag: Option<EntityTag>,
    /// The time of change that it gave, when that was at least a second before its answer.
    pub modified: Option<HttpDate>,
}

impl Validators {
    /// Those of an answer that was made at `date`.
    #[must_use]
    pub fn of(
        tag: Option<EntityTag>,
        modified: Option<HttpDate>,
        date: Option<HttpDate>,
    ) -> Validators {
        let settled = |modified: &HttpDate| {
            date.is_some_and(|date| date.0 >= modified.0.saturating_add(SETTLED_AFTER_S))
        };
        Validators {
            tag,
            modified: modified.filter(settled),
        }
    }

    /// What `If-Range` says to get the rest of this state and of no other; `None` when nothing can say it.
    #[must_use]
    pub fn if_range(&self) -> Option<String> {
        match (&self.tag, self.modified) {
            (Some(tag), _) if !tag.is_weak() => Some(tag.to_string()),
            // A weak tag is a server's word that equal is not the same.
            (None, Some(modified)) => Some(modified.to_string()),
            _ => None,
        }
    }

    /// Whether an answer that brings a part is of the state that these are of: it says so, or says nothing to
    /// the contrary, as it answers an `If-Range`.
    #[must_use]
    pub fn agree(&self, answer: &Validators) -> bool {
        let tags = match (&self.tag, &answer.tag) {
            (Some(ours), Some(theirs)) => ours.same_bytes(theirs),
            _ => true,
        };
        let dates = match (self.modified, answer.modified) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        tags && dates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn tag(text: &str) -> EntityTag {
        EntityTag::parse(text).unwrap()
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn version(tag: &str) -> Version {
        Version {
            len: 100,
            tag: EntityTag::parse(tag).unwrap(),
            modified: HttpDate::parse(DATE),
        }
    }

    #[test]
    fn tags_are_compared_as_rfc_9110_has_it() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(tag(a).same_bytes(&tag(b)), strong, "{a} {b}");
            assert_eq!(tag(a).same_meaning(&tag(b)), weak, "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_tag_is_none() {
        let long = format!("\"{}\"", "x".repeat(TAG_BYTES_MAX + 1));
        for text in ["", "\"", "1", "w/\"1\"", "\"a\"b\"", "\"a b\"", "W/", &long] {
            assert_eq!(EntityTag::parse(text), None, "{text}");
        }
        assert_eq!(tag(" \"\" ").to_string(), "\"\"");
    }

    #[test]
    fn the_tag_of_a_file_changes_with_all_that_tells_its_states_apart() {
        let tags = [(1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0)];
        let tags = tags.map(|(len, at, file)| EntityTag::of_file(len, at, file, false));
        for (at, tag) in tags.iter().enumerate() {
            assert_eq!(EntityTag::parse(&tag.to_string()).as_ref(), Some(tag));
            assert!(tags[at + 1..].iter().all(|other| !other.same_bytes(tag)));
        }
    }

    #[test]
    fn dates_have_three_forms_and_are_written_in_one() {
        for text in [
            DATE,
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let date = HttpDate::parse(text).expect(text);
            assert_eq!(
                (date.seconds(), date.to_string().as_str()),
                (784_111_777, DATE)
            );
        }
        assert_eq!(HttpDate::parse("yesterday"), None);
        assert_eq!(
            HttpDate::at(u64::MAX).to_string(),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
    }

    #[test]
    fn conditions_are_weighed_in_their_order() {
        use Condition::{Failed, Met, NotModified};
        for (fields, result) in [
            (&[][..], Met),
            (&[(IF_MATCH, "\"1\"")], Met),
            (&[(IF_MATCH, "*")], Met),
            (&[(IF_MATCH, "\"0\", \"1\"")], Met),
            (&[(IF_MATCH, "\"0\""), (IF_MATCH, "\"1\"")], Met),
            (&[(IF_MATCH, "W/\"1\"")], Failed),
            (&[(IF_MATCH, "\"0,\\\"")], Failed),
            // A tag beats a time.
            (&[(IF_MATCH, "\"1\""), (IF_UNMODIFIED_SINCE, OLD)], Met),
            (&[(IF_UNMODIFIED_SINCE, OLD)], Failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Met),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Met),
            (&[(IF_NONE_MATCH, "W/\"1\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"a,b\",\"1\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"0\"")], Met),
            (&[(IF_NONE_MATCH, "\"0\""), (IF_MODIFIED_SINCE, NEW)], Met),
            (&[(IF_MODIFIED_SINCE, DATE)], NotModified),
            (&[(IF_MODIFIED_SINCE, OLD)], Met),
            (&[(IF_MATCH, "\"0\""), (IF_NONE_MATCH, "\"1\"")], Failed),
        ] {
            assert_eq!(
                condition(&headers(fields), &version("\"1\"")),
                result,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_range_holds_for_the_state_that_it_is_of() {
        for (tag, if_range, holds) in [
            ("\"1\"", None, true),
            ("\"1\"", Some("\"1\""), true),
            ("\"1\"", Some("\"2\""), false),
            ("\"1\"", Some("W/\"1\""), false),
            ("W/\"1\"", Some("W/\"1\""), false),
            ("\"1\"", Some(DATE), true),
            ("\"1\"", Some(NEW), false),
            ("\"1\"", Some(OLD), false),
            ("W/\"1\"", Some(DATE), false),
            ("\"1\"", Some("nonsense"), false),
        ] {
            let fields: Vec<_> = if_range.map(|text| (IF_RANGE, text)).into_iter().collect();
            assert_eq!(
                range_holds(&headers(&fields), &version(tag)),
                holds,
                "{if_range:?}"
            );
        }
    }

    #[test]
    fn a_client_asks_for_the_rest_only_of_a_state_that_it_can_name() {
        let date = HttpDate::parse;
        for (tag, modified, at, if_range) in [
            (Some("\"1\""), Some(DATE), Some(NEW), Some("\"1\"")),
            (Some("\"1\""), None, None, Some("\"1\"")),
            (Some("W/\"1\""), Some(DATE), Some(NEW), None),
            (None, Some(DATE), Some(NEW), Some(DATE)),
            (None, Some(DATE), Some(DATE), None),
            (None, Some(DATE), None, None),
            (None, None, Some(DATE), None),
        ] {
            let tag = tag.and_then(EntityTag::parse);
            let validators = Validators::of(tag, modified.and_then(date), at.and_then(date));
            assert_eq!(validators.if_range().as_deref(), if_range);
        }
    }

    #[test]
    fn a_part_of_another_state_is_known_by_what_it_says() {
        let of = |tag: Option<&str>, modified: Option<&str>| Validators {
            tag: tag.and_then(EntityTag::parse),
            modified: modified.and_then(HttpDate::parse),
        };
        let ours = of(Some("\"1\""), Some(DATE));
        for (theirs, same) in [
            (of(Some("\"1\""), Some(DATE)), true),
            (of(Some("\"1\""), None), true),
            (of(None, None), true),
            (of(Some("\"2\""), Some(DATE)), false),
            (of(Some("W/\"1\""), Some(DATE)), false),
            (of(Some("\"1\""), Some(NEW)), false),
        ] {
            assert_eq!(ours.agree(&theirs), same, "{theirs:?}");
        }
    }
}
