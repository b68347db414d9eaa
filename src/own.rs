//! Owns which strategies this program has beside Skep's: whatever reads a scenario asks here.
//!
//! Invariant: said once, before the first command; a program has the same strategies from its start to its end.

use std::sync::OnceLock;

use skep_sim::own::{self, Own};

static OWN: OnceLock<&'static Own> = OnceLock::new();

/// Says what this program has. What was said first holds.
pub fn say(own: &'static Own) {
    OWN.get_or_init(|| own);
}

/// What this program has.
pub fn own() -> &'static Own {
    OWN.get().copied().unwrap_or(&own::NONE)
}
