//! Owns `attack` of a group of attackers: one attack or a mix of several, their parameters, and which member
//! of the group has which.
//!
//! Invariant: the shares of a mix are 100 % together, and each of them is at least one member. Who has which
//! attack is not drawn: the numbers are those of the largest remainder, and the members of each are spread
//! evenly over the group, in the order of the mix.

use std::collections::BTreeMap;
use std::time::Duration;

use skep_engine::Now;
use toml::Spanned;
use toml::de::DeValue;

use super::groups;
use super::keys;
use super::model::{AttackShare, Group, Model, Params};
use super::plan::AttackPlan;
use super::problem::{Found, Log};
use super::read::{self, Fields, Value};
use super::strategies::ATTACKS;
use super::units::{self, MILLION};
use crate::own::Own;

const SHARES_HELP: &str = r#"for example { mix = { liar = "50%", trickle = "50%" } }"#;

/// `"liar"` or `{ mix = { liar = "50%", trickle = { share = "50%", every = "1 s" } } }`, with what `with` says.
pub(super) fn read(
    value: &Value<'_>,
    with: Option<&Value<'_>>,
    own: &'static Own,
    log: &mut Log,
) -> Option<Spanned<Vec<AttackShare>>> {
    if value.get_ref().is_table() {
        if let Some(with) = with {
            let found = Found::at(with.span(), "`with` belongs to a single attack");
            let help =
                r#"in a mix each attack has its own: { share = "50%", probability = "30%" }"#;
            log.push(found.help(help).and(value.span(), "this is a mix"));
        }
        let shares = mix(value, own, log)?;
        return Some(Spanned::new(value.span(), shares));
    }
    let name = read::text(value, log)?;
    let named = groups::named(&name, &ATTACKS, own, log)?;
    let params = match with.map(|with| (with, with.get_ref())) {
        None => Params::new(),
        Some((_, DeValue::Table(table))) => {
            let given = read::in_order(table).into_iter();
            let params = given.filter_map(|(key, value)| groups::param(key, value, named, log));
            params.collect()
        }
        Some((with, _)) => {
            read::expected(with, r#"a table such as { probability = "30%" }"#, log);
            Params::new()
        }
    };
    let share = Spanned::new(value.span(), MILLION);
    let only = AttackShare {
        named,
        name,
        share,
        params,
    };
    Some(Spanned::new(value.span(), vec![only]))
}

fn mix(value: &Value<'_>, own: &'static Own, log: &mut Log) -> Option<Vec<AttackShare>> {
    let fields = Fields::open(&keys::MIX, value, log)?;
    let mix = fields.get("mix")?;
    let DeValue::Table(table) = mix.get_ref() else {
        read::expected(mix, "a table of attacks with their shares", log);
        return None;
    };
    let written = read::in_order(table);
    let count = written.len();
    let shares: Vec<AttackShare> = written
        .into_iter()
        .filter_map(|(name, value)| share(name, value, own, log))
        .collect();
    // What could not be read is told already, and would make the sum wrong.
    if shares.len() < count {
        return None;
    }
    let sum: u64 = shares.iter().map(|s| u64::from(*s.share.get_ref())).sum();
    if sum != u64::from(MILLION) {
        let message = format!("the shares are {}% together", sum as f64 / 1e4);
        let found = Found::at(mix.span(), message).label("not 100%");
        log.push(found.help(SHARES_HELP));
        return None;
    }
    Some(shares)
}

fn share(
    name: Spanned<String>,
    value: &Value<'_>,
    own: &'static Own,
    log: &mut Log,
) -> Option<AttackShare> {
    let named = groups::named(&name, &ATTACKS, own, log)?;
    let DeValue::Table(table) = value.get_ref() else {
        let share = read::quantity(value, r#"a share such as "50%""#, units::percent, log)?;
        return Some(AttackShare {
            named,
            name,
            share,
            params: Params::new(),
        });
    };
    let Some(share) = table.get("share") else {
        let message = format!("`share` is missing: how many of them are `{}`?", named.name);
        let found = Found::at(value.span(), message).label("in this table");
        log.push(found.help(r#"for example { share = "50%" }"#));
        return None;
    };
    let share = read::quantity(share, r#"a share such as "50%""#, units::percent, log);
    let given = read::in_order(table).into_iter();
    let params = given
        .filter(|(key, _)| key.get_ref() != "share")
        .filter_map(|(key, value)| groups::param(key, value, named, log))
        .collect();
    Some(AttackShare {
        named,
        name,
        share: share?,
        params,
    })
}

/// Members of each attack of a group of so many: by the largest remainder, of equal ones the first.
fn members(shares: &[AttackShare], count: u32) -> Vec<u32> {
    let exact: Vec<u64> = shares
        .iter()
        .map(|s| u64::from(*s.share.get_ref()) * u64::from(count))
        .collect();
    let whole = |n: &u64| u32::try_from(n / u64::from(MILLION)).expect("at most the count");
    let mut members: Vec<u32> = exact.iter().map(whole).collect();
    let mut rest: Vec<usize> = (0..shares.len()).collect();
    rest.sort_by_key(|at| std::cmp::Reverse(exact[*at] % u64::from(MILLION)));
    let left = count.saturating_sub(members.iter().sum());
    for at in rest.into_iter().take(left as usize) {
        members[at] += 1;
    }
    members
}

/// Which attack each member of a group has, as places in the mix.
fn seats(shares: &[AttackShare], count: u32) -> Vec<usize> {
    let members = members(shares, count);
    let mut seated = vec![0_u32; members.len()];
    let mut seats = Vec::new();
    for place in 1..=u64::from(count) {
        // Whoever is furthest behind its share so far, times the count.
        let behind = |at: &usize| {
            let due = i128::from(place) * i128::from(members[*at]);
            due - i128::from(seated[*at]) * i128::from(count)
        };
        let open = (0..members.len()).filter(|at| seated[*at] < members[*at]);
        let next = open.rev().max_by_key(behind);
        let next = next.expect("the members are as many as the count");
        seated[next] += 1;
        seats.push(next);
    }
    seats
}

/// Checks that each attack of a mix has a member.
pub(super) fn check(group: &Group, log: &mut Log) {
    let shares = group.attacks();
    let count = group.size();
    if count == 0 {
        return;
    }
    for (share, members) in shares.iter().zip(members(shares, count)) {
        if members == 0 {
            let message = format!("of {count} hosts none would be `{}`", share.name.get_ref());
            let found = Found::at(share.share.span(), message).label("too small a share");
            let span = group.count.as_ref().map(Spanned::span);
            log.push(match span {
                Some(span) => found.and(span, "of so many"),
                None => found.help("give the group a `count`"),
            });
        }
    }
}

/// The attacks of a group's members, in their order; nothing for who is no attacker.
pub(super) fn plans(model: &Model, group: &Group) -> Vec<AttackPlan> {
    let shares = group.attacks();
    if shares.is_empty() {
        return Vec::new();
    }
    let kinds: Vec<AttackPlan> = shares.iter().map(|s| plan(model, group, s)).collect();
    let seats = seats(shares, group.size());
    seats.into_iter().map(|at| kinds[at].clone()).collect()
}

fn plan(model: &Model, group: &Group, share: &AttackShare) -> AttackPlan {
    let named = share.named;
    let whole = |value: f64| value as u64;
    let mut params: BTreeMap<String, u64> = BTreeMap::new();
    for param in named.params {
        params.insert(param.name.to_owned(), whole(param.default));
    }
    for (key, value) in &share.params {
        params.insert(key.get_ref().clone(), whole(*value.get_ref()));
    }
    let moment = |at: &Option<Spanned<Duration>>, default: Duration| {
        Now::START.after(at.as_ref().map_or(default, |at| *at.get_ref()))
    };
    AttackPlan {
        name: named.name.to_owned(),
        params,
        from: moment(&group.from, Duration::ZERO),
        until: moment(&group.until, model.run.time_limit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn scenario(attack: &str, count: &str, set: &[(&str, &str)]) -> Result<Scenario, String> {
        let text = format!(
            r#"
name = "mixed"
torrent = {{ size = "1 MiB" }}
[[group]]
name = "seed"
role = "seed"
up = "1 MB/s"
down = "1 MB/s"
[[group]]
name = "poison"
role = "attacker"
{count}
up = "1 MB/s"
down = "1 MB/s"
{attack}
"#
        );
        let own = |s: &(&str, &str)| (s.0.to_owned(), s.1.to_owned());
        let set: Vec<_> = set.iter().map(own).collect();
        Scenario::parse_with("mixed.toml", &text, &set).map_err(|errors| {
            let told = errors.problems.iter().map(|p| {
                let place = text.get(p.span.clone()).unwrap_or("(elsewhere)");
                let help = p.help.clone().unwrap_or_default();
                format!("{} | {place} | {help}", p.message)
            });
            told.collect::<Vec<_>>().join("\n")
        })
    }

    fn names(scenario: &Scenario, seed: u64) -> Vec<String> {
        let hosts = scenario.expand(seed).hosts;
        let attacks = hosts.iter().filter_map(|h| h.attack.as_ref());
        attacks.map(|a| a.name.clone()).collect()
    }

    const HALF: &str = r#"attack = { mix = { never-deliver = "50%", free-rider = "50%" } }"#;

    #[test]
    fn a_mix_gives_each_member_an_attack_by_the_largest_remainder() {
        let mixed = scenario(HALF, "count = 5", &[]).expect("right");
        let expected = ["never-deliver", "free-rider"].repeat(3);
        assert_eq!(names(&mixed, 0), expected[..5]);
        assert_eq!(names(&mixed, 0), names(&mixed, 1), "nothing is drawn");
        let thirds = r#"attack = { mix = { corrupt-blocks = "62%", never-deliver = "19%", free-rider = "19%" } }"#;
        let thirds = scenario(thirds, "count = 10", &[]).expect("right");
        let names = names(&thirds, 0);
        let of = |name: &str| names.iter().filter(|n| *n == name).count();
        assert_eq!(
            ["corrupt-blocks", "never-deliver", "free-rider"].map(of),
            [6, 2, 2]
        );
        let first = names.iter().position(|n| n == "never-deliver");
        assert!(first.is_some_and(|at| at < 4), "spread: {names:?}");
    }

    #[test]
    fn each_attack_of_a_mix_has_its_parameters_and_all_have_their_time() {
        let mixed = r#"attack = { mix = { free-rider = "50%", corrupt-blocks = { share = "50%", probability = "30%" } } }
from = "1 min"
until = "2 min""#;
        let plan = scenario(mixed, "count = 2", &[]).expect("right").expand(0);
        let attack = |at: usize| plan.hosts[at].attack.clone().expect("an attacker");
        assert_eq!(attack(2).params["probability"], 300_000);
        assert!(attack(1).params.is_empty());
        for at in [1, 2] {
            let span = (attack(at).from, attack(at).until);
            assert_eq!(span, (Now(60_000_000_000), Now(120_000_000_000)));
        }
    }

    #[test]
    fn a_mix_is_set_and_varied_like_any_other_value() {
        let set = [(
            "group.poison.attack",
            r#"{ mix = { free-rider = "25%", never-deliver = "75%" } }"#,
        )];
        let changed = scenario(HALF, "count = 4", &set).expect("right");
        let of = |name: &str| names(&changed, 0).iter().filter(|n| *n == name).count();
        assert_eq!([of("free-rider"), of("never-deliver")], [1, 3]);
        let inside = [(
            "group.poison.attack.mix.corrupt-blocks.probability",
            r#""5%""#,
        )];
        let table = r#"attack = { mix = { corrupt-blocks = { share = "100%" } } }"#;
        let changed = scenario(table, "", &inside).expect("right");
        let attack = changed.expand(0).hosts[1].attack.clone();
        assert_eq!(attack.expect("an attacker").params["probability"], 50_000);
        let varied = format!(
            "{HALF}\n[vary]\n\"group.poison.attack\" = [\"free-rider\", {{ mix = {{ free-rider = \"50%\", never-deliver = \"50%\" }} }}]"
        );
        let varied = scenario(&varied, "count = 2", &[]).expect("right");
        assert_eq!(names(&varied, 0), ["free-rider", "free-rider"]);
        let second = varied.with(&varied.variants()[1].set).expect("right");
        assert_eq!(names(&second, 0), ["free-rider", "never-deliver"]);
    }

    #[test]
    fn what_is_wrong_in_a_mix_is_found_where_it_stands() {
        let check = |attack: &str, count: &str, told: &str| {
            let found = scenario(attack, count, &[]).expect_err("wrong");
            assert!(found.starts_with(told), "{found}");
        };
        check(
            r#"attack = { mix = { free-rider = "50%", never-deliver = "40%" } }"#,
            "count = 2",
            r#"the shares are 90% together | { free-rider = "50%", never-deliver = "40%" } | for example { mix = { liar = "50%", trickle = "50%" } }"#,
        );
        check(
            r#"attack = { mix = { fre-rider = "50%", never-deliver = "50%" } }"#,
            "count = 2",
            "unknown attack: `fre-rider` | fre-rider | did you mean `free-rider`?",
        );
        check(
            r#"attack = { mux = { free-rider = "100%" } }"#,
            "",
            r#"`mix` is missing in `attack` | { mux = { free-rider = "100%" } } | `mix`: Each attack with its share of the members, or with a table of its `share` and its parameters.
unknown key `mux` in `attack` | mux | did you mean `mix`?"#,
        );
        check(
            r#"attack = { mix = { free-rider = "99%", never-deliver = "1%" } }"#,
            "count = 3",
            r#"of 3 hosts none would be `never-deliver` | "1%" | "#,
        );
        check(
            r#"attack = { mix = { corrupt-blocks = { share = "100%", probabilty = "3%" } } }"#,
            "",
            "`corrupt-blocks` has no parameter `probabilty` | probabilty | did you mean `probability`?",
        );
        check(
            r#"attack = { mix = { corrupt-blocks = { probability = "3%" } } }"#,
            "",
            r#"`share` is missing: how many of them are `corrupt-blocks`? | { probability = "3%" } | for example { share = "50%" }"#,
        );
        check(
            &format!("{HALF}\nwith = {{ probability = \"3%\" }}"),
            "count = 2",
            r#"`with` belongs to a single attack | { probability = "3%" } | in a mix each attack has its own: { share = "50%", probability = "30%" }"#,
        );
    }
}
