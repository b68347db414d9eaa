//! What a scenario puts into an honest host on purpose, so that a check catches it: if it does not, the check is
//! no check.
//!
//! Invariant: a canary spoils what is around the engine (its disk, its network, its strategy, its numbers, who hears
//! of its events) and nothing in it; a scenario says with its tags that it is meant. `tests/canaries.rs` has one test
//! for each.

mod disk;
mod net;
mod picker;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use skep_engine::node::peer_host::Observer;
use skep_engine::picker::PiecePicker;
use skep_engine::session::event::Event;
use skep_engine::{EngineConfig, Now};

use crate::scenario::strategies::{Family, Named};

pub use disk::SpoiltDisk;
pub use net::{SpoiltNet, Veil};

/// What is spoilt of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canary {
    /// Its picker takes the piece with the most copies.
    RarestDisabled,
    /// Its picker starts nothing, ever.
    Declining,
    /// Nobody hears that it bans.
    BansUnheard,
    /// Whoever it bans is let in again: its ban list does not know them.
    BansIgnored,
    /// Nobody hears of one block that it received.
    LostBlock,
    /// Its disk never says what the hash of one piece is.
    HashUntold,
    /// Its disk calls bad pieces good.
    FalseHash,
    /// Its disk reads some blocks, then none.
    Stalled,
    /// Its engine's buffers have no end, whatever its numbers say.
    Unbounded,
}

const fn named(name: &'static str, doc: &'static str) -> Named {
    Named {
        name,
        doc,
        params: &[],
    }
}

/// Canaries: `canary` of a group of honest peers. It has no default: most hosts have none.
pub const CANARIES: Family = Family {
    what: "canary",
    default: "stalled",
    known: &[
        named(
            "rarest-disabled",
            "picks the piece with the most copies, for expectations to catch",
        ),
        named(
            "declining",
            "its picker never starts a piece, for liveness to catch",
        ),
        named(
            "bans-unheard",
            "bans, and nobody hears of it, for expectations to catch",
        ),
        named(
            "bans-ignored",
            "bans, and lets in again whom it banned, for `bans-hold` to catch",
        ),
        named(
            "lost-block",
            "a block is received, and nobody hears of it, for `bytes-conserved` to catch",
        ),
        named(
            "hash-untold",
            "the disk never tells a piece's hash, for liveness to catch",
        ),
        named(
            "false-hash",
            "the disk calls bad pieces good, for `no-wrong-byte` to catch",
        ),
        named(
            "stalled",
            "the disk reads some blocks, then none, for liveness to catch",
        ),
        named(
            "unbounded",
            "buffers without end, for `buffers-bounded` to catch",
        ),
    ],
};

/// Blocks that the disk of [`Canary::Stalled`] reads before it reads no more.
const READS_BEFORE_STALLING: u32 = 8;
/// Which of the blocks received is the one that [`Canary::LostBlock`] loses, from 0.
const BLOCK_LOST: u32 = 2;

impl Canary {
    /// The canary of that name in scenario files.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Canary> {
        Some(match name {
            "rarest-disabled" => Canary::RarestDisabled,
            "declining" => Canary::Declining,
            "bans-unheard" => Canary::BansUnheard,
            "bans-ignored" => Canary::BansIgnored,
            "lost-block" => Canary::LostBlock,
            "hash-untold" => Canary::HashUntold,
            "false-hash" => Canary::FalseHash,
            "stalled" => Canary::Stalled,
            "unbounded" => Canary::Unbounded,
            _ => return None,
        })
    }

    /// The picker in place of the host's own, if that is what is spoilt.
    #[must_use]
    pub fn picker(self) -> Option<Box<dyn PiecePicker>> {
        Some(match self {
            Canary::RarestDisabled => Box::new(picker::Commonest),
            Canary::Declining => Box::new(picker::Declining),
            _ => return None,
        })
    }

    /// The numbers that the engine really goes by.
    #[must_use]
    pub fn config(self, config: &Arc<EngineConfig>) -> Arc<EngineConfig> {
        match self {
            Canary::Unbounded => Arc::new(EngineConfig {
                request_queue_max: u32::MAX,
                send_backlog_max: u64::MAX,
                ..EngineConfig::clone(config)
            }),
            _ => Arc::clone(config),
        }
    }

    /// What hides from the host whom it banned, if that is what is spoilt.
    #[must_use]
    pub fn veil(self) -> Option<Rc<RefCell<Veil>>> {
        (self == Canary::BansIgnored).then(Rc::default)
    }

    /// Who really hears of the host's events. Where there is a veil it is lifted first.
    #[must_use]
    pub fn observer(self, mut hears: Observer, veil: Option<Rc<RefCell<Veil>>>) -> Observer {
        let mut received = 0;
        let unheard = move |event: &Event| match (self, event) {
            (Canary::BansUnheard, Event::Banned { .. }) => true,
            (Canary::LostBlock, Event::BlockReceived { .. }) => {
                received += 1;
                received == BLOCK_LOST + 1
            }
            _ => false,
        };
        let mut unheard = unheard;
        Box::new(move |at: Now, event: &Event| match &veil {
            Some(veil) => {
                let lifted = veil.borrow_mut().lift(event);
                hears(at, &lifted);
            }
            None if unheard(event) => {}
            None => hears(at, event),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_canary() {
        for named in CANARIES.known {
            assert!(Canary::by_name(named.name).is_some(), "{}", named.name);
        }
        assert_eq!(Canary::by_name("robin"), None);
    }
}
