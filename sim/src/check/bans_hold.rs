//! Whom a peer has banned is no peer of its any more, as long as its client runs: neither is it let in nor dialled. A
//! client that starts anew knows nothing of earlier bans.

use std::collections::BTreeSet;

use skep_engine::session::event::Event;

use super::{Check, Log, Scene, Seen};
use crate::trace::WorldEvent;

/// Looks at who joins whom.
#[derive(Default)]
pub(super) struct BansHold {
    /// By whom, and who.
    banned: BTreeSet<(usize, usize)>,
}

impl Check for BansHold {
    fn name(&self) -> &'static str {
        "bans-hold"
    }

    fn sentence(&self) -> &'static str {
        "whom a peer has banned is never its peer again"
    }

    fn on_event(&mut self, seen: &Seen<'_>, scene: &Scene<'_>, log: &mut Log) {
        let Some(host) = seen.host else { return };
        match seen.event {
            WorldEvent::Joined => self.banned.retain(|(by, _)| *by != host),
            WorldEvent::Peer(Event::Banned { peer, .. }) => {
                let banned = scene.host_at(peer.ip());
                self.banned.extend(banned.map(|banned| (host, banned)));
            }
            WorldEvent::Peer(
                Event::PeerJoined { peer, .. } | Event::WebSeedJoined { peer, .. },
            ) if !self.banned.is_empty() => {
                let other = scene.host_at(peer.ip());
                let again = other.filter(|other| self.banned.contains(&(host, *other)));
                log.require(again.is_none(), seen.at, seen.host, || {
                    let name = again.map_or("", |other| &scene.plan.hosts[other].name);
                    format!("{name} is a peer again, after its ban")
                });
            }
            _ => {}
        }
    }
}
