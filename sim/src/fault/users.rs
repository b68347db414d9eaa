//! Owns what users say to running clients.
//!
//! Invariant: a user who paused a client goes on only when the plan says so, whatever its disk does meanwhile.

use std::cell::{Cell, RefCell};

use skep_engine::node::peer_host::Command;
use tokio::sync::mpsc::UnboundedSender;

use super::{FaultNews, Reach};
use crate::scenario::plan::{FaultPlan, UserAction};

/// The user of one host, with a hand on the client that runs, if one does.
#[derive(Debug, Default)]
pub struct User {
    client: RefCell<Option<UnboundedSender<Command>>>,
    paused: Cell<bool>,
}

impl User {
    /// A client runs from now on, not paused.
    pub fn starts(&self, client: UnboundedSender<Command>) {
        *self.client.borrow_mut() = Some(client);
        self.paused.set(false);
    }

    /// It runs no more.
    pub fn ended(&self) {
        *self.client.borrow_mut() = None;
        self.paused.set(false);
    }

    /// Whether the user paused the client that runs.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused.get()
    }

    /// Says something to the client; false when none runs.
    fn say(&self, command: Command) -> bool {
        let client = self.client.borrow();
        client.as_ref().is_some_and(|c| c.send(command).is_ok())
    }

    /// The disk is well again: who did not pause goes on.
    pub(super) fn goes_on(&self) {
        if !self.paused() {
            // Where none runs, or it did not stop, there is nothing to go on with.
            let _ = self.say(Command::Resume);
        }
    }

    /// Pauses or goes on; false when that changes nothing.
    fn pause(&self, on: bool) -> bool {
        let command = if on { Command::Pause } else { Command::Resume };
        if self.paused() == on && on || !self.say(command) {
            return false;
        }
        self.paused.replace(on) != on
    }
}

pub(super) fn act(reach: &Reach, number: usize, fault: &FaultPlan, action: UserAction) {
    let on = match action {
        UserAction::Pause => true,
        UserAction::Resume => false,
        // In the stays of the plan.
        UserAction::Leave | UserAction::Join => return,
    };
    let hosts = fault.hosts.iter();
    let did = hosts.filter(|host| reach.users[**host].pause(on)).count();
    if did > 0 {
        (reach.tell)(number, FaultNews::Did(did as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn who_paused_does_not_go_on_when_the_disk_is_well_again() {
        let user = User::default();
        assert!(!user.pause(true), "nothing runs");
        let (say, mut heard) = unbounded_channel();
        user.starts(say);
        user.goes_on();
        assert_eq!(heard.try_recv(), Ok(Command::Resume));
        assert!(user.pause(true) && !user.pause(true));
        assert_eq!(heard.try_recv(), Ok(Command::Pause));
        user.goes_on();
        assert!(heard.try_recv().is_err());
        assert!(user.pause(false));
        assert_eq!(heard.try_recv(), Ok(Command::Resume));
        user.ended();
        assert!(!user.pause(true));
    }
}
