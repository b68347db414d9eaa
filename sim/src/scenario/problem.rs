//! Owns what is wrong with a scenario file and where: the list that reading and validation fill, and
//! the diagnostic that the command line draws.
//!
//! Invariant: a span counts bytes through all sources laid end to end (the file, then each override),
//! so that every value, wherever it came from, can be pointed at.

use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

/// Everything that is wrong with a scenario; at least one problem.
#[derive(Clone, Debug, thiserror::Error, Diagnostic)]
#[error("{} wrong in {file}", if .problems.len() == 1 { "one thing is".to_owned() } else { format!("{} things are", .problems.len()) })]
pub struct ScenarioErrors {
    /// The file.
    pub file: String,
    /// What is wrong, in the order of the file.
    #[related]
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The place, as bytes of its source, and what to write under it.
    pub span: Range<usize>,
    /// Another place that belongs to it.
    pub second: Option<(Range<usize>, String)>,
    /// The text under the caret; empty for none.
    pub label: String,
    text: NamedSource<Arc<str>>,
}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let first = LabeledSpan::new_primary_with_span(label, span(&self.span));
        let second = self
            .second
            .as_ref()
            .map(|(at, label)| LabeledSpan::new_with_span(Some(label.clone()), span(at)));
        Some(Box::new(std::iter::once(first).chain(second)))
    }
}

fn span(range: &Range<usize>) -> SourceSpan {
    SourceSpan::from(range.clone())
}

/// One problem before its source is known.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub message: String,
    pub help: Option<String>,
    pub span: Range<usize>,
    pub second: Option<Box<(Range<usize>, String)>>,
    pub label: String,
}

impl Found {
    /// A problem at this place.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Found {
        Found {
            message: message.into(),
            help: None,
            span,
            second: None,
            label: String::new(),
        }
    }

    /// With this under the caret.
    pub fn label(mut self, label: impl Into<String>) -> Found {
        self.label = label.into();
        self
    }

    /// With this advice.
    pub fn help(mut self, help: impl Into<String>) -> Found {
        self.help = Some(help.into());
        self
    }

    fn inside(&self, within: &Range<usize>) -> bool {
        within.start <= self.span.start && self.span.end <= within.end
    }

    /// Together with that place.
    pub fn and(mut self, span: Range<usize>, label: impl Into<String>) -> Found {
        self.second = Some(Box::new((span, label.into())));
        self
    }
}

/// The problems found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    found: Vec<Found>,
}

impl Log {
    /// Notes a problem.
    pub fn push(&mut self, found: Found) {
        self.found.push(found);
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What the first problem is.
    pub fn first_message(&self) -> Option<&str> {
        self.found.first().map(|found| found.message.as_str())
    }

    /// Whether a problem's place lies inside `within`.
    pub fn any_inside(&self, within: &Range<usize>) -> bool {
        self.found.iter().any(|found| found.inside(within))
    }

    /// Takes over the problems of `other` whose place lies inside `within`.
    pub fn adopt(&mut self, other: Log, within: &Range<usize>) {
        self.found
            .extend(other.found.into_iter().filter(|found| found.inside(within)));
    }

    /// Everything that is wrong, in the order of the sources, once each.
    pub fn into_errors(mut self, sources: &Sources) -> ScenarioErrors {
        self.found.sort_by(|a, b| {
            (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message))
        });
        self.found
            .dedup_by(|a, b| a.span == b.span && a.message == b.message);
        let problems = self
            .found
            .into_iter()
            .map(|found| sources.place(found))
            .collect();
        ScenarioErrors {
            file: sources.parts[0].name.clone(),
            problems,
        }
    }
}

/// The texts that a scenario is read from, laid end to end.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    parts: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    start: usize,
    name: String,
    text: Arc<str>,
}

impl Sources {
    /// The file alone.
    pub fn new(file: &str, text: &str) -> Sources {
        Sources {
            parts: vec![Source {
                start: 0,
                name: file.to_owned(),
                text: text.into(),
            }],
        }
    }

    /// Adds a text; returns where its spans begin.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        let last = &self.parts[self.parts.len() - 1];
        let start = last.start + last.text.len() + 1;
        self.parts.push(Source {
            start,
            name: name.to_owned(),
            text: text.into(),
        });
        start
    }

    /// The text of a span, when it is one.
    pub fn slice(&self, span: Range<usize>) -> Option<&str> {
        let source = self.holder(span.start);
        source
            .text
            .get(span.start - source.start..span.end.checked_sub(source.start)?)
    }

    fn holder(&self, at: usize) -> &Source {
        let position = self.parts.partition_point(|s| s.start <= at);
        &self.parts[position.saturating_sub(1)]
    }

    fn place(&self, found: Found) -> Problem {
        let source = self.holder(found.span.start);
        let local = |span: Range<usize>| {
            let at = |byte: usize| byte.saturating_sub(source.start).min(source.text.len());
            at(span.start)..at(span.end)
        };
        let same = |span: &Range<usize>| self.holder(span.start).start == source.start;
        Problem {
            message: found.message,
            help: found.help,
            second: found
                .second
                .filter(|other| same(&other.0))
                .map(|other| (local(other.0), other.1)),
            span: local(found.span),
            label: found.label,
            text: NamedSource::new(&source.name, Arc::clone(&source.text)),
        }
    }
}

/// Words that are listed beside a suggestion.
const LIST_MAX: usize = 12;

/// The nearest of `known` to what was written, when it is near enough to be meant.
pub(super) fn nearest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    known
        .into_iter()
        .map(|word| (strsim::osa_distance(written, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(written.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "did you mean ...?" when something is near, and what there is, unless that is a long list.
pub(super) fn suggest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    let mut all: Vec<&str> = known.clone().into_iter().collect();
    all.dedup();
    match nearest(written, known) {
        Some(near) if all.len() > LIST_MAX => format!("did you mean `{near}`?"),
        Some(near) => format!("did you mean `{near}`? known: {}", all.join(", ")),
        None if all.is_empty() => "there is none".to_owned(),
        None => format!("known: {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_finds_its_source() {
        let mut sources = Sources::new("a.toml", "first");
        let start = sources.add("--set", "k=v");
        assert_eq!(sources.slice(0..5), Some("first"));
        assert_eq!(sources.slice(start + 2..start + 3), Some("v"));
        let mut log = Log::default();
        log.push(Found::at(start + 2..start + 3, "bad").and(0..1, "elsewhere"));
        log.push(Found::at(0..2, "worse"));
        log.push(Found::at(0..2, "worse"));
        let errors = log.into_errors(&sources);
        assert_eq!(errors.to_string(), "2 things are wrong in a.toml");
        assert_eq!(
            (
                errors.problems[0].span.clone(),
                errors.problems[1].span.clone()
            ),
            (0..2, 2..3)
        );
        assert_eq!(errors.problems[1].second, None);
        assert_eq!(errors.problems[1].text.name(), "--set");
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["rarest-first", "random", "sequential"];
        assert_eq!(nearest("rarest-frist", known), Some("rarest-first"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(
            suggest("radnom", known),
            "did you mean `random`? known: rarest-first, random, sequential"
        );
    }
}
