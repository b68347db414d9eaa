//! Owns what a user may limit of a real peer, and where real sockets differ from the engine's
//! defaults.

use std::time::Duration;

use skep_engine::EngineConfig;
use skep_engine::config::RateLimit;
use skep_sim::scenario::units;

/// Limits of one peer; what is not given keeps the engine's default.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Send no more content than this: "500 kB/s", "10 Mbit/s".
    #[arg(long, value_name = "RATE", value_parser = rate)]
    upload_limit: Option<RateLimit>,
    /// Upload to so many peers at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: Option<u32>,
    /// Keep at most so many connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
}

impl Limits {
    /// The engine of a real peer.
    pub fn config(&self) -> EngineConfig {
        let engine = EngineConfig::default();
        let slots = self.slots.unwrap_or(engine.upload_slots);
        // Fast links: more is on its way than one wake-up of the loop hands over.
        let send_buffer = 256 * 1024;
        EngineConfig {
            // A person waits: the first retry comes soon, later ones as usual.
            announce_retry_min: Duration::from_secs(5),
            send_buffer,
            // Room for what honest peers make us read ahead.
            read_queue_max: engine
                .read_queue_max
                .max(2 * u64::from(slots) * send_buffer),
            // Real peers are rarely neighbours.
            allowed_fast: 10,
            upload_limit: self.upload_limit.unwrap_or(engine.upload_limit),
            upload_slots: slots,
            connections_max: self.connections.unwrap_or(engine.connections_max),
            ..engine
        }
    }
}

/// A rate as people write it.
pub fn rate(text: &str) -> Result<RateLimit, String> {
    let rate = units::rate(text).map(RateLimit);
    rate.map_err(|error| format!("{}; {}", error.message, error.help))
}
