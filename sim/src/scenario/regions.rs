//! Owns regions: `latency = { regions = { eu = { eu = "10 ms", us = "45 ms" }, ... } }` of `[link]`, and which
//! groups are where.
//!
//! Invariant: the table is square: every region has a delay to every one, its own included. Delays are one-way,
//! from row to column, so a path may be longer one way than the other.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::model::{Group, Latency, Model};
use super::problem::{Found, Log, suggest};
use super::read::{self, Value};
use super::selector::is_group_name;
use super::units;

/// The regions of a scenario.
#[derive(Clone, Debug)]
pub struct Regions {
    /// Their names, in the order of the file.
    pub names: Vec<Spanned<String>>,
    /// One-way delays from row to column.
    pub delays: Vec<Vec<Duration>>,
}

impl Regions {
    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.get_ref() == name)
    }
}

/// Reads the regions of `[link]`, if it has some. That its tables have the right form otherwise is noted by who
/// reads the link.
pub(super) fn regions(link: &Value<'_>, log: &mut Log) -> Option<Regions> {
    let latency = link.get_ref().as_table()?.get("latency")?;
    let value = latency.get_ref().as_table()?.get("regions")?;
    let DeValue::Table(rows) = value.get_ref() else {
        read::expected(value, "a table of regions", log);
        return None;
    };
    let rows = read::in_order(rows);
    let names: Vec<Spanned<String>> = rows.iter().map(|(name, _)| name.clone()).collect();
    for name in names.iter().filter(|name| !is_group_name(name.get_ref())) {
        let message = format!("`{}` cannot be a region's name", name.get_ref());
        let help = "write lower-case letters, digits and inner hyphens, a letter first";
        log.push(Found::at(name.span(), message).help(help));
    }
    if names.is_empty() {
        log.push(Found::at(value.span(), "there is no region in it"));
        return None;
    }
    let delays = rows
        .iter()
        .map(|(name, row)| delays(name, row, &names, log));
    let delays = delays.collect();
    Some(Regions { names, delays })
}

/// One row, in the order of the names; what is missing is noted and 0.
fn delays(
    from: &Spanned<String>,
    row: &Value<'_>,
    names: &[Spanned<String>],
    log: &mut Log,
) -> Vec<Duration> {
    let mut delays = vec![Duration::ZERO; names.len()];
    let DeValue::Table(columns) = row.get_ref() else {
        read::expected(
            row,
            r#"a table such as { eu = "10 ms", us = "45 ms" }"#,
            log,
        );
        return delays;
    };
    for (to, value) in read::in_order(columns) {
        let place = names.iter().position(|name| name.get_ref() == to.get_ref());
        let Some(place) = place else {
            let message = format!("there is no region `{}`", to.get_ref());
            let known = names.iter().map(|name| name.get_ref().as_str());
            let found = Found::at(to.span(), message).label("unknown region");
            log.push(found.help(suggest(to.get_ref(), known)));
            continue;
        };
        if let Some(delay) = read::quantity(value, "a duration", units::duration, log) {
            delays[place] = delay.into_inner();
        }
    }
    for to in names
        .iter()
        .filter(|n| !columns.contains_key(n.get_ref().as_str()))
    {
        let (from, to) = (from.get_ref(), to.get_ref());
        let message = format!("the delay from `{from}` to `{to}` is missing");
        log.push(Found::at(row.span(), message).label("in this row"));
    }
    delays
}

