//! Owns the workloads: scenario files like any other, built in, with what each should reach.
//!
//! Invariant: a workload is never made easier; a row with other rules has another name.

use skep_reports::bench::{Figure, Reach};

/// One row of the bench.
#[derive(Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// The network.
    pub network: &'static str,
    /// The scenario file.
    pub text: &'static str,
    /// Keys that are set otherwise.
    pub set: &'static [(&'static str, &'static str)],
    /// How often it runs; the median counts.
    pub runs: u32,
    /// It runs when no name is given.
    pub by_default: bool,
    /// Its memory per connection is measured, in a second process.
    pub per_connection: bool,
    /// What it should reach.
    pub reach: &'static [Reach],
}

const ROW: Workload = Workload {
    name: "",
    network: "fabric",
    text: "",
    set: &[],
    runs: 1,
    by_default: true,
    per_connection: false,
    reach: &[],
};

const fn reach(of: Figure, limit: f64) -> Reach {
    Reach { of, limit }
}

const SMALL: &str = include_str!("workloads/small.toml");
const HUNDRED: &str = include_str!("workloads/hundred.toml");
const THOUSAND: &str = include_str!("workloads/thousand.toml");
const TEN_THOUSAND: &str = include_str!("workloads/ten-thousand.toml");
const IDLE: &str = include_str!("workloads/idle.toml");
const TURMOIL_25: &str = include_str!("workloads/turmoil-25.toml");

/// Peers are told of pieces that they have already, as by libtorrent.
const ALL_HAVES: &[(&str, &str)] = &[("engine.redundant_have", "true")];

const GIB: f64 = 1_073_741_824.0;

const THOUSAND_REACH: &[Reach] = &[
    reach(Figure::Cpu, 100.0),
    reach(Figure::Sha1, 1.6),
    reach(Figure::Memory, GIB),
    reach(Figure::PerConnection, 12_000.0),
];

/// All rows, in the order in which they run.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "small",
        text: SMALL,
        runs: 5,
        reach: &[reach(Figure::BlocksPerSecond, 200_000.0)],
        ..ROW
    },
    Workload {
        name: "hundred",
        text: HUNDRED,
        runs: 3,
        reach: &[reach(Figure::BlocksPerSecond, 80_000.0)],
        ..ROW
    },
    Workload {
        name: "hundred-haves",
        text: HUNDRED,
        set: ALL_HAVES,
        runs: 3,
        reach: &[
            reach(Figure::BlocksPerSecond, 80_000.0),
            reach(Figure::MessagesPerSecond, 800_000.0),
        ],
        ..ROW
    },
    Workload {
        name: "thousand",
        text: THOUSAND,
        per_connection: true,
        reach: THOUSAND_REACH,
        ..ROW
    },
    Workload {
        name: "thousand-haves",
        text: THOUSAND,
        set: ALL_HAVES,
        per_connection: true,
        reach: THOUSAND_REACH,
        ..ROW
    },
    Workload {
        name: "ten-thousand",
        text: TEN_THOUSAND,
        by_default: false,
        reach: &[reach(Figure::Cpu, 250.0), reach(Figure::Memory, 4.0 * GIB)],
        ..ROW
    },
    Workload {
        name: "idle",
        text: IDLE,
        reach: &[reach(Figure::Cpu, 10.0)],
        ..ROW
    },
    Workload {
        name: "turmoil-25",
        text: TURMOIL_25,
        runs: 3,
        ..ROW
    },
    Workload {
        name: "turmoil-25",
        network: "turmoil",
        text: TURMOIL_25,
        set: &[("run.network", "turmoil")],
        ..ROW
    },
];
