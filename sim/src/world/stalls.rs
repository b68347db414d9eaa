//! Owns what is told at the end of why peers did not finish, from the diary.
//!
//! Invariant: who serves a piece is found once for all who wait, and a stall names a bounded number of pieces and of
//! holders: a thousand peers that wait for the same cost about as much as their names.

use std::collections::BTreeMap;

use skep_engine::ids::BLOCK_BYTES;
use skep_engine::{Now, PieceIndex};

use super::diary::{Diary, Other, Page};
use super::recorder::Recorder;
use crate::scenario::plan::Role;
use crate::stall::{Holder, Stall, Stands, Wait};

/// Pieces of which a stall holds the details.
const WAITS_MAX: usize = 16;
/// Holders of a piece that a stall names.
const HOLDERS_MAX: usize = 16;

/// Why peers did not finish.
pub(super) struct Stalls<'a> {
    recorder: &'a Recorder,
    diary: &'a Diary,
    /// By piece: honest hosts online that have it and serve it, by position in the plan.
    serving: Vec<Vec<usize>>,
}

/// Requests for one piece that were not answered: who was asked, by position, and when first.
type Asked = BTreeMap<usize, Now>;

impl<'a> Stalls<'a> {
    /// Nothing without a diary.
    pub(super) fn new(recorder: &'a Recorder) -> Option<Stalls<'a>> {
        let diary = recorder.diary.as_ref()?;
        let hosts = recorder.plan.hosts.iter().enumerate();
        let serves = hosts.filter(|(host, plan)| {
            let serves = plan.role != Role::Server || plan.web_seed;
            plan.role.honest() && serves && takes_part(recorder, *host)
        });
        let servers: Vec<usize> = serves.map(|(host, _)| host).collect();
        let serving = recorder.geometry().all_pieces().map(|piece| {
            let servers = servers.iter().copied();
            let holders = servers.filter(|host| diary.holds(recorder, *host, piece));
            holders.collect()
        });
        Some(Stalls {
            recorder,
            diary,
            serving: serving.collect(),
        })
    }

    /// Why a leecher did not finish.
    pub(super) fn of(&self, host: usize) -> Stall {
        let page = &self.diary.pages[host];
        let geometry = self.recorder.geometry();
        let asked = self.asked(host);
        let missing: Vec<PieceIndex> = geometry
            .all_pieces()
            .filter(|piece| !self.diary.holds(self.recorder, host, *piece))
            .collect();
        let none = Asked::new();
        let mut lacks: Vec<_> = missing
            .iter()
            .map(|piece| {
                let asked = asked.get(piece).unwrap_or(&none);
                let received = page.blocks.range((*piece, 0)..=(*piece, u32::MAX)).count();
                let received = u32::try_from(received).expect("blocks of a piece");
                let blocks = geometry.piece_len(*piece).div_ceil(BLOCK_BYTES);
                let holders = self.honest(*piece, asked);
                ((holders, blocks - received, *piece), asked, received)
            })
            .collect();
        lacks.sort_by_key(|(first, ..)| *first);
        lacks.truncate(WAITS_MAX);
        let waits = lacks
            .into_iter()
            .map(|((_, open, piece), asked, received)| {
                let (holders, further) = self.holders(page, piece, asked);
                Wait {
                    piece: piece.0,
                    received,
                    blocks: received + open,
                    holders,
                    further,
                }
            });
        let connections = page.others.values().filter(|other| other.connected);
        Stall {
            peer: self.recorder.plan.hosts[host].name.clone(),
            missing: missing.iter().map(|piece| piece.0).collect(),
            pieces: geometry.pieces,
            last_block_s: page.last_block.map(Now::as_secs_f64),
            connections: u32::try_from(connections.count()).expect("hosts are bounded"),
            announce: page.announce.clone(),
            waits: waits.collect(),
        }
    }

    /// What a peer has asked for and not received, by piece.
    fn asked(&self, host: usize) -> BTreeMap<PieceIndex, Asked> {
        let mut asked: BTreeMap<PieceIndex, Asked> = BTreeMap::new();
        for (whom, other) in &self.diary.pages[host].others {
            if !takes_part(self.recorder, *whom) {
                continue;
            }
            for ((piece, _), at) in &other.asked {
                let first = asked.entry(*piece).or_default();
                first
                    .entry(*whom)
                    .and_modify(|was| *was = (*at).min(*was))
                    .or_insert(*at);
            }
        }
        asked
    }

    /// Honest hosts that serve a piece, or were asked for it.
    fn honest(&self, piece: PieceIndex, asked: &Asked) -> usize {
        let serving = &self.serving[piece.at()];
        let others = asked.keys().filter(|host| {
            self.recorder.plan.hosts[**host].role.honest() && serving.binary_search(host).is_err()
        });
        serving.len() + others.count()
    }

    /// Who holds a piece or was asked for it, and how many more there are than are named: first who was asked, then who
    /// is nearest to giving it.
    fn holders(&self, page: &Page, piece: PieceIndex, asked: &Asked) -> (Vec<Holder>, u32) {
        let serving = self.serving[piece.at()].iter().copied();
        let rest = serving.filter(|host| !asked.contains_key(host));
        let mut rest: Vec<usize> = rest.collect();
        rest.sort_by_cached_key(|host| page.others.get(host).map_or(Distance::Stranger, distance));
        let mut all = asked.keys().copied().chain(rest);
        let named = all.by_ref().take(HOLDERS_MAX);
        let named = named.map(|host| self.holder(page, host, asked.get(&host).copied()));
        let named = named.collect();
        let further = u32::try_from(all.count()).expect("hosts are bounded");
        (named, further)
    }

    fn holder(&self, page: &Page, host: usize, asked: Option<Now>) -> Holder {
        let plan = &self.recorder.plan.hosts[host];
        let none = Other::default();
        let other = page.others.get(&host).unwrap_or(&none);
        let since_s = other.since.as_secs_f64();
        let stands = match (other.banned, other.connected, other.unchoked) {
            (Some(at), ..) => Stands::Banned {
                since_s: at.as_secs_f64(),
            },
            (None, true, true) => Stands::Unchoked { since_s },
            (None, true, false) => Stands::Choked { since_s },
            (None, false, _) => Stands::Apart {
                last: other
                    .ended
                    .as_ref()
                    .map(|(at, why)| (at.as_secs_f64(), why.clone())),
            },
        };
        Holder {
            peer: plan.name.clone(),
            honest: plan.role.honest(),
            stands,
            asked_s: asked.map(Now::as_secs_f64),
        }
    }
}

/// How far a holder is from giving a piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Unchokes,
    Chokes,
    /// Not connected any more, or banned.
    Met,
    Stranger,
}

