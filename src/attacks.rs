//! Owns `skep attacks`: what attacks cost the honest, and what each defence is worth.
//!
//! Invariant: all runs of a scenario are on the same seeds; a defence is off by its own keys and by nothing
//! else.

use skep_reports::attacks::{self, Attacked, Row};
use skep_sim::campaign::Job;
use skep_sim::outcome::{Outcome, Verdict};
use skep_sim::scenario::Scenario;
use skep_sim::scenario::plan::Role;

use crate::args::AttacksArgs;
use crate::check::{read_scenario_with, scenario_files};
use crate::failure::{Exit, Failure, print};
use crate::humane::paragraph;
use crate::run::run_all;
use crate::terminal::remark;

/// A defence of the engine, and what switches it off.
struct Defence {
    name: &'static str,
    off: &'static [(&'static str, &'static str)],
}

/// The defences, each a limit or a switch of the engine's configuration, or of the tracker.
const DEFENCES: &[Defence] = &[
    Defence {
        name: "smart-ban",
        off: &[("engine.smart_ban", "false")],
    },
    Defence {
        name: "parole",
        off: &[("engine.parole", "false")],
    },
    Defence {
        name: "strikes",
        off: &[("engine.strikes_max", "1000000000")],
    },
    Defence {
        name: "snubbing",
        off: &[("engine.snub_after", "\"1000 h\"")],
    },
    Defence {
        name: "snub-awareness",
        off: &[("engine.snub_aware", "false")],
    },
    Defence {
        name: "turnover",
        off: &[
            ("engine.idle_timeout", "\"1000 h\""),
            ("engine.barren_timeout", "\"1000 h\""),
        ],
    },
    Defence {
        name: "handshake-limit",
        off: &[("engine.handshake_timeout", "\"1000 h\"")],
    },
    Defence {
        name: "address-cap",
        off: &[("engine.connections_per_address", "1000000")],
    },
    Defence {
        name: "stray-limit",
        off: &[("engine.strays_max", "1000000000")],
    },
    Defence {
        name: "chatter-limit",
        off: &[("engine.chatter_max", "0")],
    },
    Defence {
        name: "slot-rate",
        off: &[("engine.slot_rate_min", "\"1 B/s\"")],
    },
    Defence {
        name: "slots-per-address",
        off: &[("engine.slots_per_address", "1000000")],
    },
    Defence {
        name: "place-sharing",
        off: &[("engine.share_places", "false")],
    },
    Defence {
        name: "ids-by-address",
        off: &[("engine.ids_by_address", "false")],
    },
    Defence {
        name: "port-limit",
        off: &[("engine.dial_ports_max", "1000000")],
    },
    Defence {
        name: "tracker-floor",
        off: &[("tracker.hold_floor", "false")],
    },
];

/// Runs the command.
pub fn run(args: &AttacksArgs) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    let defences = chosen(args)?;
    let seeds: Vec<u64> = args.seeds.clone().collect();
    let mut found = false;
    for path in scenario_files(&args.files)? {
        let scenario = read_scenario_with(&path, &args.set)?;
        let plan = scenario.expand(seeds[0]);
        let attacking = plan.hosts.iter().filter(|h| h.role == Role::Attacker);
        let mut names: Vec<String> = attacking
            .filter_map(|h| Some(h.attack.as_ref()?.name.clone()))
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            continue;
        }
        found = true;
        let (rows, broken) = measured(args, &scenario, names, &defences, &seeds)?;
        if broken {
            exit = Exit::Failed;
        }
        if args.json {
            for row in &rows {
                let json = serde_json::to_string(row).expect("numbers and words");
                print(&format!("{json}\n"))?;
            }
        } else {
            print(&format!("{}\n", attacks::text(&rows)))?;
        }
    }
    if !found {
        let text = "none of these scenarios has an attacker";
        let help = "scenarios/attacks holds one for each attack";
        return Err(Failure::with_help(Exit::Wrong, text, help));
    }
    Ok(exit)
}

/// The defences that are switched off, one at a time.
fn chosen(args: &AttacksArgs) -> Result<Vec<&'static Defence>, Failure> {
    let Some(names) = &args.without else {
        return Ok(DEFENCES.iter().collect());
    };
    let find = |name: &String| {
        DEFENCES.iter().find(|d| d.name == name).ok_or_else(|| {
            let known: Vec<_> = DEFENCES.iter().map(|d| d.name).collect();
            let help = format!("there are {}", known.join(", "));
            Failure::with_help(Exit::Wrong, format!("no defence is called `{name}`"), help)
        })
    };
    names.iter().map(find).collect()
}

/// Makes all runs of a scenario; its rows, and whether an invariant was broken.
fn measured(
    args: &AttacksArgs,
    scenario: &Scenario,
    attacks: Vec<String>,
    defences: &[&Defence],
    seeds: &[u64],
) -> Result<(Vec<Row>, bool), Failure> {
    if !args.json {
        remark(&paragraph(&format!("{} ...", scenario.name())));
    }
    let mut cast = vec![scenario.clean(), scenario.clone()];
    for defence in defences {
        let off = defence.off.iter();
        let off: Vec<_> = off
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let scenario = scenario.with(&off);
        cast.push(scenario.map_err(|errors| Failure::drawn(Exit::Bug, errors))?);
    }
    let jobs = cast.iter().flat_map(|scenario| {
        let of_seed = move |&seed| Job { scenario, seed };
        seeds.iter().map(of_seed)
    });
    let jobs: Vec<Job<'_>> = jobs.collect();
    let mut outcomes = run_all(&jobs, args.threads)?.into_iter();
    let mut next = || -> Vec<Outcome> { outcomes.by_ref().take(seeds.len()).collect() };
    let clean = next();
    let names = std::iter::once(None).chain(defences.iter().map(|d| Some(d.name.to_owned())));
    let attacked = Attacked {
        scenario: scenario.name().to_owned(),
        attacks,
        clean,
        runs: names.map(|name| (name, next())).collect(),
    };
    // What a file expects may fail without a defence: that is what is measured. A broken invariant makes the
    // numbers worthless.
    let all = attacked.runs.iter().flat_map(|(_, outcomes)| outcomes);
    let broken = all
        .chain(&attacked.clean)
        .any(|o| o.verdict == Verdict::Invariant);
    Ok((attacks::rows(&attacked), broken))
}
