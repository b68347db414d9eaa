//! Owns running many runs: one simulation per thread, on all cores, the same results whatever the
//! number of threads; and what only several seeds together can tell.
//!
//! Invariant: runs share nothing. Threads and the CPU clock are outside the simulation: they decide
//! when a run happens and what it cost, never what happens in it.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rustix::time::{ClockId, clock_gettime};
use skep_engine::Now;

use crate::check::Failure;
use crate::network::turmoil::{Unfit, fits_turmoil};
use crate::outcome::{Outcome, Verdict};
use crate::scenario::expect::ExpectationKind;
use crate::scenario::plan::NetworkKind;
use crate::scenario::{Plan, Scenario};
use crate::watch::Watchers;
use crate::world;

/// One run to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The scenario, with its overrides.
    pub scenario: &'a Scenario,
    /// The seed.
    pub seed: u64,
}

/// Why a run gave no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A bug in Skep.
    #[error("{scenario}, seed {seed}: a panic inside the run: {words}")]
    Panicked {
        /// The scenario's name.
        scenario: String,
        /// The seed.
        seed: u64,
        /// What the panic said.
        words: String,
    },
    /// Its network cannot do what the scenario asks for.
    #[error("{scenario}, seed {seed} does not run on turmoil: {why}")]
    Unfit {
        /// The scenario's name.
        scenario: String,
        /// The seed.
        seed: u64,
        /// What it cannot do.
        why: Unfit,
    },
    /// What hears the run could not write, or the threads not be started.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Job<'_> {
    /// The plan, if its network can do what it asks for.
    ///
    /// # Errors
    /// [`RunError::Unfit`].
    pub fn plan(&self) -> Result<Plan, RunError> {
        let plan = self.scenario.expand(self.seed);
        let fits = match plan.network {
            NetworkKind::Fabric => Ok(()),
            NetworkKind::Turmoil => fits_turmoil(&plan),
        };
        match fits {
            Ok(()) => Ok(plan),
            Err(why) => Err(RunError::Unfit {
                scenario: plan.scenario,
                seed: plan.seed,
                why,
            }),
        }
    }
}

/// Makes one run on this thread, heard by whoever wants to, and measures its CPU time.
///
/// # Errors
/// When its network cannot do what it asks for, the run panics, or what they write cannot be written.
pub fn run_one(job: Job<'_>, watchers: impl Into<Watchers>) -> Result<Outcome, RunError> {
    let plan = job.plan()?;
    let watchers = watchers.into();
    let before = thread_cpu_seconds();
    let ran = catch_unwind(AssertUnwindSafe(|| world::run(&plan, watchers)));
    let mut outcome = ran.map_err(|payload| RunError::Panicked {
        scenario: job.scenario.name().to_owned(),
        seed: job.seed,
        words: words(&*payload),
    })??;
    outcome.cpu_seconds = thread_cpu_seconds() - before;
    Ok(outcome)
}

/// Makes all runs, `threads` at a time (0: one per core), and returns them in the order of the
/// jobs. `on_done` hears of each as it ends, in any order.
///
/// # Errors
/// The first error in the order of the jobs. Nothing runs when one of them does not fit its network.
pub fn run_all(
    jobs: &[Job<'_>],
    threads: usize,
    on_done: impl Fn(&Outcome) + Sync,
) -> Result<Vec<Outcome>, RunError> {
    run_each(jobs, threads, |_, outcome| {
        on_done(&outcome);
        outcome
    })
}

/// The same, and of each run what `then` makes of it, given its place among the jobs: on the run's own thread, as soon
/// as it ends.
///
/// # Errors
/// See [`run_all`]. What `then` did of other runs stays done.
pub fn run_each<T: Send>(
    jobs: &[Job<'_>],
    threads: usize,
    then: impl Fn(usize, Outcome) -> T + Sync,
) -> Result<Vec<T>, RunError> {
    for job in jobs {
        job.plan()?;
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(io::Error::other)?;
    let results: Vec<_> = pool.install(|| {
        let one = |(at, job): (usize, &Job<'_>)| Ok(then(at, run_one(*job, None)?));
        let all = jobs.par_iter().with_max_len(1).enumerate();
        all.map(one).collect()
    });
    results.into_iter().collect()
}

/// All runs of one scenario, judged together.
#[derive(Clone, Debug)]
pub struct Report {
    /// One per seed, in their order.
    pub outcomes: Vec<Outcome>,
    /// What did not hold over all seeds together.
    pub failures: Vec<Failure>,
    /// The worst of the runs' verdicts and of `failures`.
    pub verdict: Verdict,
}

/// Runs a scenario with these seeds.
///
/// # Errors
/// See [`run_all`].
pub fn run_scenario(
    scenario: &Scenario,
    seeds: &[u64],
    threads: usize,
    on_done: impl Fn(&Outcome) + Sync,
) -> Result<Report, RunError> {
    let jobs: Vec<Job<'_>> = seeds.iter().map(|&seed| Job { scenario, seed }).collect();
    Ok(judge(scenario, run_all(&jobs, threads, on_done)?))
}

/// Judges a scenario's runs together: what must happen *sometimes*, and random disturbances that
/// never happened. Both are asked only of the scenario's own seeds: with fewer, never is no news.
#[must_use]
pub fn judge(scenario: &Scenario, outcomes: Vec<Outcome>) -> Report {
    let ran = |seed: &u64| outcomes.iter().any(|o| o.seed == *seed);
    let mut failures = Vec::new();
    let mut verdict = outcomes
        .iter()
        .map(|o| o.verdict)
        .max()
        .unwrap_or(Verdict::Pass);
    if scenario.seeds().iter().all(ran) && !outcomes.is_empty() {
        for failure in never_happened(scenario, &outcomes) {
            verdict = verdict.max(failure.0);
            failures.push(failure.1);
        }
    }
    Report {
        outcomes,
        failures,
        verdict,
    }
}

fn never_happened(scenario: &Scenario, outcomes: &[Outcome]) -> Vec<(Verdict, Failure)> {
    let failure = |check: &str, message| Failure::of(check, Now::START, message);
    let mut failures = Vec::new();
    let plan = scenario.expand(scenario.seeds()[0]);
    for expectation in &plan.expect {
        if let ExpectationKind::Sometimes(word) = &expectation.kind {
            let count: u64 = outcomes
                .iter()
                .filter_map(|o| o.sometimes.get(word.as_str()))
                .sum();
            if count == 0 {
                let message = format!("`{word}` never happened in any seed");
                failures.push((Verdict::Expectation, failure("expect sometimes", message)));
            }
        }
    }
    let mut random: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in outcomes.iter().flat_map(|o| &o.random) {
        *random.entry(name).or_default() += count;
    }
    for (name, _) in random.into_iter().filter(|(_, count)| *count == 0) {
        let message = format!("{name}: never happened in any seed");
        failures.push((Verdict::Vacuous, failure("vacuous", message)));
    }
    failures
}

/// CPU time of this thread.
pub(crate) fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    text.unwrap_or_else(|| "(no words)".to_owned())
}
