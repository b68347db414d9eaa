//! Owns selectors: which hosts a fault or an expectation means.
//!
//! Invariant: a selector is only words; [`Selector::hosts`] resolves it against the hosts of one
//! plan, in their order, and picks a share by one random stream per host, so that another host more
//! or less moves nobody else's draw.

use std::fmt;

use rand_chacha::rand_core::Rng;

use super::plan::{HostPlan, Role};
use super::units::{self, MILLION, UnitError};
use crate::seed;

/// Which hosts: `home`, `home[3]`, `home[0..20]`, `honest`, `25% of home`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// Only this share of them in parts per million, rounded up to whole hosts.
    pub share_ppm: Option<u32>,
    /// Of these.
    pub base: Base,
}

/// A selector without a share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// Every host.
    All,
    /// Everybody but attackers.
    Honest,
    /// Attackers.
    Attackers,
    /// A group, or members `low..high` (half-open) of it.
    Group {
        /// Its name.
        name: String,
        /// Which members; `None`: all of them.
        members: Option<(u32, u32)>,
    },
}

/// Words that no group may have as its name.
pub const RESERVED: &[&str] = &["all", "honest", "attackers", "any", "none", "of", "tracker"];

const HELP: &str =
    r#"write a group, `group[3]`, `group[0..20]`, `25% of group`, `honest`, `attackers` or `all`"#;

/// Whether a text can be a group's name: lower-case letters, digits and inner hyphens, a letter first.
#[must_use]
pub fn is_group_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.len() <= 40
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

impl Selector {
    /// Reads a selector. Whether its group exists is for validation to say.
    ///
    /// # Errors
    /// When the text has none of the forms.
    pub fn parse(text: &str) -> Result<Selector, UnitError> {
        let (share_ppm, base) = match text.split_once(" of ") {
            Some((share, base)) => (Some(units::percent(share)?), base.trim()),
            None => (None, text.trim()),
        };
        let base = match base {
            "all" => Base::All,
            "honest" => Base::Honest,
            "attackers" => Base::Attackers,
            _ => Base::parse_group(base).ok_or_else(|| UnitError {
                message: format!("`{text}` is not a selector"),
                help: HELP.to_owned(),
            })?,
        };
        Ok(Selector { share_ppm, base })
    }

    /// Positions in `hosts` that this selects, ascending. `purpose` names the random streams of a
    /// share: `PURPOSE/HOST`.
    #[must_use]
    pub fn hosts(&self, hosts: &[HostPlan], seed: u64, purpose: &str) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..hosts.len())
            .filter(|&i| self.base.holds(&hosts[i]))
            .collect();
        if let Some(ppm) = self.share_ppm {
            let wanted = (chosen.len() as u64 * u64::from(ppm)).div_ceil(u64::from(MILLION));
            chosen.sort_by_key(|&i| {
                (
                    seed::stream(seed, &format!("{purpose}/{}", hosts[i].name)).next_u64(),
                    i,
                )
            });
            chosen.truncate(usize::try_from(wanted).expect("at most the number of hosts"));
            chosen.sort_unstable();
        }
        chosen
    }
}

impl Base {
    fn parse_group(text: &str) -> Option<Base> {
        let (name, members) = match text.split_once('[') {
            None => (text, None),
            Some((name, rest)) => {
                let inside = rest.strip_suffix(']')?;
                let (low, high) = match inside.split_once("..") {
                    Some((low, high)) => (low.trim().parse().ok()?, high.trim().parse().ok()?),
                    None => {
                        let one: u32 = inside.trim().parse().ok()?;
                        (one, one.checked_add(1)?)
                    }
                };
                (name, (low < high).then_some((low, high)).map(Some)?)
            }
        };
        is_group_name(name).then(|| Base::Group {
            name: name.to_owned(),
            members,
        })
    }

    /// Whether a host is meant.
    #[must_use]
    pub fn holds(&self, host: &HostPlan) -> bool {
        match self {
            Base::All => true,
            Base::Honest => host.role.honest(),
            Base::Attackers => host.role == Role::Attacker,
            Base::Group { name, members } => {
                host.group == *name
                    && members.is_none_or(|(low, high)| (low..high).contains(&host.index))
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ppm) = self.share_ppm {
            write!(f, "{}% of ", f64::from(ppm) / 1e4)?;
        }
        match &self.base {
            Base::All => f.write_str("all"),
            Base::Honest => f.write_str("honest"),
            Base::Attackers => f.write_str("attackers"),
            Base::Group {
                name,
                members: None,
            } => f.write_str(name),
            Base::Group {
                name,
                members: Some((low, high)),
            } if low + 1 == *high => {
                write!(f, "{name}[{low}]")
            }
            Base::Group {
                name,
                members: Some((low, high)),
            } => write!(f, "{name}[{low}..{high}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_shown() {
        for text in [
            "all",
            "honest",
            "attackers",
            "home",
            "home[3]",
            "home[0..20]",
            "25% of home",
            "0.5% of all",
        ] {
            let selector = Selector::parse(text).expect("a selector");
            assert_eq!(selector.to_string(), text);
        }
        for text in [
            "",
            "Home",
            "home[",
            "home[3..3]",
            "home[-1]",
            "25 of home",
            "home]",
            "a b",
            "home[4294967295]",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
