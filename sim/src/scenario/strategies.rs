//! Owns the names that scenario files may give to strategies and attacks, one table each.
//!
//! Invariant: a name or a parameter stands in its table and nowhere else; reading, defaults, error
//! messages and the schema all come from the tables. What a name *does* is the engine's
//! (`skep_engine::picker`, `choker`) or the actor's; whoever adds one adds its line here.

use super::plan::StrategyPlan;

/// One parameter of a strategy or an attack.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Param {
    /// The key in the file.
    pub name: &'static str,
    /// How it is written.
    pub form: ParamForm,
    /// Its value when the file gives none, in the unit of its form.
    pub default: f64,
    /// Its meaning.
    pub doc: &'static str,
}

/// How a parameter is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamForm {
    /// A whole number, 0 or more, `4`.
    Whole,
    /// A percentage with its sign, `"30%"`: parts per million.
    Percent,
    /// A duration of at least 1 ms, `"250 ms"`: nanoseconds.
    Duration,
    /// A size, `"64 KiB"`: bytes.
    Size,
    /// A rate of bytes, `"10 Mbit/s"`: bytes per second.
    Rate,
    /// How often, `"100 per 1 s"`: nanoseconds from one to the next.
    Frequency,
}

/// One name with its meaning and its parameters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Named {
    /// The word in the file.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
}

/// A family of names: what one key may choose from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Family {
    /// What a member is called in messages.
    pub what: &'static str,
    /// What stands in a plan when the file names none.
    pub default: &'static str,
    /// The members.
    pub known: &'static [Named],
    /// Names of the catalogue that this version does not have.
    pub later: &'static [&'static str],
}

impl Family {
    /// The member of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Named> {
        self.known.iter().find(|n| n.name == name)
    }

    /// The default member with its default parameters.
    #[must_use]
    pub fn default_plan(&self) -> StrategyPlan {
        let named = self.find(self.default).expect("the default is a member");
        let params = named
            .params
            .iter()
            .map(|p| (p.name.to_owned(), p.default))
            .collect();
        StrategyPlan {
            name: named.name.to_owned(),
            params,
        }
    }
}

/// Piece selection: `picker` of a group of leechers.
pub const PICKERS: Family = Family {
    what: "picker",
    default: "rarest-first",
    known: &[
        Named {
            name: "rarest-first",
            doc: "fewest copies among the neighbours, ties by the seeded generator; the first pieces at random",
            params: &[Param {
                name: "random_first",
                form: ParamForm::Whole,
                default: 4.0,
                doc: "pieces that a newcomer picks at random before it goes by rarity",
            }],
        },
        Named {
            name: "random",
            doc: "uniform over what is wanted and held",
            params: &[],
        },
        Named {
            name: "sequential",
            doc: "lowest index first",
            params: &[],
        },
    ],
    later: &[
        "rarest-first-strict",
        "weighted-rarest",
        "top-n-rarest",
        "global-rarest",
        "window",
        "bitos",
        "zipf",
        "mode-suppression",
        "rare-chunk",
    ],
};

/// Choking: `choker` of a group of honest peers.
pub const CHOKERS: Family = Family {
    what: "choker",
    default: "tit-for-tat",
    known: &[
        Named {
            name: "tit-for-tat",
            doc: "whoever gave most, and one optimistic slot; once complete, round robin by quota",
            params: &[],
        },
        Named {
            name: "seed-round-robin",
            doc: "longest unserved first, after a quota of pieces and time, leecher or seed",
            params: &[],
        },
    ],
    later: &[
        "seed-fastest",
        "anti-leech",
        "rate-based",
        "prop-share",
        "bittyrant",
        "block-tit-for-tat",
        "unchoke-all",
    ],
};

