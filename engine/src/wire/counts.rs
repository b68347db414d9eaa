//! Owns how many messages of each kind came.
//!
//! Invariant: every message is counted once, where it is decoded; a handshake is none.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Message;

/// Ids that have a place of their own: 0 to this.
const ID_MAX: usize = 20;
const KEEP_ALIVE: usize = ID_MAX + 1;
const UNKNOWN: usize = ID_MAX + 2;

/// How many messages of each kind came.
#[derive(Debug, Default)]
pub struct MessageCounts {
    of: [Cell<u64>; UNKNOWN + 1],
}

impl MessageCounts {
    /// A message came.
    pub fn note(&self, message: &Message) {
        let place = match message {
            Message::KeepAlive => KEEP_ALIVE,
            Message::Unknown(_) => UNKNOWN,
            message => message.id().map_or(UNKNOWN, usize::from),
        };
        let count = &self.of[place.min(UNKNOWN)];
        count.set(count.get() + 1);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.of.iter().map(Cell::get).sum()
    }

    /// Of each kind that came, by the name of the kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let named = self.of.iter().enumerate();
        let named = named.map(|(place, count)| (name(place), count.get()));
        named.filter(|(_, count)| *count > 0).collect()
    }
}

/// The name of the kind of message with this id.
fn name(place: usize) -> &'static str {
    match place {
        0 => "choke",
        1 => "unchoke",
        2 => "interested",
        3 => "not-interested",
        4 => "have",
        5 => "bitfield",
        6 => "request",
        7 => "piece",
        8 => "cancel",
        9 => "port",
        13 => "suggest",
        14 => "have-all",
        15 => "have-none",
        16 => "reject",
        17 => "allowed-fast",
        20 => "extended",
        KEEP_ALIVE => "keep-alive",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PieceIndex;

    #[test]
    fn each_message_is_counted_by_its_kind() {
        let counts = MessageCounts::default();
        for message in [
            Message::KeepAlive,
            Message::Have(PieceIndex(3)),
            Message::Have(PieceIndex(3)),
            Message::HaveNone,
            Message::Unknown(7),
            Message::Unknown(200),
        ] {
            counts.note(&message);
        }
        let expected = [
            ("have", 2),
            ("have-none", 1),
            ("keep-alive", 1),
            ("unknown", 2),
        ];
        assert_eq!(counts.by_kind(), BTreeMap::from(expected));
        assert_eq!(counts.total(), 6);
    }
}
