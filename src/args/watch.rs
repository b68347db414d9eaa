//! Owns the options of `skep run` that write down a run for other tools.

use std::path::PathBuf;

/// What is written of a run, for other tools.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Of one run, for other tools")]
pub struct WatchArgs {
    /// Write every event to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write the traffic to this file, as pcapng: for Wireshark and tshark.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Write a timeline to this file: for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
}

impl WatchArgs {
    /// The option that was given, the first of several.
    pub fn first(&self) -> Option<&'static str> {
        let given = [
            ("--trace", &self.trace),
            ("--pcap", &self.pcap),
            ("--perfetto", &self.perfetto),
        ];
        let first = given.into_iter().find(|(_, path)| path.is_some());
        first.map(|(option, _)| option)
    }
}
