//! Owns what faults do to disks.
//!
//! Invariant: a bit that flips is told of with its host and piece; everything else a disk counts itself. When a
//! disk is well again, the users of those clients that stopped at it go on.

use std::rc::Rc;

use super::{FaultNews, Reach};
use crate::disk::condition::Trouble;
use crate::scenario::plan::{DiskFault, FaultPlan};
use crate::seed;

pub(super) fn begin(reach: &Reach, number: usize, fault: &FaultPlan, what: DiskFault) {
    let trouble = match what {
        DiskFault::Full => Trouble::Full,
        DiskFault::Slow(speed) => Trouble::Slow(speed),
        DiskFault::ReadError => Trouble::ReadError,
        DiskFault::FlippedBit => return flip(reach, number, fault),
    };
    for host in &fault.hosts {
        let firings = Rc::clone(&reach.firings[number]);
        let mut disk = reach.disks[*host].borrow_mut();
        disk.condition.begin(number, trouble, firings);
    }
}

pub(super) fn end(reach: &Reach, number: usize, fault: &FaultPlan) {
    for host in &fault.hosts {
        reach.disks[*host].borrow_mut().condition.end(number);
        reach.users[*host].goes_on();
    }
}

fn flip(reach: &Reach, number: usize, fault: &FaultPlan) {
    for host in &fault.hosts {
        let name = &reach.plan.hosts[*host].name;
        let purpose = format!("fault/{}/{name}", fault.name);
        let mut rng = seed::stream(reach.plan.seed, &purpose);
        let flipped = reach.disks[*host].borrow_mut().flip_bit(&mut rng);
        if let Some(piece) = flipped {
            let host = u32::try_from(*host).expect("hosts are bounded");
            (reach.tell)(number, FaultNews::Flipped { host, piece });
        }
    }
}