/// Attacks: `attack` of a group of attackers. It has no default: an attacker names its attack.
pub const ATTACKS: Family = Family {
    what: "attack",
    default: "never-deliver",
    known: &[
        Named {
            name: "corrupt-blocks",
            doc: "claims every piece, serves wrong payload",
            params: &[Param {
                name: "probability",
                form: ParamForm::Percent,
                default: 1_000_000.0,
                doc: "chance that a served block is wrong",
            }],
        },
        Named {
            name: "corrupt-one-block",
            doc: "claims every piece, serves true blocks but for one wrong block of each piece",
            params: &[],
        },
        Named {
            name: "liar",
            doc: "claims pieces that it does not have, never unchokes",
            params: &[Param {
                name: "probability",
                form: ParamForm::Percent,
                default: 1_000_000.0,
                doc: "chance that a piece is claimed",
            }],
        },
        Named {
            name: "trickle",
            doc: "claims every piece, sends a byte per second, or a block shortly before the request times out",
            params: &[],
        },
        Named {
            name: "choke-flapper",
            doc: "claims every piece, chokes and unchokes every 100 ms with requests outstanding",
            params: &[],
        },
        Named {
            name: "request-flood",
            doc: "claims nothing, sends 10,000 requests per second while it is unchoked",
            params: &[],
        },
        Named {
            name: "stale-have",
            doc: "claims every piece, then refuses what is asked for, or leaves",
            params: &[],
        },
        Named {
            name: "unrequested",
            doc: "downloads like a free-rider, pushes true blocks that nobody asked for",
            params: &[],
        },
        Named {
            name: "junk-for-unchoke",
            doc: "downloads like a free-rider, claims half of the pieces and serves wrong bytes, so as to look like who \
                  gives",
            params: &[],
        },
        Named {
            name: "have-spam",
            doc: "sends 100,000 `have` messages per second",
            params: &[],
        },
        Named {
            name: "interest-flapper",
            doc: "changes its interest 100,000 times per second",
            params: &[],
        },
        Named {
            name: "rarest-corruptor",
            doc: "serves true blocks, but wrong ones of pieces that at most one of its neighbours has",
            params: &[],
        },
        Named {
            name: "slot-thief",
            doc: "claims all but one piece, takes slots and asks for a block every 20 s",
            params: &[],
        },
        Named {
            name: "never-deliver",
            doc: "claims every piece, or the last ones, unchokes, takes requests, sends nothing",
            params: &[Param {
                name: "claims",
                form: ParamForm::Percent,
                default: 1_000_000.0,
                doc: "how much of the content it claims: of less than all the last pieces",
            }],
        },
        Named {
            name: "metadata-liar",
            doc: "serves wrong metainfo to who has a magnet link, to some of a wrong size",
            params: &[],
        },
        Named {
            name: "free-rider",
            doc: "downloads like everybody, never unchokes",
            params: &[],
        },
        Named {
            name: "range-errors",
            doc: "a file server that answers clients wrongly in every way once, and then serves",
            params: &[],
        },
        Named {
            name: "wrong-bytes",
            doc: "a file server, and so a web seed, that serves wrong bytes; clients of the scenario then know the \
                  SHA-256 of each file",
            params: &[Param {
                name: "probability",
                form: ParamForm::Percent,
                default: 1_000_000.0,
                doc: "chance that an answer has a wrong byte",
            }],
        },
        Named {
            name: "oversize",
            doc: "on each connection a length that no client may have: 2^32 - 1 bytes, a block of 1 MiB, requests of \
                  nothing, of 1 MiB, across the end of a piece",
            params: &[],
        },
        Named {
            name: "malformed",
            doc: "on each connection bytes that are wrong in one way: bad ids and lengths, bitfields of the wrong \
                  length, with spare bits or late, cut messages, noise",
            params: &[],
        },
        Named {
            name: "wrong-hash",
            doc: "shakes hands for another torrent",
            params: &[],
        },
        Named {
            name: "wrong-protocol",
            doc: "shakes hands for another protocol",
            params: &[],
        },
        Named {
            name: "handshake-stall",
            doc: "sends 0 to 67 bytes of each handshake, and then nothing",
            params: &[Param {
                name: "connections",
                form: ParamForm::Whole,
                default: 8.0,
                doc: "connections to each address, each dialled again when it ends",
            }],
        },
        Named {
            name: "duplicate-id",
            doc: "shakes hands with the peer id of somebody else in the swarm",
            params: &[],
        },
        Named {
            name: "self-connect",
            doc: "shakes hands with the peer id of the one that it speaks to",
            params: &[],
        },
        Named {
            name: "connection-flood",
            doc: "many connections to everybody, each with a peer id of its own, that do nothing and come back at once",
            params: &[Param {
                name: "connections",
                form: ParamForm::Whole,
                default: 16.0,
                doc: "connections to each address",
            }],
        },
        Named {
            name: "sybil",
            doc: "many peers behind one uplink, that all download and upload nothing",
            params: &[Param {
                name: "identities",
                form: ParamForm::Whole,
                default: 16.0,
                doc: "how many peers it is",
            }],
        },
        Named {
            name: "large-view",
            doc: "announces far too often, connects to everybody that it hears of, downloads and uploads nothing",
            params: &[Param {
                name: "every",
                form: ParamForm::Duration,
                default: 1e9,
                doc: "time between its announces",
            }],
        },
        Named {
            name: "unseeded",
            doc: "a canary for `skep run --check-determinism`: draws from outside the seed, so that no run repeats; \
                  only with the tag `canary`",
            params: &[],
        },
    ],
    later: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_default_and_no_name_twice() {
        for family in [PICKERS, CHOKERS, ATTACKS] {
            assert_eq!(family.default_plan().name, family.default);
            let mut names: Vec<_> = family.known.iter().map(|n| n.name).collect();
            names.extend(family.later);
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", family.what);
        }
    }
}
