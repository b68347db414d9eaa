//! Owns the words of `sometimes`: what may have to happen at least once over all seeds.

/// One word of `sometimes`: something that must happen at least once over all seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sometimes {
    /// The word in the file.
    pub word: &'static str,
    /// When it counts as having happened.
    pub doc: &'static str,
}

/// All words of `sometimes`.
pub const SOMETIMES: &[Sometimes] = &[
    Sometimes {
        word: "endgame-entered",
        doc: "an honest peer asked two peers for one block",
    },
    Sometimes {
        word: "peer-banned",
        doc: "an honest peer banned an attacker",
    },
    Sometimes {
        word: "disk-failed",
        doc: "a disk failed, and its client stopped at that",
    },
    Sometimes {
        word: "paused",
        doc: "a user paused an honest peer",
    },
    Sometimes {
        word: "went-on",
        doc: "an honest peer went on after a pause or a disk failure",
    },
    Sometimes {
        word: "tracker-retry",
        doc: "an announce failed and was tried again",
    },
    Sometimes {
        word: "tracker-fail-over",
        doc: "a tracker failed and another one answered",
    },
    Sometimes {
        word: "pex-learned",
        doc: "a peer told another of an address that nobody had told it",
    },
    Sometimes {
        word: "metadata-complete",
        doc: "a peer with a magnet link got the metainfo from others",
    },
    Sometimes {
        word: "metadata-failed",
        doc: "metainfo that peers sent was not the one that the info-hash means",
    },
    Sometimes {
        word: "udp-resent",
        doc: "a UDP tracker did not answer in time and was asked again",
    },
    Sometimes {
        word: "peer-snubbed",
        doc: "an unchoked peer waited too long for a block",
    },
    Sometimes {
        word: "request-timed-out",
        doc: "a request was late and given back",
    },
    Sometimes {
        word: "hash-failed",
        doc: "a piece failed its hash",
    },
    Sometimes {
        word: "piece-shown",
        doc: "a super-seed showed a peer a piece",
    },
    Sometimes {
        word: "super-seeding-ended",
        doc: "a super-seed saw another seed and hid nothing any more",
    },
    Sometimes {
        word: "resumed",
        doc: "a client started again on what its disk held",
    },
    Sometimes {
        word: "web-seed-used",
        doc: "a web seed gave a block that was of use",
    },
    Sometimes {
        word: "web-seed-failed",
        doc: "a web seed was given up, for a while or for ever",
    },
    Sometimes {
        word: "fetch-retried",
        doc: "a client's fetch failed and was tried again",
    },
    Sometimes {
        word: "fetch-started-over",
        doc: "a client dropped what it had of a file, because the server has another copy or sends no parts",
    },
    Sometimes {
        word: "server-fail-over",
        doc: "a server failed for good, and a client went on to another one",
    },
    Sometimes {
        word: "connection-reset",
        doc: "the network reset a connection",
    },
    Sometimes {
        word: "connection-stalled",
        doc: "a partition or a power loss kept what was on its way from arriving",
    },
    Sometimes {
        word: "connection-resumed",
        doc: "a stalled connection went on, because the partition ended in time",
    },
    Sometimes {
        word: "connection-timed-out",
        doc: "a connection was stalled for longer than the user timeout",
    },
];
