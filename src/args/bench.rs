//! Owns the arguments of `skep bench`.

/// Measure the simulator: fixed workloads, each in a process of its own.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Without a NAME all workloads run but ten-thousand, which takes minutes and
gigabytes. A NAME takes all rows that begin with it: `hundred` is also
`hundred-haves`, where peers are also told of pieces that they have already.

`x SHA-1` is the CPU time of the run over that of hashing every received block
and doing nothing else, measured in the same process before and after.

Examples:
  skep bench
  skep bench thousand
  skep bench --json > bench.jsonl")]
pub struct BenchArgs {
    /// The workload.
    pub name: Option<String>,
    /// Print one JSON object per row and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Measure this row in this process.
    #[arg(long, hide = true, requires = "name")]
    pub here: bool,
    /// On this network.
    #[arg(long, hide = true, requires = "here")]
    pub network: Option<String>,
    /// With the hosts, but without a tracker that would tell them of each other.
    #[arg(long, hide = true, requires = "here")]
    pub unconnected: bool,
}
