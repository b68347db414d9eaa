//! Owns what a client decides on the way to one file: what to ask for next, what an answer is worth, when to
//! try again and when to give up. No I/O; the generator of its jitter is handed in.
//!
//! Invariant: bytes of two states of a file are never joined. A part is asked for only of a state that can be
//! named for sure, and taken only when the answer begins where the part that is here ends and says nothing
//! against that state. Whatever else a server answers ends in a new start, a pause or a failure.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::client::{Head, HttpError, Request};
use super::disk::{Kept, Origin};
use super::range::{ByteRange, ContentRange};
use super::url::{HttpTarget, UrlError};
use crate::config::EngineConfig;

/// Why a fetch ended without its file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// What is there from before was fetched from elsewhere, or nobody knows from where: it is not touched.
    #[error("the part that is there is of another URL")]
    OtherPart,
    /// The name has no address, after so many tries.
    #[error("the host name cannot be resolved")]
    Unresolved,
    /// No whole answer came, after so many tries.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server will not, or cannot after so many tries.
    #[error("the server answers {0}")]
    Status(u16),
    /// More redirects than are followed.
    #[error("the server redirects again and again")]
    Redirected,
    /// A redirect to where we cannot go.
    #[error("the server redirects to where we cannot go: {0}")]
    Location(UrlError),
    /// It is compressed, though that was not asked for.
    #[error("the server sends it in another encoding")]
    Encoded,
    /// It is not as long as was told.
    #[error("it has {got} bytes, not {wanted}")]
    WrongLength {
        /// Bytes that the user expects.
        wanted: u64,
        /// Bytes that the server has.
        got: u64,
    },
    /// The answer contradicts itself or the question, after so many tries.
    #[error("the server's answer makes no sense")]
    Nonsense,
    /// Whole, but not what was told. It stays as the part.
    #[error("its SHA-256 is {}, not the one that was given", hex(.0))]
    WrongDigest([u8; 32]),
    /// Something has the final name already. It is not touched.
    #[error("there is a file of that name already")]
    Exists,
    /// The disk is full.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The disk failed otherwise.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The user asked to stop. What is there stays.
    #[error("stopped")]
    Stopped,
}

impl FetchError {
    /// Whether the same question may have a better answer later.
    fn may_pass(&self) -> bool {
        match self {
            FetchError::Unresolved | FetchError::Nonsense => true,
            FetchError::Http(error) => *error != HttpError::Request,
            FetchError::Status(status) => {
                matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
            }
            _ => false,
        }
    }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why what was there is dropped and everything fetched from the first byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fresh {
    /// The server has another state of the file than the one that the part is of.
    Changed,
    /// Nothing tells for sure whether it is the same state.
    Unknown,
    /// The server does not send parts, or sends wrong ones.
    NoRanges,
}

/// What an answer is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Worth {
    /// Its body goes behind what is there.
    Behind,
    /// Its body is the file from the first byte: what is there is dropped, and why, if anything is.
    FromStart(Option<Fresh>),
    /// What is there is the whole file.
    Complete,
    /// It is elsewhere: ask there.
    Moved(HttpTarget),
    /// Of no use; ask again from the first byte, after the pause that [`Fetch::failed`] tells.
    Useless(FetchError, Option<Duration>),
}

/// What to do after a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// Ask again after this pause.
    Pause(Duration),
    /// It is of no use.
    GiveUp(FetchError),
}

/// The fetch of one file.
#[derive(Debug)]
pub struct Fetch {
    url: String,
    start: HttpTarget,
    /// Where it is asked for now: where redirects led.
    target: HttpTarget,
    len_wanted: Option<u64>,
    /// Bytes that are there, and what they are of.
    have: u64,
    origin: Origin,
    /// A part was asked for.
    asked_part: bool,
    /// Where the body that is coming ends, if it says so.
    ends_at: Option<u64>,
    /// The server sends wrong parts.
    no_ranges: bool,
    /// The most bytes that were ever there: only more of them are progress. A server that begins anew each
    /// time and never comes to the end would else be asked for ever.
    furthest: u64,
    redirects: u32,
    failures: u32,
    redirects_max: u32,
    retries: u32,
    retry_min: Duration,
    retry_max: Duration,
    rng: ChaCha8Rng,
}

