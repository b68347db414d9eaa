//! Looking for bugs with swarms that nobody thought of: a [`SwarmDraft`] is drawn, written down as
//! a scenario file, and that file is what runs.
//!
//! Invariant: what is found is found in the file. There is no other way from a draft to a run, so a
//! draft that fails can be handed over as text and fails again.
//!
//! The drawing itself (and the shrinking) is proptest's and lives with the property, in
//! `tests/properties`.

mod faults;
mod generate;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use faults::{Change, DiskDraft, Down, FaultDraft, FaultKindDraft, Sides, Target};
pub use generate::{
    Arrival, AttackDraft, AttackKind, Churn, DirectDraft, Group, HoldersDraft, LeecherDraft,
    LinkDraft, PEERS_MAX, Setting, SwarmDraft,
};

use crate::outcome::{Outcome, Verdict};
use crate::scenario::Scenario;
use crate::world;

/// What became of one draft.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It ran to its end.
    Ran(Box<Outcome>),
    /// It could not run: the file is refused, or a task panicked. A bug in Skep either way.
    Broke(String),
}

impl Finding {
    /// Runs a draft by way of its file. A panic on the way is a finding.
    #[must_use]
    pub fn of(draft: &SwarmDraft) -> Finding {
        let text = draft.to_toml();
        let scenario = match Scenario::parse("drawn.toml", &text) {
            Ok(scenario) => scenario,
            Err(errors) => return Finding::Broke(format!("the file is refused: {errors:?}")),
        };
        let run = || world::run(&scenario.expand(draft.seed), None);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(outcome)) => Finding::Ran(Box::new(outcome)),
            Ok(Err(error)) => Finding::Broke(error.to_string()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Finding::Broke(format!("panicked: {}", text.unwrap_or("without words")))
            }
        }
    }

    /// What must never be, in words; `None` when all invariants and liveness held. A swarm that
    /// cannot finish, or in which something drawn never came to pass, is no failure.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let outcome = match self {
            Finding::Ran(outcome) => outcome,
            Finding::Broke(why) => return Some(why.clone()),
        };
        if matches!(
            outcome.verdict,
            Verdict::Pass | Verdict::Unfinishable | Verdict::Vacuous
        ) {
            return None;
        }
        let told = outcome.failures.iter().map(|failure| {
            let peer = failure.peer.as_deref().unwrap_or("the run");
            format!(
                "{} at {:.3} s, {peer}: {}",
                failure.check, failure.at_s, failure.message
            )
        });
        let told: Vec<String> = told.collect();
        Some(format!("{}\n{}", outcome.verdict.word(), told.join("\n")))
    }
}
