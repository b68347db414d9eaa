//! Owns the arguments of the commands that work on scenarios.

use std::ops::Range;
use std::path::PathBuf;

use skep_sim::scenario::split_override;

use super::watch::WatchArgs;

/// Run scenarios: swarms in a seeded, simulated network.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Without --seed or --seeds the file's own seeds run, on all cores. Of a key in
[vary] the first value is taken. Over several runs the exit code is the worst:
  0   all held              2   a peer that could have finished did not
  1   an invariant or an    4   something that the scenario names never happened
      expectation failed    64  the scenario or the command is wrong
                            70  a bug in Skep, or a run that cannot be repeated

Examples:
  skep run scenarios/first-swarm.toml
  skep run scenarios --json > runs.jsonl
  skep run scenarios --junit junit.xml
  skep run scenarios/flash-crowd.toml --seeds 0..20 --set group.home.up='4 Mbit/s'
  skep run scenarios/first-swarm.toml --seed 3 --trace events.jsonl
  skep run scenarios/first-swarm.toml --seed 3 --pcap swarm.pcapng
  skep run scenarios/first-swarm.toml --seed 3 --perfetto swarm.json
  skep run scenarios/flash-crowd.toml --out flash-crowd
  skep run scenarios --check-determinism")]
pub struct RunArgs {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE|DIR", required = true)]
    pub files: Vec<PathBuf>,
    /// Run this seed only.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Run these seeds: A..B, without B.
    #[arg(long, value_name = "A..B", value_parser = seed_range)]
    pub seeds: Option<Range<u64>>,
    /// Set a key of the scenario; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = split_override)]
    pub set: Vec<(String, String)>,
    /// Run on this simulated network, whatever the file says.
    #[arg(long, value_name = "NET", value_parser = ["fabric", "turmoil"])]
    pub network: Option<String>,
    /// Print one JSON object per run and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Write what came of the runs of one scenario to this folder, with a page for the browser: see `skep report`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check_determinism", "probe"])]
    pub out: Option<PathBuf>,
    /// Write what held and what did not to this file, as JUnit XML.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check_determinism", "probe"])]
    pub junit: Option<PathBuf>,
    /// Make every run in two processes, and find the first event that differs.
    #[arg(long, conflicts_with_all = ["json", "WatchArgs"])]
    pub check_determinism: bool,
    /// Runs at once; 0: as many as there are cores.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// As the other process of --check-determinism: print hashes and checkpoints.
    #[arg(long, hide = true, conflicts_with_all = ["check_determinism", "json", "WatchArgs"])]
    pub probe: bool,
    /// With --probe and one run: print its events from this number on.
    #[arg(long, hide = true, requires = "probe", value_name = "N")]
    pub probe_from: Option<u64>,
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// The key that `--network` sets.
pub const NETWORK_KEY: &str = "run.network";

impl RunArgs {
    /// The keys that are set: those of `--set`, and the network.
    pub fn set(&self) -> Vec<(String, String)> {
        let network = self.network.iter();
        let network = network.map(|name| (NETWORK_KEY.to_owned(), name.clone()));
        self.set.iter().cloned().chain(network).collect()
    }

