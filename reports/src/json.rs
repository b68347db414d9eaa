//! Owns the JSON object of a run: the interface for other programs. Fields may be added, none
//! renamed.

use serde_json::{Value, json};
use skep_sim::outcome::{Outcome, PeerOutcome};

/// One run as one object. Times are simulated seconds since the start, sizes bytes.
#[must_use]
pub fn run(outcome: &Outcome) -> Value {
    json!({
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "network": outcome.network,
        "trace_hash": outcome.trace_hash,
        "events": outcome.events,
        "sim_seconds": outcome.sim_seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "blocks": outcome.blocks,
        "bound_seconds": outcome.bound.seconds,
        "bound_term": outcome.bound.term,
        "direct_limit_seconds": outcome.both_ways.direct,
        "swarm_limit_seconds": outcome.both_ways.swarm,
        "content_bytes": outcome.content_bytes,
        "pieces": outcome.pieces,
        "verdict": outcome.verdict.word(),
        "failures": outcome.failures,
        "peers": outcome.peers.iter().map(peer).collect::<Vec<_>>(),
        "seed_uploaded": outcome.seed_uploaded(),
        "seed_until_second": outcome.seed_until_second,
        "server_uploaded": outcome.server_uploaded(),
        "buffered_max": outcome.buffered_max(),
        "buffered_bound": outcome.buffered_bound,
        "copies_min": outcome.copies_min,
        "utilisation": outcome.utilisation,
        "checks": outcome.checks,
        "sometimes": outcome.sometimes,
    })
}

fn peer(peer: &PeerOutcome) -> Value {
    json!({
        "name": peer.name,
        "group": peer.group,
        "role": peer.role.word(),
        "joined_s": peer.joined_s,
        "completed_s": peer.completed_s,
        "first_block_s": peer.first_block_s,
        "first_piece_s": peer.first_piece_s,
        "downloaded": peer.downloaded,
        "uploaded": peer.uploaded,
        "wasted": peer.wasted,
        "banned": peer.banned_by > 0,
        "first_ban_s": peer.first_ban_s,
        "buffered": peer.buffered,
        "online_s": peer.online_s,
        "announces": peer.announces,
        "control": peer.control,
        "up": peer.up,
        "attack": peer.attack,
        "acted": peer.acted,
    })
}
