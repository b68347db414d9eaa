//! Owns the mail of all hosts: what has happened to their connections and was not read yet.
//!
//! Invariant: a host's mail comes out in the order in which it went in. All of it shares one memory, and what was
//! read last is written next: of the mail of thousands of hosts little waits at any moment, and the cache has it.

use skep_engine::node::network::NetEvent;
use slab::Slab;

use super::End;

/// No place.
const NONE: u32 = u32::MAX;

/// No end of any connection.
pub(super) const NOWHERE: End = End {
    conn: u32::MAX,
    generation: 0,
    side: 0,
};

/// One event that waits.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) event: NetEvent,
    /// Where it arrived, of data, and where there is room; else [`NOWHERE`].
    pub(super) at: End,
}

#[derive(Debug)]
struct Place {
    mail: Mail,
    /// The place of what comes behind.
    next: u32,
}

/// The mail of one host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mailbox {
    first: u32,
    last: u32,
}

impl Default for Mailbox {
    fn default() -> Self {
        Mailbox {
            first: NONE,
            last: NONE,
        }
    }
}

/// The mail of all hosts.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// A slab fills first the place that became free last.
    places: Slab<Place>,
}

impl Post {
    /// Puts mail behind what waits for a host.
    pub(super) fn push(&mut self, mailbox: &mut Mailbox, mail: Mail) {
        let at = self.places.insert(Place { mail, next: NONE });
        let at = u32::try_from(at).expect("it fits in memory");
        match self.places.get_mut(mailbox.last as usize) {
            Some(last) => last.next = at,
            None => mailbox.first = at,
        }
        mailbox.last = at;
    }

    /// Takes what waits longest for a host.
    pub(super) fn pop(&mut self, mailbox: &mut Mailbox) -> Option<Mail> {
        let place = self.places.try_remove(mailbox.first as usize)?;
        mailbox.first = place.next;
        if mailbox.first == NONE {
            mailbox.last = NONE;
        }
        Some(place.mail)
    }

    /// Takes what is not to stay; the rest keeps its order.
    pub(super) fn take(
        &mut self,
        mailbox: &mut Mailbox,
        goes: impl Fn(&NetEvent) -> bool,
    ) -> Vec<NetEvent> {
        let (mut all, mut taken) = (std::mem::take(mailbox), Vec::new());
        while let Some(mail) = self.pop(&mut all) {
            if goes(&mail.event) {
                taken.push(mail.event);
            } else {
                self.push(mailbox, mail);
            }
        }
        taken
    }

    /// What waits for one host, in order.
    pub(super) fn waiting(&self, mailbox: Mailbox) -> impl Iterator<Item = &Mail> {
        let mut next = mailbox.first;
        std::iter::from_fn(move || {
            let place = self.places.get(next as usize)?;
            next = place.next;
            Some(&place.mail)
        })
    }

    /// What waits for all hosts together, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &NetEvent> {
        self.places.iter().map(|(_, place)| &place.mail.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skep_engine::ConnId;
    use std::collections::VecDeque;

    fn room(queued: u64) -> NetEvent {
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        NetEvent::Room { conn, queued }
    }

    fn number(event: &NetEvent) -> u64 {
        match event {
            NetEvent::Room { queued, .. } => *queued,
            _ => unreachable!("nothing else is sent here"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_box_is_a_queue(steps in prop::collection::vec((0usize..4, 0u8..8), 0..200)) {
            let mut post = Post::default();
            let mut boxes = [Mailbox::default(); 4];
            let mut models: [VecDeque<u64>; 4] = Default::default();
            for (sequence, (host, what)) in (0..).zip(steps) {
                let (mailbox, model) = (&mut boxes[host], &mut models[host]);
                match what {
                    0..=3 => {
                        post.push(mailbox, Mail { event: room(sequence), at: NOWHERE });
                        model.push_back(sequence);
                    }
                    4..=6 => {
                        let mail = post.pop(mailbox).map(|mail| number(&mail.event));
                        prop_assert_eq!(mail, model.pop_front());
                    }
                    _ => {
                        let gone = post.take(mailbox, |event| number(event).is_multiple_of(2));
                        let mut even: Vec<_> = model.iter().copied().collect();
                        even.retain(|number| number.is_multiple_of(2));
                        prop_assert!(gone.iter().map(number).eq(even));
                        model.retain(|number| !number.is_multiple_of(2));
                    }
                }
                let waiting = models.iter().map(VecDeque::len).sum::<usize>();
                prop_assert_eq!(post.all().count(), waiting);
            }
        }
    }
}
