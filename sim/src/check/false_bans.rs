//! An honest peer never bans an honest peer, but for a piece of which a fault flipped a bit at that one's disk: it did
//! send wrong bytes, and nobody can tell why.

use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::trace::WorldEvent;

/// Looks at every ban.
pub(super) struct FalseBans;

impl Check for FalseBans {
    fn name(&self) -> &'static str {
        "false-bans"
    }

    fn sentence(&self) -> &'static str {
        "an honest peer never bans an honest peer that sent what is true"
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        if let WorldEvent::Peer(Event::Banned { peer, piece }) = seen.event {
            let honest = scene.host_at(peer.ip()).filter(|&host| scene.honest(host));
            let honest = honest.filter(|&host| !scene.disks[host].borrow().flipped(*piece));
            log.require(honest.is_none(), seen.at, seen.host, || {
                let name = honest.map_or("", |host| &scene.plan.hosts[host].name);
                format!("banned the honest peer {name} for piece {piece}")
            });
        }
    }
}
