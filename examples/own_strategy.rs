//! Strategies of your own: a picker and a choker in a few lines each, under names that scenario files may use beside
//! Skep's, in every command.
//!
//! ```text
//! cargo run --release --example own_strategy -- compare examples/own_strategy.toml --seeds 0..10 --out own
//! ```
//!
//! A strategy cannot break the rules of the protocol: the session decides what may be asked for and who may have what; a
//! picker chooses among candidates, a choker gives a verdict on each peer. What it draws comes from the generator that it
//! is given: never from anywhere else, or runs could not be repeated.

use std::process::ExitCode;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use skep_engine::PieceIndex;
use skep_engine::choker::{ChokeDecision, ChokeRound, Choker, Verdict};
use skep_engine::picker::{PickView, PiecePicker};
use skep_sim::own::{self, Own, OwnChoker, OwnPicker};
use skep_sim::scenario::strategies::{Named, Param, ParamForm};

/// The rarest of a few candidates drawn at random: how far does the power of two choices go?
struct RarestOfFew {
    few: usize,
}

impl PiecePicker for RarestOfFew {
    fn name(&self) -> &'static str {
        "rarest-of-few"
    }

    fn pick(
        &mut self,
        view: &PickView<'_>,
        candidates: &[PieceIndex],
        rng: &mut ChaCha8Rng,
    ) -> Option<PieceIndex> {
        let drawn = candidates.sample(rng, self.few);
        drawn
            .min_by_key(|piece| view.availability[piece.at()])
            .copied()
    }
}

/// Slots by lot: who holds one keeps it as often as not, the others are drawn.
struct Lottery;

impl Choker for Lottery {
    fn name(&self) -> &'static str {
        "lottery"
    }

    fn decide(&mut self, round: &ChokeRound<'_>, rng: &mut ChaCha8Rng) -> ChokeDecision {
        let mut verdicts = vec![Verdict::default(); round.peers.len()];
        let may = |i: &usize| {
            let peer = &round.peers[*i];
            peer.interested && (peer.unchoked || peer.changeable)
        };
        let mut order: Vec<usize> = (0..round.peers.len()).filter(may).collect();
        order.shuffle(rng);
        order.sort_by_key(|i| !(round.peers[*i].unchoked && rng.random()));
        for i in order.into_iter().take(round.slots as usize) {
            verdicts[i].unchoke = true;
        }
        verdicts
    }
}

/// What this program has beside Skep's strategies.
static OWN: Own = Own {
    pickers: &[OwnPicker {
        named: Named {
            name: "rarest-of-few",
            doc: "the rarest of a few candidates drawn at random",
            params: &[Param {
                name: "few",
                form: ParamForm::Whole,
                default: 2.0,
                doc: "how many are drawn",
            }],
        },
        make: |params| {
            Box::new(RarestOfFew {
                few: (params["few"] as usize).max(1),
            })
        },
    }],
    chokers: &[OwnChoker {
        named: Named {
            name: "lottery",
            doc: "slots by lot",
            params: &[],
        },
        make: |_| Box::new(Lottery),
    }],
    ..own::NONE
};

fn main() -> ExitCode {
    skep::main_with(&OWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_sim::campaign::{self, Job};
    use skep_sim::outcome::Verdict;
    use skep_sim::scenario::Scenario;

    const FILE: &str = "examples/own_strategy.toml";

    #[test]
    fn the_file_is_right_with_them_and_wrong_without() {
        let check = |own| skep::run_with(["skep", "check", FILE], own);
        assert_eq!(check(&OWN), ExitCode::SUCCESS);
        let text = std::fs::read_to_string(FILE).expect("a file beside this one");
        let errors = Scenario::parse(FILE, &text).expect_err("nobody else has them");
        assert!(
            format!("{errors:?}").contains("rarest-of-few"),
            "{errors:?}"
        );
    }

    #[test]
    fn they_are_compared_by_the_command() {
        let out = tempfile::tempdir().expect("a folder");
        let folder = out.path().to_str().expect("a plain name");
        let args = ["skep", "compare", FILE, "--seeds", "0..2", "--out", folder];
        assert_eq!(skep::run_with(args, &OWN), ExitCode::SUCCESS);
        let written = std::fs::read_to_string(out.path().join("compare.json"));
        let written = written.expect("what the command writes");
        for name in ["rarest of two", "rarest of eight", "lottery"] {
            assert!(written.contains(name), "{name} is a variant");
        }
    }

    #[test]
    fn a_run_with_them_completes_and_is_another_run() {
        let text = std::fs::read_to_string(FILE).expect("a file beside this one");
        let run = |set: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let set: Vec<_> = set.iter().map(own).collect();
            let scenario = Scenario::parse_with_own(FILE, &text, &set, &OWN);
            let scenario = scenario.expect("a good file");
            let job = Job {
                scenario: &scenario,
                seed: 1,
            };
            campaign::run_one(job, None).expect("no panic")
        };
        let ours = run(&[("vary.strategies", "today")]);
        let own = run(&[("vary.strategies", "rarest of two")]);
        assert_eq!((ours.verdict, own.verdict), (Verdict::Pass, Verdict::Pass));
        assert_ne!(ours.trace_hash, own.trace_hash);
    }
}
