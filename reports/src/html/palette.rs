//! Owns colours and labels of pages.
//!
//! Invariant: colours are named, never said; what comes from a scenario is text, whatever it looks like.

use plotly::common::{ColorScale, ColorScaleElement};

/// Colours of series in `style.css`: `--g0` and so on.
const SERIES: usize = 7;

/// The colour of each group: the same in every chart and in the animation.
pub(super) struct Palette {
    groups: Vec<(String, String)>,
}

impl Palette {
    /// Gives a colour to each group; `bad` are those of attackers.
    pub(super) fn of<'a>(groups: impl Iterator<Item = (&'a str, bool)>) -> Palette {
        let (mut all, mut next): (Vec<(String, String)>, usize) = (Vec::new(), 0);
        for (name, bad) in groups {
            if all.iter().any(|(known, _)| known == name) {
                continue;
            }
            let color = match bad {
                true => "var(--bad)".to_owned(),
                false => series(next),
            };
            next += usize::from(!bad);
            all.push((name.to_owned(), color));
        }
        Palette { groups: all }
    }

    /// The colour of a group.
    pub(super) fn group(&self, name: &str) -> String {
        let known = self.groups.iter().find(|(known, _)| known == name);
        known.map_or_else(|| series(0), |(_, color)| color.clone())
    }

    /// Name and colour of each.
    pub(super) fn groups(&self) -> &[(String, String)] {
        &self.groups
    }
}

/// The colour of a series.
pub(super) fn series(number: usize) -> String {
    format!("var(--g{})", number % SERIES)
}

/// Text for a chart, whose labels know a few tags: none of a scenario's.
pub(super) fn label(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// From few to many: nothing looks like nothing.
pub(super) fn scale() -> ColorScale {
    let steps = [
        (0.0, "var(--z0)"),
        (0.02, "var(--z1)"),
        (0.25, "var(--z2)"),
        (0.5, "var(--z3)"),
        (0.75, "var(--z4)"),
        (1.0, "var(--z5)"),
    ];
    ColorScale::Vector(
        steps
            .iter()
            .map(|(at, color)| ColorScaleElement(*at, (*color).to_owned()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_own_colours_and_attackers_theirs() {
        let groups = [
            ("seed", false),
            ("liar", true),
            ("home", false),
            ("seed", false),
        ];
        let palette = Palette::of(groups.into_iter());
        assert_eq!(palette.group("home"), "var(--g1)");
        assert_eq!(palette.group("liar"), "var(--bad)");
        assert_eq!(palette.groups().len(), 3);
    }

    #[test]
    fn labels_have_no_tags() {
        assert_eq!(label("<a href='x'>&"), "&lt;a href='x'&gt;&amp;");
    }
}
