//! Availability equals the sum of the neighbours' bitfields, after every input.

use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::trace::WorldEvent;

/// Reads the audits that the sessions make of their own books.
pub(super) struct Availability;

impl Check for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }

    fn sentence(&self) -> &'static str {
        "a peer's count of copies of a piece is the sum of its neighbours' bitfields"
    }

    fn on_event(&mut self, seen: &Seen<'_>, _scene: &Scene<'_>, log: &mut Log) {
        match seen.event {
            WorldEvent::Peer(Event::Audited { pieces }) => log.evaluations += u64::from(*pieces),
            WorldEvent::Peer(Event::AuditFailed {
                piece,
                what,
                availability: true,
            }) => {
                log.require(false, seen.at, seen.host, || {
                    format!("piece {piece}: {what}")
                });
            }
            _ => {}
        }
    }
}
