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
    /// A plain number, 0 or more, `1.25`.
    Number,
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

/// The rate of playback, for those that go by the playhead.
pub const PLAYBACK: Param = Param {
    name: "rate",
    form: ParamForm::Rate,
    default: 0.0,
    doc: "rate at which the content is played; 0: what `play_rate` of `engine` says, and without that the playhead is \
          the first piece that is missing",
};

/// The pickers that have it.
pub const PLAYING: &[&str] = &["window", "bitos", "zipf"];

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
            name: "rarest-first-strict",
            doc: "the same without pieces at random first",
            params: &[],
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
        Named {
            name: "weighted-rarest",
            doc: "a piece's chance is proportional to 1 / copies^alpha",
            params: &[Param {
                name: "alpha",
                form: ParamForm::Number,
                default: 1.0,
                doc: "how much rarity counts; 0: not at all",
            }],
        },
        Named {
            name: "top-n-rarest",
            doc: "uniform among the n rarest",
            params: &[Param {
                name: "n",
                form: ParamForm::Whole,
                default: 8.0,
                doc: "pieces that the choice is among",
            }],
        },
        Named {
            name: crate::oracle::GLOBAL_RAREST,
            doc: "fewest copies in the whole swarm: an oracle, which no client can be",
            params: &[],
        },
        Named {
            name: "window",
            doc: "the rarest of the next w pieces of playback, else the rarest of all",
            params: &[
                Param {
                    name: "w",
                    form: ParamForm::Whole,
                    default: 16.0,
                    doc: "pieces from the playhead on that come first",
                },
                PLAYBACK,
            ],
        },
        Named {
            name: "bitos",
            doc: "with probability p the rarest of the next w missing pieces of playback, else the rarest of the others \
                  (Vlavianos et al. 2006)",
            params: &[
                Param {
                    name: "p",
                    form: ParamForm::Percent,
                    default: 800_000.0,
                    doc: "chance of the next pieces of playback",
                },
                Param {
                    name: "w",
                    form: ParamForm::Whole,
                    default: 16.0,
                    doc: "missing pieces that come next",
                },
                PLAYBACK,
            ],
        },
        Named {
            name: "zipf",
            doc: "a piece's chance is proportional to 1 / (distance from the playhead + 1)^theta (Carlsson and Eager 2007)",
            params: &[
                Param {
                    name: "theta",
                    form: ParamForm::Number,
                    default: 1.25,
                    doc: "how steep the chance falls",
                },
                PLAYBACK,
            ],
        },
        Named {
            name: "mode-suppression",
            doc: "never what most have, unless most and fewest copies differ by at most T (Reddyvari et al. 2018)",
            params: &[Param {
                name: "T",
                form: ParamForm::Whole,
                default: 1.0,
                doc: "difference of copies up to which anything may be taken",
            }],
        },
        Named {
            name: "rare-chunk",
            doc: "a piece that exactly one of three sampled neighbours has (Oğuz et al. 2015)",
            params: &[Param {
                name: "sample",
                form: ParamForm::Whole,
                default: 3.0,
                doc: "neighbours sampled for a pick",
            }],
        },
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
        Named {
            name: "seed-fastest",
            doc: "whoever takes fastest, and one optimistic slot, leecher or seed",
            params: &[],
        },
        Named {
            name: "anti-leech",
            doc: "those who have just begun and those who are almost done, leecher or seed",
            params: &[],
        },
        Named {
            name: "rate-based",
            doc: "tit for tat, with one more slot while the slowest holder takes enough",
            params: &[
                Param {
                    name: "rate",
                    form: ParamForm::Rate,
                    default: 1024.0,
                    doc: "what the fastest has to take for a second slot",
                },
                Param {
                    name: "step",
                    form: ParamForm::Rate,
                    default: 2048.0,
                    doc: "how much more that is for each further slot",
                },
            ],
        },
        Named {
            name: "prop-share",
            doc: "bandwidth in proportion to what each gave in the last round (Levin et al. 2008); once complete, round \
                  robin",
            params: &[Param {
                name: "newcomers",
                form: ParamForm::Percent,
                default: 200_000.0,
                doc: "part of the bandwidth for who has given nothing",
            }],
        },
        Named {
            name: "bittyrant",
            doc: "by what each gives for what it costs, as far as the uplink reaches (Piatek et al. 2007); once complete, \
                  round robin",
            params: &[Param {
                name: "capacity",
                form: ParamForm::Rate,
                default: 0.0,
                doc: "the uplink that it counts with; 0: `upload_limit`, and without that the most that it sent so far",
            }],
        },
        Named {
            name: "block-tit-for-tat",
            doc: "the next block only while given - received <= delta (Bharambe et al. 2006); once complete, round robin",
            params: &[Param {
                name: "delta",
                form: ParamForm::Size,
                default: 262_144.0,
                doc: "bytes that a peer may owe when its next block goes out",
            }],
        },
        Named {
            name: "unchoke-all",
            doc: "everybody interested",
            params: &[],
        },
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
};

#[cfg(test)]
mod tests {
    use super::*;
    use skep_engine::{choker, picker};

    #[test]
    fn every_strategy_of_the_engine_has_its_line_with_its_parameters_and_no_other() {
        let of = |family: &Family| {
            let own = |param: &&Param| **param != PLAYBACK;
            let line = |named: &Named| {
                let params = named.params.iter().filter(own).map(|p| p.name);
                (named.name, params.collect::<Vec<_>>())
            };
            let mut lines: Vec<_> = family.known.iter().map(line).collect();
            lines.retain(|(name, _)| *name != crate::oracle::GLOBAL_RAREST);
            lines.sort_unstable();
            lines
        };
        let mut pickers: Vec<_> = picker::KNOWN
            .iter()
            .map(|k| (k.name, k.params.to_vec()))
            .collect();
        let mut chokers: Vec<_> = choker::KNOWN
            .iter()
            .map(|k| (k.name, k.params.to_vec()))
            .collect();
        pickers.sort_unstable();
        chokers.sort_unstable();
        assert_eq!((of(&PICKERS), of(&CHOKERS)), (pickers, chokers));
        let playing = PICKERS
            .known
            .iter()
            .filter(|n| n.params.contains(&PLAYBACK));
        assert_eq!(playing.map(|n| n.name).collect::<Vec<_>>(), PLAYING);
    }

    #[test]
    fn every_family_has_its_default_and_no_name_twice() {
        for family in [PICKERS, CHOKERS, ATTACKS] {
            assert_eq!(family.default_plan().name, family.default);
            let mut names: Vec<_> = family.known.iter().map(|n| n.name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", family.what);
        }
    }
}