fn distance(other: &Other) -> Distance {
    match (other.banned.is_none() && other.connected, other.unchoked) {
        (true, true) => Distance::Unchokes,
        (true, false) => Distance::Chokes,
        (false, _) => Distance::Met,
    }
}

/// Whether a host is online, and no client of the file server.
fn takes_part(recorder: &Recorder, host: usize) -> bool {
    let online = recorder.tallies[host].online_since.is_some();
    online && recorder.plan.hosts[host].role != Role::Client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_swarm_cut_short_is_told_of_in_a_bounded_number_of_words() {
        let text = r#"
name = "cut"
[torrent]
size = "4 MiB"
piece = "64 KiB"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
count = 40
up = "200 kB/s"
down = "1 MiB/s"
[run]
time_limit = "20 s"
"#;
        let scenario = Scenario::parse("cut.toml", text).expect("a good file");
        let outcome = super::super::run(&scenario.expand(1), None).expect("nothing is written");
        let stalls = outcome.failures.iter().filter_map(|f| f.stall.as_deref());
        let stalls: Vec<_> = stalls.filter(|stall| !stall.missing.is_empty()).collect();
        assert!(stalls.len() > 20, "{} of 40", stalls.len());
        let waits: Vec<_> = stalls.iter().flat_map(|stall| &stall.waits).collect();
        let all = |wait: &Wait| wait.holders.len() + wait.further as usize;
        for stall in &stalls {
            assert_eq!(stall.waits.len(), WAITS_MAX.min(stall.missing.len()));
            let holders: Vec<_> = stall.waits.iter().map(all).collect();
            assert!(holders.is_sorted(), "{holders:?}");
        }
        for wait in &waits {
            assert!((1..=40).contains(&all(wait)), "the seed has it: {wait:?}");
            assert_eq!(wait.holders.len(), all(wait).min(HOLDERS_MAX));
            assert!(wait.received < wait.blocks);
            let order = wait.holders.iter().map(|h| {
                let stands = match h.stands {
                    Stands::Unchoked { .. } => 0,
                    Stands::Choked { .. } => 1,
                    Stands::Banned { .. } | Stands::Apart { last: Some(_) } => 2,
                    Stands::Apart { last: None } => 3,
                };
                (h.asked_s.is_none(), h.asked_s.map_or(stands, |_| 0))
            });
            assert!(order.is_sorted(), "{wait:?}");
        }
        assert!(waits.iter().any(|wait| wait.further > 0));
        assert!(waits.iter().any(|wait| wait.holders[0].asked_s.is_some()));
    }
}
