//! Everything that runs on a simulated host: an engine peer, the tracker, or an attacker.
//!
//! Invariant: attackers speak raw bytes over the same network seam as everybody; the engine has no
//! switch for them.

mod attack_corrupt;
mod attack_free_rider;
mod attack_metadata_liar;
mod attack_never_deliver;
pub mod engine_peer;
pub mod raw;

use std::rc::Rc;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::content::Content;
use crate::scenario::plan::AttackPlan;

use raw::Attacker;

/// The attacker of that name; `None` when this version does not know it.
#[must_use]
pub fn attacker(
    plan: &AttackPlan,
    content: &Arc<Content>,
    rng: ChaCha8Rng,
) -> Option<Box<dyn Attacker>> {
    let content = Arc::clone(content);
    Some(match plan.name.as_str() {
        "corrupt-blocks" => Box::new(attack_corrupt::CorruptBlocks::new(
            plan.probability_ppm,
            content,
            rng,
        )),
        "never-deliver" => Box::new(attack_never_deliver::NeverDeliver::new(&content)),
        "free-rider" => Box::new(attack_free_rider::FreeRider::new(content, rng)),
        "metadata-liar" => Box::new(attack_metadata_liar::MetadataLiar::new(content, rng)),
        _ => return None,
    })
}

/// Who hears of what an attacker did.
pub type AttackObserver = Rc<dyn Fn(crate::trace::Attack)>;
