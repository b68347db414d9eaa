//! Faults that begin and end at moments of the plan: what each does to the world, and that it did something.
//!
//! One task, the [`timeline`], begins and ends them in order; each family has a room. Crashes, power losses
//! and restarts are in the stays of the plan and not here.
//!
//! Invariant: a fault tells what it does ([`FaultNews`]), and what it did is counted: one that fired never
//! makes the run vacuous. What is over is undone: the world is as it would be without the fault.

pub mod network;
pub mod timeline;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use crate::disk::Disk;
use crate::network::fabric::Fabric;
use crate::scenario::Plan;

/// What became of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultNews {
    /// It is there.
    Began,
    /// It did something so many times: each is a firing.
    Did(u64),
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
    pub fabric: Fabric,
    /// The disk of each host.
    pub disks: Vec<Rc<RefCell<Disk>>>,
    /// Hears of each fault.
    pub tell: Tell,
    /// The start of the run.
    pub epoch: Instant,
}
