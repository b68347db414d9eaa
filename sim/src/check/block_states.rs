//! A piece is exactly one of have, in progress, queued, and a block exactly one of missing,
//! requested, received: none is ever lost in between.

use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::trace::WorldEvent;

/// Reads the audits that the sessions make of their own books.
pub(super) struct BlockStates;

impl Check for BlockStates {
    fn name(&self) -> &'static str {
        "block-states"
    }

    fn sentence(&self) -> &'static str {
        "every piece and every block is in exactly one state"
    }

    fn on_event(&mut self, seen: &Seen<'_>, _scene: &Scene<'_>, log: &mut Log) {
        match seen.event {
            WorldEvent::Peer(Event::Audited { pieces }) => log.evaluations += u64::from(*pieces),
            WorldEvent::Peer(Event::AuditFailed {
                piece,
                what,
                availability: false,
            }) => {
                log.require(false, seen.at, seen.host, || {
                    format!("piece {piece}: {what}")
                });
            }
            _ => {}
        }
    }
}
