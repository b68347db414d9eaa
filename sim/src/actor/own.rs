//! Owns what a user's own attacker is in a scenario: [`OwnAttack`], a name with its parameters and what makes
//! the attacker.
//!
//! Invariant: it is told and may do what ours are and may: raw bytes over the network seam, its own stream of
//! randomness, and no look into anybody's engine.
//!
//! The whole way, from the attacker to the outcome:
//!
//! ```
//! use std::sync::Arc;
//!
//! use rand_chacha::ChaCha8Rng;
//! use skep_engine::ConnId;
//! use skep_engine::wire::Message;
//! use skep_sim::actor::own::OwnAttack;
//! use skep_sim::own::{self, Own};
//! use skep_sim::actor::raw::{Attacker, RawIo};
//! use skep_sim::campaign::{self, Job};
//! use skep_sim::content::Content;
//! use skep_sim::outcome::Verdict;
//! use skep_sim::scenario::Scenario;
//! use skep_sim::scenario::plan::AttackPlan;
//! use skep_sim::scenario::strategies::{Named, Param, ParamForm};
//! use skep_sim::trace::Attack;
//!
//! /// Says that it is interested and that it is not, so many times, to whoever shakes hands with it.
//! struct Fickle {
//!     times: u64,
//! }
//!
//! impl Attacker for Fickle {
//!     fn claims_complete(&self) -> bool {
//!         false
//!     }
//!     fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
//!         for _ in 0..self.times {
//!             io.send(conn, &Message::Interested);
//!             io.send(conn, &Message::NotInterested);
//!         }
//!         // Who never tells that it acted makes the run vacuous.
//!         io.tell(Attack::Acted);
//!     }
//!     fn on_message(&mut self, _io: &mut RawIo, _conn: ConnId, _message: Message) {}
//! }
//!
//! fn fickle(plan: &AttackPlan, _: &Arc<Content>, _: ChaCha8Rng) -> Box<dyn Attacker> {
//!     Box::new(Fickle { times: plan.param("times") })
//! }
//!
//! static OWN: Own = Own {
//!     attacks: &[OwnAttack {
//!         named: Named {
//!             name: "fickle",
//!             doc: "says many times that it is interested and that it is not",
//!             params: &[Param {
//!                 name: "times",
//!                 form: ParamForm::Whole,
//!                 default: 10.0,
//!                 doc: "how often",
//!             }],
//!         },
//!         make: fickle,
//!     }],
//!     ..own::NONE
//! };
//!
//! let text = r#"
//! name = "fickle"
//! torrent = { size = "1 MiB" }
//! [[group]]
//! name = "seed"
//! role = "seed"
//! up = "8 Mbit/s"
//! down = "8 Mbit/s"
//! [[group]]
//! name = "home"
//! role = "leecher"
//! count = 2
//! up = "8 Mbit/s"
//! down = "8 Mbit/s"
//! [[group]]
//! name = "mind"
//! role = "attacker"
//! count = 2
//! attack = { mix = { fickle = { share = "50%", times = 100 }, never-deliver = "50%" } }
//! up = "8 Mbit/s"
//! down = "8 Mbit/s"
//! [expect]
//! complete = "all honest"
//! "#;
//! let scenario = Scenario::parse_with_own("fickle.toml", text, &[], &OWN)?;
//! let outcome = campaign::run_one(Job { scenario: &scenario, seed: 0 }, None)?;
//! assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.failures);
//! assert!(outcome.peers.iter().any(|p| p.attack.as_deref() == Some("fickle") && p.acted > 0));
//!
//! // Without it the name is unknown.
//! assert!(Scenario::parse("fickle.toml", text).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::raw::Attacker;
use crate::content::Content;
use crate::scenario::plan::AttackPlan;
use crate::scenario::strategies::Named;

/// Makes an attacker for one stay of a host, from its parameters, the content, and a stream of randomness that is
/// its own.
pub type Make = fn(&AttackPlan, &Arc<Content>, ChaCha8Rng) -> Box<dyn Attacker>;

/// An attack that is not in [`ATTACKS`](crate::scenario::strategies::ATTACKS). A name of ours means ours.
#[derive(Clone, Copy, Debug)]
pub struct OwnAttack {
    /// Its name in scenario files, its meaning and its parameters.
    pub named: Named,
    /// What makes the attacker.
    pub make: Make,
}
