//! Owns how a page is put together: template, style, scripts, data.
//!
//! Invariant: the page names nothing to load, and its content security policy would not let it.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use plotly::Plot;
use serde::Serialize;

use super::charts::Drawn;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A bug in a template of ours.
    #[error("the page could not be filled in: {0:#}")]
    Template(#[from] minijinja::Error),
    /// The folder says that a run is there, and it is not.
    #[error("no run to show")]
    NoRun,
}

/// A chart as the page's script draws it.
#[derive(Serialize)]
pub(super) struct Chart {
    id: &'static str,
    title: String,
    /// What there is to see, in words.
    note: String,
    height: usize,
    wide: bool,
    /// Data and layout.
    figure: String,
}

/// A chart's place in the page.
pub(super) fn chart(
    id: &'static str,
    title: &str,
    note: impl Into<String>,
    wide: bool,
    (plot, height): Drawn,
) -> Chart {
    Chart {
        id,
        title: title.to_owned(),
        note: note.into(),
        height,
        wide,
        figure: escaped(&plot.to_json()),
    }
}

/// JSON inside a `<script>`: nothing in it can end the script.
pub(super) fn script_json(value: &impl Serialize) -> String {
    escaped(&serde_json::to_string(value).expect("numbers and words"))
}

fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Hosts in the charts' script from which maps would be loaded: there are none in our pages.
const ELSEWHERE: [&str; 4] = [
    "https://cdn.plot.ly/",
    "https://basemaps.cartocdn.com/",
    "https://tiles.basemaps.cartocdn.com/",
    "https://unpkg.com/",
];

/// The script that draws charts, alone: the crate puts it first, and one for formulas behind it.
pub(super) fn charts_script() -> String {
    let scripts = Plot::offline_js_sources();
    let from = scripts.find('>').map_or(0, |at| at + 1);
    let to = scripts.find("</script>").unwrap_or(scripts.len());
    let mut script = scripts[from..to].to_owned();
    for host in ELSEWHERE {
        script = script.replace(host, "about:blank#");
    }
    script
}

/// Fills in a template of ours.
pub(super) fn fill(
    template: &'static str,
    context: &serde_json::Value,
) -> Result<String, PageError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    for (name, text) in SCRIPTS {
        environment.add_global(name, text);
    }
    environment.add_global("charts_script", charts_script());
    environment.add_global("skep_version", env!("CARGO_PKG_VERSION"));
    Ok(environment
        .get_template(template)?
        .render(Value::from(Serde(context)))?)
}

const TEMPLATES: [(&str, &str); 3] = [
    ("base.html", include_str!("../../templates/base.html")),
    ("run.html", include_str!("../../templates/run.html")),
    (
        "comparison.html",
        include_str!("../../templates/comparison.html"),
    ),
];

/// What templates fill in as it is.
const SCRIPTS: [(&str, &str); 3] = [
    ("style", include_str!("../../templates/style.css")),
    ("page_script", include_str!("../../templates/page.js")),
    ("swarm_script", include_str!("../../templates/swarm.js")),
];
