//! Owns how a user's own strategies come into scenarios: [`Own`], tables of pickers, chokers and attacks with their names and
//! parameters.
//!
//! Invariant: a name of ours means ours. An own strategy is told and may do what ours are and may: the same traits, the
//! same stream of randomness, and no look into the session. `examples/own_strategy.rs` of the root package is the whole
//! way, from the trait to `skep compare`.

use skep_engine::choker::Choker;
use skep_engine::picker::{Params, PiecePicker};

use crate::actor::own::OwnAttack;
use crate::scenario::strategies::{CHOKERS, Family, Named, PICKERS};

/// A picker that is not in [`PICKERS`].
#[derive(Clone, Copy, Debug)]
pub struct OwnPicker {
    /// Its name in scenario files, its meaning and its parameters.
    pub named: Named,
    /// Makes one for a stay of a peer. Every parameter is there, with its default if the file gives none.
    pub make: fn(&Params) -> Box<dyn PiecePicker>,
}

/// A choker that is not in [`CHOKERS`].
#[derive(Clone, Copy, Debug)]
pub struct OwnChoker {
    /// Its name in scenario files, its meaning and its parameters.
    pub named: Named,
    /// Makes one for a stay of a peer. Every parameter is there, with its default if the file gives none.
    pub make: fn(&Params) -> Box<dyn Choker>,
}

/// What a program has beside what this crate has.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Pickers.
    pub pickers: &'static [OwnPicker],
    /// Chokers.
    pub chokers: &'static [OwnChoker],
    /// Attacks.
    pub attacks: &'static [OwnAttack],
}

/// A program that has nothing of its own.
pub const NONE: Own = Own {
    pickers: &[],
    chokers: &[],
    attacks: &[],
};

impl Own {
    /// The pickers of this name.
    #[must_use]
    pub fn picker(&self, name: &str, params: &Params) -> Option<Box<dyn PiecePicker>> {
        let own = self.pickers.iter().find(|own| own.named.name == name)?;
        Some((own.make)(params))
    }

    /// The choker of this name.
    #[must_use]
    pub fn choker(&self, name: &str, params: &Params) -> Option<Box<dyn Choker>> {
        let own = self.chokers.iter().find(|own| own.named.name == name)?;
        Some((own.make)(params))
    }

    /// What belongs to a family of names beside ours.
    pub(crate) fn of(&'static self, family: &Family) -> Vec<&'static Named> {
        match family.what {
            what if what == PICKERS.what => self.pickers.iter().map(|own| &own.named).collect(),
            what if what == CHOKERS.what => self.chokers.iter().map(|own| &own.named).collect(),
            _ => Vec::new(),
        }
    }
}
