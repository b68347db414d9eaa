//! Everything that runs on a simulated host: an engine peer, the tracker, a file server, a client of direct
//! download, or an attacker.
//!
//! Invariant: attackers speak raw bytes over the same network seam as everybody; the engine has no
//! switch for them.

mod attack_choke_flapper;
mod attack_corrupt;
mod attack_corrupt_one_block;
mod attack_crowd;
mod attack_free_rider;
mod attack_handshake_stall;
mod attack_junk;
mod attack_liar;
mod attack_malformed;
mod attack_metadata_liar;
mod attack_never_deliver;
mod attack_oversize;
mod attack_range_errors;
mod attack_rarest_corruptor;
mod attack_request_flood;
mod attack_slot_thief;
mod attack_spam;
mod attack_stale_have;
mod attack_stolen_id;
mod attack_trickle;
mod attack_unrequested;
mod attack_unseeded;
mod attack_wrong_bytes;
mod attack_wrong_handshake;
pub mod bad_tracker;
pub mod client;
pub mod engine_peer;
pub mod own;
mod parts;
pub mod raw;
pub mod raw_server;

use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use skep_engine::Now;
use tokio::time::Instant;

use crate::content::Content;
use crate::network::Net;
use crate::scenario::plan::{AttackPlan, EndKind};

use attack_crowd::Crowd;
use attack_stolen_id::{StolenId, Whose};
use attack_wrong_handshake::{Wrong, WrongHandshake};
use own::OwnAttack;
use raw::Attacker;
use raw_server::ServerAttack;

/// The attacker of that name, ours or one of `own`; `None` when there is none.
#[must_use]
pub fn attacker(
    plan: &AttackPlan,
    own: &[OwnAttack],
    content: &Arc<Content>,
    rng: ChaCha8Rng,
) -> Option<Box<dyn Attacker>> {
    let all = content;
    let content = Arc::clone(content);
    Some(match plan.name.as_str() {
        "corrupt-blocks" => Box::new(attack_corrupt::CorruptBlocks::new(
            plan.probability_ppm(),
            content,
            rng,
        )),
        "corrupt-one-block" => {
            Box::new(attack_corrupt_one_block::CorruptOneBlock::new(content, rng))
        }
        "liar" => Box::new(attack_liar::Liar::new(
            plan.probability_ppm(),
            &content,
            rng,
        )),
        "trickle" => Box::new(attack_trickle::Trickle::new(content)),
        "choke-flapper" => Box::new(attack_choke_flapper::ChokeFlapper::new(content)),
        "request-flood" => Box::new(attack_request_flood::RequestFlood::new(content)),
        "stale-have" => Box::new(attack_stale_have::StaleHave::new(&content)),
        "junk-for-unchoke" => Box::new(attack_junk::JunkForUnchoke::new(content, rng)),
        "unrequested" => Box::new(attack_unrequested::Unrequested::new(content, rng)),
        "have-spam" => Box::new(attack_spam::Spam::haves(&content)),
        "interest-flapper" => Box::new(attack_spam::Spam::interest()),
        "rarest-corruptor" => Box::new(attack_rarest_corruptor::RarestCorruptor::new(content, rng)),
        "slot-thief" => Box::new(attack_slot_thief::SlotThief::new(content, rng)),
        "unseeded" => Box::new(attack_unseeded::Unseeded::new(&content)),
        "never-deliver" => Box::new(attack_never_deliver::NeverDeliver::new(
            plan.param("claims"),
            &content,
        )),
        "free-rider" => Box::new(attack_free_rider::FreeRider::new(content, rng)),
        "large-view" => {
            let every = plan.time("every");
            Box::new(attack_free_rider::FreeRider::large_view(
                every, content, rng,
            ))
        }
        "oversize" => Box::new(attack_oversize::Oversize::new(content)),
        "malformed" => Box::new(attack_malformed::Malformed::new(content, rng)),
        "wrong-hash" => Box::new(WrongHandshake::new(Wrong::Hash, rng)),
        "wrong-protocol" => Box::new(WrongHandshake::new(Wrong::Protocol, rng)),
        "handshake-stall" => Box::new(attack_handshake_stall::HandshakeStall::new(plan, rng)),
        "duplicate-id" => Box::new(StolenId::new(Whose::Another, rng)),
        "self-connect" => Box::new(StolenId::new(Whose::Theirs, rng)),
        "connection-flood" => Box::new(Crowd::flood(plan, content, rng)),
        "sybil" => Box::new(Crowd::sybil(plan, content, rng)),
        "metadata-liar" => Box::new(attack_metadata_liar::MetadataLiar::new(content, rng)),
        other => {
            let own = own.iter().find(|own| own.named.name == other)?;
            (own.make)(plan, all, rng)
        }
    })
}

/// A parameter that is a number of connections: at most a thousand.
fn few(number: u64) -> u32 {
    u32::try_from(number.clamp(1, 1000)).expect("at most a thousand")
}

/// Whether the attackers of that name play a file server and no peer.
#[must_use]
pub fn plays_server(attack: &str) -> bool {
    matches!(attack, "range-errors" | "wrong-bytes")
}

/// Whether the attackers of that name are there to be caught by a check, and spoil what they are part of:
/// a scenario has to say that it is meant, by the tag [`CANARY`].
#[must_use]
pub fn is_canary(attack: &str) -> bool {
    attack == "unseeded"
}

/// The tag of scenarios with something in them that a check must catch.
pub const CANARY: &str = "canary";

/// Whether the attackers of that name may serve, as the present state of a file, what is not.
#[must_use]
pub fn serves_false_bytes(attack: &str) -> bool {
    attack == "wrong-bytes"
}

/// The attack of that name on those who ask for files; `None` when it is none.
#[must_use]
pub fn server_attack(
    plan: &AttackPlan,
    content: &Arc<Content>,
    rng: ChaCha8Rng,
) -> Option<Box<dyn ServerAttack>> {
    let content = Arc::clone(content);
    Some(match plan.name.as_str() {
        "range-errors" => Box::new(attack_range_errors::RangeErrors::new(content)),
        "wrong-bytes" => Box::new(attack_wrong_bytes::WrongBytes::new(
            plan.probability_ppm(),
            content,
            rng,
        )),
        _ => return None,
    })
}

/// Runs a host's process until it is done or its stay ends by plan: then it is dropped as it stands, after its
/// machine went dark if the power is lost. Returns how it ended, if by plan.
pub async fn until_end(
    net: &Net,
    ip: Ipv4Addr,
    epoch: Instant,
    end: Option<(Now, EndKind)>,
    process: impl Future<Output = ()>,
) -> Option<EndKind> {
    let mut process = pin!(process);
    let Some((at, kind)) = end else {
        process.await;
        return None;
    };
    let at = epoch + Duration::from_nanos(at.0);
    if tokio::time::timeout_at(at, process.as_mut()).await.is_ok() {
        return None;
    }
    if kind == EndKind::PowerLoss {
        net.power_off(ip);
    }
    Some(kind)
}

/// Who hears of what an attacker did.
pub type AttackObserver = Rc<dyn Fn(crate::trace::Attack)>;
