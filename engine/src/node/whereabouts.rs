//! Owns where the memory of a host lies, for whoever knows before the host does that it will be needed.
//!
//! Invariant: it is told anew whenever a peer has joined; what has moved or ended since is asked for in vain, which
//! changes nothing: see [`crate::prefetch`].

use crate::ids::ConnId;
use crate::prefetch::{self, LINE};

/// Bytes of the shortest message whose peer wants something: a request. Those below are mostly news.
pub(super) const ASKS_MIN: usize = 17;
/// Bytes above which a message brings something.
const BRINGS_MIN: usize = 1024;
/// Of what only some messages look at: lines for a block that comes, from the first on, and for one that is sent.
const DOWN_LINES: usize = 6;
const UP_FROM: usize = 4;
const UP_LINES: usize = 4;
/// What leads to a host: lines before that in which its task stands, and that one.
const TASK_LINES: usize = 5;

/// Where the memory of a host lies: addresses.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    /// What leads to the host.
    pub task: usize,
    /// What every wake-up looks at.
    pub host: usize,
    /// Its lines.
    pub host_lines: usize,
    /// Lists with a line for each connection, by its slot.
    pub conns: [usize; 3],
    /// Of each connection what only some messages look at, by slot.
    pub rests: Vec<usize>,
}

impl Whereabouts {
    /// Asks for what says where the rest of a connection lies.
    #[inline]
    pub fn prefetch_place(&self, conn: ConnId) {
        let place = self.rests.as_ptr().wrapping_add(conn.slot as usize);
        prefetch::lines(place.addr(), 1);
    }

    /// Asks for what every wake-up looks at.
    #[inline]
    pub fn prefetch_host(&self) {
        let before = (TASK_LINES - 1) * LINE;
        prefetch::lines(self.task.wrapping_sub(before), TASK_LINES);
        prefetch::lines(self.host, self.host_lines);
    }

    /// Asks for what is looked at when so many bytes come from a connection; `None`: when there is room for what it is
    /// sent.
    #[inline]
    pub fn prefetch_conn(&self, conn: ConnId, bytes: Option<usize>) {
        let slot = conn.slot as usize;
        for list in &self.conns {
            prefetch::lines(list.wrapping_add(slot * LINE), 1);
        }
        if let Some(&rest) = self.rests.get(slot) {
            prefetch_rest(rest, bytes);
        }
    }
}

/// Asks for what only some messages look at of a peer, where that lies: what such a message looks at, in the order of
/// its fields.
#[inline]
pub(crate) fn prefetch_rest(rest: usize, bytes: Option<usize>) {
    match bytes {
        Some(BRINGS_MIN..) => prefetch::lines(rest, DOWN_LINES),
        None | Some(ASKS_MIN..) => {
            prefetch::lines(rest.wrapping_add(UP_FROM * LINE), UP_LINES);
        }
        Some(_) => {}
    }
}
