//! Owns how a user's own strategies come into scenarios: [`Own`], tables of pickers, chokers and attacks with their names and
//! parameters.
//!
//! Invariant: a name of ours means ours. An own strategy is told and may do what ours are and may: the same traits, the
//! same stream of randomness, and no look into the session. `examples/own_strategy.rs` of the root package is the whole
//! way, from the trait to `skep compare`.

use skep_engine::choker::Choker;
use skep_engine::picker::{Params, PiecePicker};

use crate::actor::own::OwnAttack;
use crate::scenario::strategies::{ATTACKS, CHOKERS, Family, Named, PICKERS};

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

    /// The members of a family of names: ours, then its own.
    pub(crate) fn members(
        &'static self,
        family: &Family,
    ) -> impl Iterator<Item = &'static Named> + Clone {
        let (mut pickers, mut chokers, mut attacks) = (self.pickers, self.chokers, self.attacks);
        // What a family is called tells it from the others.
        if family.what != PICKERS.what {
            pickers = &[];
        }
        if family.what != CHOKERS.what {
            chokers = &[];
        }
        if family.what != ATTACKS.what {
            attacks = &[];
        }
        let pickers = pickers.iter().map(|own| &own.named);
        let chokers = chokers.iter().map(|own| &own.named);
        let attacks = attacks.iter().map(|own| &own.named);
        let own = pickers.chain(chokers).chain(attacks);
        family.known.iter().chain(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::schema_with;
    use skep_engine::choker::UnchokeAll;
    use skep_engine::picker::Random;

    const fn named(name: &'static str) -> Named {
        Named {
            name,
            doc: "a name for a test",
            params: &[],
        }
    }

    static OWN: Own = Own {
        pickers: &[OwnPicker {
            named: named("my-picker"),
            make: |_| Box::new(Random),
        }],
        chokers: &[OwnChoker {
            named: named("my-choker"),
            make: |_| Box::new(UnchokeAll),
        }],
        attacks: &[],
    };

    #[test]
    fn each_family_has_its_own_members_and_a_name_of_ours_means_ours() {
        let has = |family: &Family, name| OWN.members(family).any(|n| n.name == name);
        assert!(has(&PICKERS, "my-picker") && has(&PICKERS, "random"));
        assert!(!has(&PICKERS, "my-choker") && has(&CHOKERS, "my-choker"));
        assert!(!has(&ATTACKS, "my-picker") && has(&ATTACKS, "liar"));
        let none = Params::new();
        assert!(OWN.picker("my-picker", &none).is_some() && OWN.choker("x", &none).is_none());
    }

    #[test]
    fn the_schema_of_a_program_knows_its_own() {
        let schema = schema_with(&OWN).to_string();
        assert!(schema.contains("my-picker") && schema.contains("my-choker"));
    }
}
