//! Buffers stay bounded: whatever others do, no peer holds more for one connection, and of blocks for its disk,
//! than its engine's numbers allow.

use skep_engine::metainfo::Geometry;
use skep_engine::session::buffers::Buffered;
use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::scenario::Plan;
use crate::trace::WorldEvent;

/// Holds what sessions and hosts count of their own against the bound.
pub(super) struct BuffersBounded {
    bounds: Vec<Buffered>,
}

impl BuffersBounded {
    pub(super) fn new(plan: &Plan) -> BuffersBounded {
        BuffersBounded {
            bounds: (0..plan.hosts.len()).map(|h| bound(plan, h)).collect(),
        }
    }
}

/// What the peer of a host may hold.
pub(crate) fn bound(plan: &Plan, host: usize) -> Buffered {
    let geometry = Geometry::new(plan.torrent.total(), plan.torrent.piece_bytes);
    let geometry = geometry.expect("validation bounds the pieces");
    Buffered::bound(&plan.hosts[host].engine, geometry)
}

impl Check for BuffersBounded {
    fn name(&self) -> &'static str {
        "buffers-bounded"
    }

    fn sentence(&self) -> &'static str {
        "no peer holds more in memory for a connection than its engine's numbers allow"
    }

    fn on_event(&mut self, seen: &Seen<'_>, _scene: &Scene<'_>, log: &mut Log) {
        let (Some(host), WorldEvent::Peer(Event::Buffered(held))) = (seen.host, seen.event) else {
            return;
        };
        let parts = held.parts().into_iter().zip(self.bounds[host].parts());
        for ((what, held), (_, most)) in parts {
            log.require(held <= most, seen.at, seen.host, || {
                format!("{held} {what}, where {most} are the most")
            });
        }
    }
}