impl Fetch {
    /// The fetch of a file from `target`, which is what `url` means. `len_wanted`: bytes that it must have, if
    /// that is known. `kept`: what is there from before.
    ///
    /// # Errors
    /// [`FetchError::OtherPart`].
    pub fn new(
        url: &str,
        target: HttpTarget,
        len_wanted: Option<u64>,
        kept: Option<Kept>,
        config: &EngineConfig,
        rng: ChaCha8Rng,
    ) -> Result<Fetch, FetchError> {
        let (have, origin) = match kept {
            Some(kept) if kept.origin.url == url => (kept.len, kept.origin),
            Some(kept) if kept.len > 0 => return Err(FetchError::OtherPart),
            _ => (0, Origin::default()),
        };
        Ok(Fetch {
            url: url.to_owned(),
            start: target.clone(),
            target,
            len_wanted,
            have,
            origin,
            asked_part: false,
            ends_at: None,
            no_ranges: false,
            furthest: have,
            redirects: 0,
            failures: 0,
            redirects_max: config.fetch_redirects_max,
            retries: config.fetch_retries,
            retry_min: config.fetch_retry_min,
            retry_max: config.fetch_retry_max,
            rng,
        })
    }

    /// Where it is asked for now.
    #[must_use]
    pub fn target(&self) -> &HttpTarget {
        &self.target
    }