/// Checks that every group is where it can be.
pub(super) fn check(model: &Model, log: &mut Log) {
    for group in &model.groups {
        let own = group.link.latency.as_ref();
        if let Some(latency) = own.filter(|l| *l.get_ref() == Latency::Regions) {
            let found = Found::at(latency.span(), "regions are for all groups");
            log.push(found.help("write them in [link], and `region` in each group"));
        }
        match (&model.regions, &group.region, own) {
            (None, Some(region), _) => {
                let found = Found::at(region.span(), "there are no regions");
                let help = r#"add `latency = { regions = { eu = { eu = "10 ms" } } }` to [link]"#;
                log.push(found.help(help));
            }
            (Some(_), Some(region), Some(latency)) => {
                let message = "`region` and `latency` exclude each other";
                let found = Found::at(region.span(), message).label("and here");
                log.push(found.and(latency.span(), "given here"));
            }
            (Some(regions), Some(region), None) => {
                if regions.place(region.get_ref()).is_none() {
                    let message = format!("there is no region `{}`", region.get_ref());
                    let known = regions.names.iter().map(|name| name.get_ref().as_str());
                    let found = Found::at(region.span(), message).label("unknown region");
                    log.push(found.help(suggest(region.get_ref(), known)));
                }
            }
            (Some(_), None, None) => {
                let message = format!("in which region is `{}`?", group.name.get_ref());
                let found = Found::at(group.name.span(), message);
                log.push(found.help("add `region`, or a `latency` of its own"));
            }
            (_, None, _) => {}
        }
    }
}

/// The place of a group's region.
pub(super) fn of(model: &Model, group: &Group) -> Option<usize> {
    let name = group.region.as_ref()?.get_ref();
    model.regions.as_ref()?.place(name)
}

/// The delay between two hosts of a group that is in a region.
pub(super) fn within(model: &Model, group: &Group) -> Duration {
    let place = of(model, group).expect("validated: it is in a region");
    let regions = model.regions.as_ref().expect("validated: there are some");
    regions.delays[place][place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const SQUARE: &str =
        r#"{ eu = { eu = "10 ms", us = "45 ms" }, us = { eu = "55 ms", us = "12 ms" } }"#;

    fn read(regions: &str, seed: &str, home: &str) -> Result<Scenario, String> {
        let text = format!(
            r#"
name = "two"
torrent = {{ size = "1 MiB" }}
link = {{ latency = {{ regions = {regions} }} }}
[[group]]
name = "seed"
role = "seed"
up = "1 MB/s"
down = "1 MB/s"
{seed}
[[group]]
name = "home"
role = "leecher"
up = "1 MB/s"
down = "1 MB/s"
{home}
"#
        );
        Scenario::parse("two.toml", &text).map_err(|errors| format!("{errors:?}"))
    }

    #[test]
    fn each_way_has_its_delay_and_a_host_outside_has_its_own() {
        let plan = read(SQUARE, r#"region = "us""#, r#"region = "eu""#);
        let plan = plan.expect("a good file").expand(1);
        let ms = Duration::from_millis;
        assert_eq!(
            (plan.hosts[0].region, plan.hosts[1].region),
            (Some(1), Some(0))
        );
        assert_eq!(plan.regions[0][1], ms(45));
        assert_eq!(plan.regions[1][0], ms(55));
        assert_eq!(plan.hosts[0].link.latency, ms(12));
        let outside = read(SQUARE, r#"region = "us""#, r#"latency = "9 ms""#);
        let outside = outside.expect("a good file").expand(1);
        assert_eq!(outside.hosts[1].region, None);
        assert_eq!(outside.hosts[1].link.latency, ms(9));
    }

    #[test]
    fn a_table_that_is_not_square_and_a_group_that_is_nowhere_are_refused() {
        let eu = r#"region = "eu""#;
        for (regions, seed, message) in [
            (
                r#"{ eu = { us = "1 ms", eu = "1 ms" } }"#,
                eu,
                "there is no region `us`",
            ),
            (
                r#"{ eu = { eu = "1 ms", us = "1 ms" }, us = { us = "1 ms" } }"#,
                eu,
                "the delay from `us` to `eu` is missing",
            ),
            ("{ }", "", "there is no region in it"),
            (SQUARE, "", "in which region is `seed`?"),
            (SQUARE, r#"region = "asia""#, "there is no region `asia`"),
            (
                SQUARE,
                "region = \"eu\"\nlatency = \"1 ms\"",
                "`region` and `latency` exclude each other",
            ),
        ] {
            let refused = read(regions, seed, eu).expect_err("it is wrong");
            assert!(refused.contains(message), "{message}: {refused}");
        }
    }
}