    /// The seeds that were asked for, if any were.
    pub fn seeds(&self) -> Option<Vec<u64>> {
        let one = self.seed.map(|seed| vec![seed]);
        one.or_else(|| self.seeds.clone().map(Iterator::collect))
    }
}

/// Run the variants of a scenario on the same seeds and compare them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The variants are the combinations of the values in [vary], and of --vary. The
first value of one key is what the others are compared with: of the key that
[expect.compare] names, or else of the first whose values are words. The other
keys are circumstances.

DIR gets compare.json, runs.csv and peers.csv. Finished runs are kept below
DIR/runs: the same command goes on where it was interrupted, and one with more
seeds makes only those that are missing.

Examples:
  skep compare scenarios/compare/pickers.toml --out pickers
  skep compare scenarios/first-swarm.toml --seeds 0..20 --out slots \\
      --vary engine.upload_slots=4,2,8")]
pub struct CompareArgs {
    /// A scenario file.
    pub file: PathBuf,
    /// Run these seeds instead of the file's: A..B, without B.
    #[arg(long, value_name = "A..B", value_parser = seed_range)]
    pub seeds: Option<Range<u64>>,
    /// Compare these values of a key; may be given more than once.
    #[arg(long, value_name = "KEY=A,B,C", value_parser = varied)]
    pub vary: Vec<(String, Vec<String>)>,
    /// Set a key of the scenario; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = split_override)]
    pub set: Vec<(String, String)>,
    /// Where the results go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Runs at once; 0: as many as there are cores.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Draw time against the number that varies, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub chart: Option<PathBuf>,
}

/// A key with several values: commas inside of quotes, brackets and braces belong to a value.
fn varied(text: &str) -> Result<(String, Vec<String>), String> {
    let (key, list) = split_override(text)?;
    let mut values = vec![String::new()];
    let (mut depth, mut quote) = (0_usize, None);
    for c in list.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        values.last_mut().expect("at least one").push(c);
    }
    let values: Vec<String> = values.iter().map(|v| v.trim().to_owned()).collect();
    match values.iter().any(String::is_empty) {
        true => Err(format!("`{text}` has an empty value: write KEY=A,B,C")),
        false => Ok((key, values)),
    }
}

/// Measure what attacks cost the honest, and what each defence is worth.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Each scenario with attackers runs without them, with them, and with them and one
defence switched off at a time, all on the same seeds. Files without attackers
are passed over.

Examples:
  skep attacks scenarios/attacks
  skep attacks scenarios/attacks/liar.toml --seeds 0..5 --without snubbing")]
pub struct AttacksArgs {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE|DIR", required = true)]
    pub files: Vec<PathBuf>,
    /// Run these seeds: A..B, without B.
    #[arg(long, value_name = "A..B", value_parser = seed_range, default_value = "0..20")]
    pub seeds: Range<u64>,
    /// Switch off these defences only; all of them one by one if not given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub without: Option<Vec<String>>,
    /// Set a key of the scenarios; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = split_override)]
    pub set: Vec<(String, String)>,
    /// Print one JSON object per row and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Runs at once; 0: as many as there are cores.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
}

/// Seeds from A to B, without B.
fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(low, high)| {
        let range = low.trim().parse().ok()?..high.trim().parse().ok()?;
        (range.start < range.end && range.end - range.start <= SEEDS_MAX).then_some(range)
    });
    range.ok_or_else(|| format!("write A..B with A below B, at most {SEEDS_MAX} seeds: 0..20"))
}

/// Most seeds of one command.
const SEEDS_MAX: u64 = 1_000_000;

/// Check scenario files without running them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  skep check scenarios/flash-crowd.toml
  skep check scenarios
  skep check --schema > scenarios/schema.json")]
pub struct CheckArgs {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE", required_unless_present_any = ["metrics", "schema"])]
    pub files: Vec<PathBuf>,
    /// List the metrics that `[expect]` may name.
    #[arg(long, conflicts_with_all = ["files", "schema"])]
    pub metrics: bool,
    /// Print the JSON schema of scenario files, for editors.
    #[arg(long, conflicts_with = "files")]
    pub schema: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_split_at_commas_that_are_not_inside_of_one() {
        let (key, values) =
            varied("a.b=random, { name = \"top\", n = 3 },\"x,y\",[1,2]").expect("right");
        assert_eq!(key, "a.b");
        let wanted = ["random", "{ name = \"top\", n = 3 }", "\"x,y\"", "[1,2]"];
        assert_eq!(values, wanted);
        assert!(varied("a.b=1,,2").is_err());
        assert!(varied("a.b").is_err());
    }
}
