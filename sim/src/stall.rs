//! Owns what is told of a peer that could have finished and did not: which pieces it waits for, who holds them,
//! and what keeps each of these from giving them.
//!
//! Invariant: it is data first; the text is made of nothing else, and has at most [`LINES_MAX`] lines.

use std::fmt;

use serde::Serialize;

/// Lines of the text at most.
pub const LINES_MAX: usize = 10;
/// Pieces told of one by one: those with the fewest holders come first.
const PIECES_SHOWN: usize = 3;
/// Holders of a piece that are told of: who was asked comes first.
const HOLDERS_SHOWN: usize = 2;
/// Missing pieces that are named.
const NAMED_MAX: usize = 8;

/// Why one peer is not complete. Times are simulated seconds since the start of the run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Stall {
    /// Who waits.
    pub peer: String,
    /// Pieces that it lacks, ascending.
    pub missing: Vec<u32>,
    /// Pieces of the content.
    pub pieces: u32,
    /// When it last received a block that was of use.
    pub last_block_s: Option<f64>,
    /// Connections with an accepted handshake.
    pub connections: u32,
    /// Its last announce.
    pub announce: Option<Announce>,
    /// The pieces, those with the fewest holders first; of these the ones with the most blocks.
    pub waits: Vec<Wait>,
}

/// The last answer of a tracker, or its failure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Announce {
    /// When.
    pub at_s: f64,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// One missing piece.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Wait {
    /// Which.
    pub piece: u32,
    /// Blocks that are there.
    pub received: u32,
    /// Blocks that it has.
    pub blocks: u32,
    /// Who holds it or was asked for it, online: who was asked first, then who is nearest to giving it; a bounded number.
    pub holders: Vec<Holder>,
    /// How many more there are.
    pub further: u32,
}

/// One who holds a missing piece, or was asked for it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Holder {
    /// Who.
    pub peer: String,
    /// It is no attacker.
    pub honest: bool,
    /// How the two stand.
    pub stands: Stands,
    /// When the oldest of the requests for this piece that it has not answered was made.
    pub asked_s: Option<f64>,
}

/// How a waiting peer and a holder stand to each other.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// The waiting peer has banned it.
    Banned {
        /// Since when.
        since_s: f64,
    },
    /// It answers requests.
    Unchoked {
        /// Since when.
        since_s: f64,
    },
    /// It answers none.
    Choked {
        /// Since when.
        since_s: f64,
    },
    /// There is no connection.
    Apart {
        /// When and why the last one ended, or why the last dial led to none.
        last: Option<(f64, String)>,
    },
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stands::Banned { since_s } => write!(f, "banned since {since_s:.1} s"),
            Stands::Unchoked { since_s } => write!(f, "unchokes it since {since_s:.1} s"),
            Stands::Choked { since_s } => write!(f, "chokes it since {since_s:.1} s"),
            Stands::Apart { last: None } => f.write_str("never connected"),
            Stands::Apart {
                last: Some((at_s, why)),
            } => write!(f, "not connected since {at_s:.1} s: {why}"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attacker = if self.honest { "" } else { " (attacker)" };
        write!(f, "{}{attacker}: {}", self.peer, self.stands)?;
        match self.asked_s {
            Some(asked_s) => write!(f, ", asked since {asked_s:.1} s"),
            None => f.write_str(", not asked"),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wait {
            piece,
            received,
            blocks,
            holders,
            further,
        } = self;
        write!(f, "piece {piece}, {received} of {blocks} blocks here")?;
        if received == blocks {
            return f.write_str(": its hash is not told");
        }
        let shown: Vec<String> = holders
            .iter()
            .take(HOLDERS_SHOWN)
            .map(Holder::to_string)
            .collect();
        match shown.is_empty() {
            true => f.write_str("; nobody online holds it"),
            false => {
                let all = holders.len() + *further as usize;
                write!(f, "; {}{}", shown.join("; "), more(all, HOLDERS_SHOWN))
            }
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .missing
            .iter()
            .take(NAMED_MAX)
            .map(u32::to_string)
            .collect();
        let (lacks, of) = (self.missing.len(), self.pieces);
        write!(
            f,
            "it lacks {lacks} of {of} pieces: {}{}",
            named.join(", "),
            more(lacks, NAMED_MAX)
        )?;
        match self.last_block_s {
            Some(at_s) => write!(f, "\nthe last block of use came at {at_s:.1} s")?,
            None => write!(f, "\nno block of use ever came")?,
        }
        write!(f, "; connections: {}", self.connections)?;
        match &self.announce {
            None => write!(f, "; no tracker answered")?,
            Some(Announce { at_s, failed: None }) => {
                write!(f, "; a tracker answered last at {at_s:.1} s")?;
            }
            Some(Announce {
                at_s,
                failed: Some(why),
            }) => write!(f, "; the announce at {at_s:.1} s failed: {why}")?,
        }
        for wait in self.waits.iter().take(PIECES_SHOWN) {
            write!(f, "\n{wait}")?;
        }
        Ok(())
    }
}

fn more(all: usize, shown: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        n => format!(" and {n} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_who_waits_for_what_and_is_short() {
        let holder = |peer: &str, stands, asked_s| Holder {
            peer: peer.to_owned(),
            honest: peer != "mute",
            stands,
            asked_s,
        };
        let wait = |piece| Wait {
            piece,
            received: 3,
            blocks: 8,
            holders: vec![
                holder("seed", Stands::Unchoked { since_s: 2.0 }, Some(2.5)),
                holder("mute", Stands::Banned { since_s: 3.0 }, None),
                holder("home-1", Stands::Choked { since_s: 4.0 }, None),
            ],
            further: 5,
        };
        let stall = Stall {
            peer: "home-0".to_owned(),
            missing: (10..30).collect(),
            pieces: 64,
            last_block_s: Some(12.25),
            connections: 3,
            announce: Some(Announce {
                at_s: 1.0,
                failed: Some("timed out".to_owned()),
            }),
            waits: (10..30).map(wait).collect(),
        };
        let text = stall.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "it lacks 20 of 64 pieces: 10, 11, 12, 13, 14, 15, 16, 17 and 12 more",
                "the last block of use came at 12.2 s; connections: 3; the announce at 1.0 s failed: timed out",
                "piece 10, 3 of 8 blocks here; seed: unchokes it since 2.0 s, asked since 2.5 s; mute (attacker): \
                 banned since 3.0 s, not asked and 6 more",
            ]
        );
        assert!(lines.len() <= LINES_MAX, "{text}");
    }

    #[test]
    fn what_is_known_of_a_piece_is_told() {
        let wait = |received, holders| Wait {
            piece: 7,
            received,
            blocks: 2,
            holders,
            further: 0,
        };
        assert_eq!(
            wait(2, Vec::new()).to_string(),
            "piece 7, 2 of 2 blocks here: its hash is not told"
        );
        let apart = Stands::Apart {
            last: Some((9.0, "silent for too long".to_owned())),
        };
        assert_eq!(
            apart.to_string(),
            "not connected since 9.0 s: silent for too long"
        );
        assert_eq!(Stands::Apart { last: None }.to_string(), "never connected");
        assert_eq!(
            wait(0, Vec::new()).to_string(),
            "piece 7, 0 of 2 blocks here; nobody online holds it"
        );
    }
}
