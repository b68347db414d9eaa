//! Faults that begin and end at moments of the plan: what each does to the world, and that it did something.
//!
//! One task, the [`timeline`], begins and ends them in order; each family has a room. Crashes, power losses,
//! restarts and users who come and go are in the stays of the plan and not here; what a tracker does, its own program
//! does (`crate::world`).
//!
//! Invariant: a fault tells what it does ([`FaultNews`]), and what it did is counted: one that fired never
//! makes the run vacuous. What is over is undone: the world is as it would be without the fault.

mod disks;
pub mod network;
pub mod timeline;
pub mod users;

use std::cell::RefCell;
use std::rc::Rc;

use skep_engine::PieceIndex;
use tokio::time::Instant;

use crate::disk::Disk;
use crate::disk::condition::Firings;
use crate::network::Net;
use crate::scenario::Plan;

/// What became of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultNews {
    /// It is there.
    Began,
    /// It did something so many times: each is a firing.
    Did(u64),
    /// A stored bit of a piece is another one, at the host at this position in the plan: a firing.
    Flipped {
        /// Whose disk.
        host: u32,
        /// Which piece.
        piece: PieceIndex,
    },
    /// It is over.
    Ended,
}

/// Who hears of a fault, by its position in the plan.
pub type Tell = Rc<dyn Fn(usize, FaultNews)>;

/// What faults can reach.
#[derive(Clone)]
pub struct Reach {
    /// Who is where, and what is to happen.
    pub plan: Rc<Plan>,
    /// All links.
    pub net: Net,
    /// The disk of each host.
    pub disks: Vec<Rc<RefCell<Disk>>>,
    /// The user of each host.
    pub users: Vec<Rc<users::User>>,
    /// Where what a disk or a tracker does of a fault is counted, by the fault's position in the plan.
    pub firings: Vec<Firings>,
    /// Hears of each fault.
    pub tell: Tell,
    /// The start of the run.
    pub epoch: Instant,
}
