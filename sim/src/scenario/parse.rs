//! Owns [`Scenario`]: a file that was read, checked, and can be varied and expanded.
//!
//! Invariant: a `Scenario` that exists is right: reading and validation found nothing. The text is
//! kept, so that a change of one value reads everything again and can be wrong in the same ways.

use std::sync::Arc;

use toml::de::DeTable;

use super::model::Model;
use super::problem::{Found, Log, ScenarioErrors, Sources};
use super::{arrivals, sections, set, validate, validate_expect, vary};
use crate::own::{self, Own};

/// A checked scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    file: String,
    text: Arc<str>,
    overrides: Vec<(String, String)>,
    own: &'static Own,
    model: Model,
    /// Without its attackers.
    clean: bool,
    /// Its runs are filmed.
    filmed: bool,
}

/// One combination of the values of `[vary]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// The labels of its values, joined by `, `; empty when nothing varies.
    pub label: String,
    /// Axis and label of each of its values, in the order of the file.
    pub choices: Vec<(String, String)>,
    /// The overrides that make it, for [`Scenario::with`]: dotted key and TOML value, or `vary.AXIS` and
    /// the label of a bundle.
    pub set: Vec<(String, String)>,
}

impl Scenario {
    /// Reads and checks the text of a file. `file` is its name for messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, with places; after a syntax error only the syntax errors.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioErrors> {
        Scenario::parse_with(file, text, &[])
    }

    /// As [`Scenario::parse`], after changing values by dotted key: `("group.home.up", "4 Mbit/s")`.
    ///
    /// # Errors
    /// Everything that is wrong with the file or the changes.
    pub fn parse_with(
        file: &str,
        text: &str,
        overrides: &[(String, String)],
    ) -> Result<Scenario, ScenarioErrors> {
        Scenario::parse_with_own(file, text, overrides, &own::NONE)
    }

    /// As [`Scenario::parse_with`], with strategies and attacks of the user's own beside ours: see [`crate::own`].
    ///
    /// # Errors
    /// Everything that is wrong with the file or the changes.
    pub fn parse_with_own(
        file: &str,
        text: &str,
        overrides: &[(String, String)],
        own: &'static Own,
    ) -> Result<Scenario, ScenarioErrors> {
        let (mut sources, mut log) = (Sources::new(file, text), Log::default());
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            log.push(Found::at(
                span,
                format!("this is no TOML: {}", error.message()),
            ));
        }
        if !log.is_empty() {
            return Err(log.into_errors(&sources));
        }
        let root = root.into_inner();
        let mut changes = Vec::new();
        for (key, value) in overrides {
            changes.extend(set::read((key, value), &mut sources, &mut log));
        }
        let axes = vary::read(&root, &mut changes, &sources, &mut log);
        let document = axes.document(&root, None, &changes, &mut log);
        let mut model = sections::model(&document, axes.free.clone(), own, &mut log);
        arrivals::load(&mut model.groups, file, &mut log);
        validate::check(&model, &mut log);
        vary::variants_allowed(&model, &mut log);
        if overrides.is_empty() {
            validate_expect::comparisons(&model, &mut log);
        }
        axes.check_others(&root, &changes, own, &mut log);
        if !log.is_empty() {
            return Err(log.into_errors(&sources));
        }
        let (file, overrides) = (file.to_owned(), overrides.to_vec());
        Ok(Scenario {
            file,
            text: text.into(),
            overrides,
            own,
            model,
            clean: false,
            filmed: false,
        })
    }

    /// This scenario with more values changed.
    ///
    /// # Errors
    /// Everything that is wrong after the changes.
    pub fn with(&self, more: &[(String, String)]) -> Result<Scenario, ScenarioErrors> {
        let overrides: Vec<_> = self.overrides.iter().chain(more).cloned().collect();
        Scenario::parse_with_own(&self.file, &self.text, &overrides, self.own)
    }

    /// This scenario with these values for an axis of `[vary]`: one of the file, of which they are labels or new values;
    /// or a new one, the last. Whether a new value is right is seen when it is set, by [`Scenario::with`].
    ///
    /// # Errors
    /// What is wrong, in words: a bundle has no such name, or there are too many combinations.
    pub fn varied(mut self, key: &str, values: &[String]) -> Result<Scenario, String> {
        vary::replace(&mut self.model.vary, key, values)?;
        Ok(self)
    }

    /// This scenario without its attackers, and without what it expects: every other host is as before, with
    /// the same draws.
    #[must_use]
    pub fn clean(&self) -> Scenario {
        Scenario {
            clean: true,
            ..self.clone()
        }
    }

    /// Whether its attackers are left out.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// This scenario, with a film made of each of its runs; see [`crate::film`].
    #[must_use]
    pub fn filmed(mut self) -> Scenario {
        self.filmed = true;
        self
    }

    /// Whether its runs are filmed.
    #[must_use]
    pub fn is_filmed(&self) -> bool {
        self.filmed
    }

    /// Every combination of the values of `[vary]`, in the order of the file, the last key changing
    /// fastest; exactly one without overrides when nothing varies. Keys that were changed by an
    /// override no longer vary.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        let mut all = vec![Variant {
            label: String::new(),
            choices: Vec::new(),
            set: Vec::new(),
        }];
        for vary in &self.model.vary {
            let grown = all.iter().flat_map(|variant| {
                vary.values.iter().map(move |value| {
                    let mut next = variant.clone();
                    if !next.label.is_empty() {
                        next.label.push_str(", ");
                    }
                    next.label.push_str(&value.label);
                    let key = vary.key.get_ref();
                    next.choices.push((key.clone(), value.label.clone()));
                    next.set.push(match vary.bundles {
                        true => (format!("vary.{key}"), value.label.clone()),
                        false => (key.clone(), value.text.get_ref().clone()),
                    });
                    next
                })
            });
            all = grown.collect();
        }
        all
    }

    /// What the file says, typed.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// The seeds it runs on, in order; at least one.
    #[must_use]
    pub fn seeds(&self) -> &[u64] {
        self.model.run.seeds()
    }

    /// The file's name, as given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The file's text, before any override.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Attacks of the user's own that it may name.
    #[must_use]
    pub fn own(&self) -> &'static Own {
        self.own
    }

    /// The overrides in force, in order.
    #[must_use]
    pub fn overrides(&self) -> &[(String, String)] {
        &self.overrides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
name = "tiny"
[torrent]
size = "1 MiB"
[[group]]
name = "seed"
role = "seed"
up = "1 MiB/s"
down = "1 MiB/s"
[[group]]
name = "home"
role = "leecher"
up = "1 MiB/s"
down = "1 MiB/s"
[vary]
"group.home.picker" = ["rarest-first", "random"]
"engine.upload_slots" = [2, 4, 8]
"#;

    #[test]
    fn variants_are_the_product_in_the_order_of_the_file() {
        let scenario = Scenario::parse("tiny.toml", FILE).expect("right");
        let variants = scenario.variants();
        let labels: Vec<_> = variants.iter().map(|v| v.label.as_str()).collect();
        assert_eq!(labels.len(), 6);
        assert_eq!(labels[..2], ["rarest-first, 2", "rarest-first, 4"]);
        let picker = |s: &Scenario| s.expand(0).hosts[1].picker.name.clone();
        assert_eq!(
            picker(&scenario),
            "rarest-first",
            "the first value is in force"
        );
        let last = scenario.with(&variants[5].set).expect("right");
        assert_eq!(picker(&last), "random");
        assert_eq!(last.expand(0).hosts[0].engine.upload_slots, 8);
        assert_eq!(last.variants().len(), 1, "nothing varies any more");
    }

    #[test]
    fn a_false_value_of_vary_is_found_where_it_stands() {
        let text = FILE
            .replace("\"random\"]", "\"radnom\"]")
            .replace("4, 8]", "-4, 8]");
        let errors = Scenario::parse("tiny.toml", &text).expect_err("two errors");
        let places: Vec<_> = errors
            .problems
            .iter()
            .map(|p| &text[p.span.clone()])
            .collect();
        assert_eq!(places, ["\"radnom\"", "-4"]);
    }

    #[test]
    fn an_axis_is_replaced_or_added_from_outside() {
        let values = |of: &[&str]| of.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let scenario = Scenario::parse("tiny.toml", FILE).expect("right");
        let varied = scenario
            .clone()
            .varied("group.home.picker", &values(&["random", "sequential"]))
            .and_then(|s| s.varied("group.seed.up", &values(&["2 MiB/s"])))
            .expect("axes");
        let variants = varied.variants();
        let labels: Vec<_> = variants.iter().map(|v| v.label.as_str()).collect();
        // One of the file's axes is replaced, the other stays, and a third comes last.
        assert_eq!(labels.len(), 6, "{labels:?}");
        assert_eq!(labels[0], "random, 2, 2 MiB/s");
        assert_eq!(labels[5], "sequential, 8, 2 MiB/s");
        let last = varied.with(&variants[5].set).expect("right values");
        let plan = last.expand(0);
        assert_eq!(plan.hosts[0].link.up, 2 << 20);
        assert_eq!(plan.hosts[1].picker.name, "sequential");
        let twice = scenario
            .clone()
            .varied("group.seed.up", &values(&["1 MiB/s", "1 MiB/s"]));
        assert!(twice.is_err_and(|why| why.contains("twice")));
        let wrong = scenario
            .varied("group.home.picker", &values(&["rarest"]))
            .expect("an axis");
        assert!(wrong.with(&wrong.variants()[0].set).is_err());
    }

    #[test]
    fn an_override_that_is_wrong_is_shown_itself() {
        let set = [("group.home.up".to_owned(), "4 Mbps".to_owned())];
        let errors = Scenario::parse_with("tiny.toml", FILE, &set).expect_err("one error");
        assert_eq!(errors.problems.len(), 1);
        assert_eq!(errors.problems[0].span, 14..20);
    }
}