    /// Bytes that are there.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.have
    }

    /// What they are of.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The next question.
    #[must_use]
    pub fn request(&mut self) -> Request {
        let state = self.origin.validators.if_range();
        let part = state.filter(|_| self.have > 0 && !self.no_ranges);
        self.asked_part = part.is_some();
        Request {
            range: self.asked_part.then(|| ByteRange::from(self.have)),
            if_range: part,
            last: true,
            ..Request::get(self.target.clone())
        }
    }

    /// What the answer to [`Fetch::request`] is worth.
    pub fn judge(&mut self, head: &Head) -> Worth {
        if let Some(to) = head.redirect(&self.target) {
            return self.moved(to);
        }
        match head.status.as_u16() {
            200 | 206 if head.encoded => Worth::Useless(FetchError::Encoded, None),
            200 => self.whole(head),
            206 if self.asked_part => self.part(head),
            206 => Worth::Useless(FetchError::Nonsense, None),
            416 if self.asked_part => {
                let total = match &head.range {
                    Some(Ok(ContentRange::Unsatisfied { total })) => Some(*total),
                    _ => None,
                };
                let all = total == Some(self.have);
                if all && self.origin.len.is_none_or(|len| len == self.have) {
                    return Worth::Complete;
                }
                // It heeded a range of another state, or it is wrong.
                self.no_ranges = true;
                Worth::Useless(FetchError::Status(416), None)
            }
            status => Worth::Useless(FetchError::Status(status), head.retry_after),
        }
    }

    fn moved(&mut self, to: Result<HttpTarget, UrlError>) -> Worth {
        self.redirects += 1;
        match to {
            Err(error) => Worth::Useless(FetchError::Location(error), None),
            Ok(_) if self.redirects > self.redirects_max => {
                Worth::Useless(FetchError::Redirected, None)
            }
            Ok(to) => {
                self.target = to.clone();
                Worth::Moved(to)
            }
        }
    }

    fn whole(&mut self, head: &Head) -> Worth {
        if let Some(error) = self.wrong_length(head.length) {
            return Worth::Useless(error, None);
        }
        let why = (self.have > 0).then(|| {
            let same = self.origin.validators.agree(&head.validators)
                && self.origin.validators.if_range() == head.validators.if_range();
            match (self.asked_part, same) {
                (true, true) => Fresh::NoRanges,
                (true, false) => Fresh::Changed,
                (false, _) if self.no_ranges => Fresh::NoRanges,
                (false, _) => Fresh::Unknown,
            }
        });
        self.have = 0;
        self.ends_at = head.length;
        self.origin = Origin {
            url: self.url.clone(),
            validators: head.validators.clone(),
            len: head.length,
        };
        Worth::FromStart(why)
    }

    fn part(&mut self, head: &Head) -> Worth {
        let (range, total) = match &head.range {
            Some(Ok(ContentRange::Part { range, total })) => (range, *total),
            _ => return self.wrong_part(),
        };
        let len = range.end - range.start;
        let fits = range.start == self.have && head.length.is_none_or(|length| length == len);
        let lengths = [self.origin.len, total].into_iter().flatten();
        let whole = lengths.clone().next();
        let agree = lengths.clone().all(|len| Some(len) == whole)
            && whole.is_none_or(|len| range.end <= len);
        if !fits || !agree || !self.origin.validators.agree(&head.validators) {
            return self.wrong_part();
        }
        if let Some(error) = self.wrong_length(whole) {
            return Worth::Useless(error, None);
        }
        self.origin.len = whole;
        self.ends_at = Some(range.end);
        Worth::Behind
    }

    fn wrong_part(&mut self) -> Worth {
        self.no_ranges = true;
        Worth::Useless(FetchError::Nonsense, None)
    }

    fn wrong_length(&self, len: Option<u64>) -> Option<FetchError> {
        let (wanted, got) = (self.len_wanted?, len?);
        (wanted != got).then_some(FetchError::WrongLength { wanted, got })
    }

    /// Notes bytes of the body that were written.
    ///
    /// # Errors
    /// When they are more than the answer said.
    pub fn received(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.have += bytes;
        if self.ends_at.is_some_and(|end| self.have > end) {
            self.no_ranges = true;
            return Err(FetchError::Nonsense);
        }
        if self.have > self.furthest {
            self.furthest = self.have;
            self.failures = 0;
        }
        Ok(())
    }

    /// The body came to its end: whether the file did, too. If not, the rest is to be asked for.
    ///
    /// # Errors
    /// When the body ended before it should, or the file has another length than was told.
    pub fn ended(&mut self) -> Result<bool, FetchError> {
        if self.ends_at.is_some_and(|end| self.have < end) {
            return Err(FetchError::Http(HttpError::Lost));
        }
        self.redirects = 0;
        self.target = self.start.clone();
        if self.origin.len.is_some_and(|len| self.have < len) {
            return Ok(false);
        }
        match self.wrong_length(Some(self.have)) {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    /// What to do after a failure; the next question goes to where the user said.
    pub fn failed(&mut self, error: FetchError, retry_after: Option<Duration>) -> After {
        self.redirects = 0;
        self.target = self.start.clone();
        self.failures += 1;
        // A server that cannot do parts is asked for everything, once more, whatever its status.
        let other_way = self.no_ranges && self.asked_part;
        if !(error.may_pass() || other_way) || self.failures > self.retries {
            return After::GiveUp(error);
        }
        let doublings = (self.failures - 1).min(30);
        let most = self.retry_max.max(self.retry_min);
        let pause = self.retry_min.saturating_mul(1 << doublings).min(most);
        // Half of it at least; the rest by chance, so that clients do not come back together.
        let half_ns = u64::try_from(pause.as_nanos() / 2).unwrap_or(u64::MAX);
        let drawn = pause - Duration::from_nanos(self.rng.random_range(0..=half_ns));
        After::Pause(match retry_after {
            Some(told) => drawn.max(told.min(most)),
            None => drawn,
        })
    }
}

#[cfg(test)]
mod tests;
