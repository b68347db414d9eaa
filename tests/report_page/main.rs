//! Pages in a real browser: opened from a file, without a network, in both colour schemes. Pictures of them go to
//! `target/report-pages/`.
//!
//! `.ci/run` installs the browser. Elsewhere, without one, the tests are skipped, and say so.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a browser runs on the wall clock"
)]

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use browser::Browser;
use serde_json::{Value, json};

/// A window as on a desk.
const WINDOW: (u32, u32) = (1280, 960);

/// The browser, or a word about why there is none.
fn browser() -> Option<Browser> {
    if browser::is_installed() {
        return Some(Browser::start(WINDOW.0, WINDOW.1));
    }
    let demanded = std::env::var_os("SKEP_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
    assert!(!demanded, "chromium and chromedriver are not installed");
    eprintln!("SKIPPED: chromium and chromedriver are not installed");
    None
}

fn skep(args: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_skep"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{args:?}: {said}");
    said
}

/// Where pictures go.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("report-pages");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn url(page: &Path) -> String {
    format!("file://{}", page.display())
}

/// Opens a page and waits until its charts are drawn.
fn open(browser: &Browser, page: &Path, scheme: &str) {
    browser.scheme(scheme);
    browser.open(&url(page));
    browser.until(
        "every chart is drawn",
        "return document.documentElement.dataset.charts === \
         String(document.querySelectorAll('script[data-figure]').length)",
    );
}

/// What must be so of every page once it was looked at.
fn is_sound(browser: &Browser, page: &Path) {
    assert_eq!(
        browser.console(),
        Vec::<String>::new(),
        "nothing on the console"
    );
    let asked = browser.requests();
    assert!(asked.contains(&url(page)), "{asked:?}");
    for url in &asked {
        let inside = ["file:", "data:", "blob:"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        assert!(inside, "the page asked for {url}");
    }
    let files = asked
        .iter()
        .filter(|url| url.starts_with("file:") && !url.starts_with(&self::url(page)));
    assert_eq!(files.count(), 0, "{asked:?}");
    let charts = browser.script(
        "return [...document.querySelectorAll('.chart')].map(chart => [chart.id, \
         chart.querySelectorAll('.trace, .hm image, .bars .point').length, \
         chart.querySelector('svg.main-svg').getBoundingClientRect().height, \
         chart.getBoundingClientRect().width])",
    );
    let charts = charts.as_array().expect("a list");
    assert!(!charts.is_empty());
    for chart in charts {
        assert!(chart[1].as_u64() > Some(0), "an empty chart: {chart}");
        assert!(
            chart[2].as_f64() > Some(100.0) && chart[3].as_f64() > Some(200.0),
            "{chart}"
        );
    }
    let wide = browser.script("return document.documentElement.scrollWidth - innerWidth");
    assert!(wide.as_i64() <= Some(0), "wider than the window by {wide}");
}

fn state(browser: &Browser) -> Value {
    browser.script("return window.skepSwarm.state()")
}

/// A fingerprint of what the animation shows.
fn shown(browser: &Browser) -> Value {
    browser.script("return document.getElementById('swarm').toDataURL()")
}

#[test]
fn the_page_of_a_run_draws_plays_and_stays_at_home() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    let said = skep(&["run", "tests/report_page/hundred.toml", "--out", &dir]);
    let page = folder.path().join("report.html");
    assert!(
        said.contains(&format!("written: {}", page.display())),
        "{said}"
    );
    let megabytes = fs::metadata(&page).expect("it is there").len() as f64 / 1e6;
    println!("the page of 100 peers and an hour: {megabytes:.1} MB");
    assert!(megabytes < 12.0, "{megabytes} MB");
    for scheme in ["light", "dark"] {
        open(&browser, &page, scheme);
        browser.script(
            "window.skepSwarm.pause(); window.skepSwarm.seek(0.55 * window.skepSwarm.state().end)",
        );
        std::thread::sleep(Duration::from_millis(400));
        let picture = pictures().join(format!("run-{scheme}.png"));
        fs::write(&picture, browser.picture()).expect("it can be written");
        println!("a picture: {}", picture.display());
    }
    is_sound(&browser, &page);
    assert_eq!(state(&browser)["peers"], 100);
    assert!(
        state(&browser)["end"].as_f64() > Some(3000.0),
        "{}",
        state(&browser)
    );

    // It plays, and pauses.
    browser.script("document.getElementById('swarm').scrollIntoView({ block: 'center' }); document.getElementById('swarm').focus()");
    let before = (shown(&browser), state(&browser));
    browser.keys(" ");
    browser.until("it plays", "return window.skepSwarm.state().playing");
    let from = &before.1["now"];
    browser.until(
        "time passes",
        &format!("return window.skepSwarm.state().now > {from} + 10"),
    );
    browser.keys(" ");
    browser.until("it pauses", "return !window.skepSwarm.state().playing");
    assert!(shown(&browser) != before.0, "the picture moves");

    // Any moment can be looked at, by the slider and by keys.
    let slide = |part: u32| {
        browser.script(&format!(
            "const s = document.getElementById('scrub'); s.value = {part}; s.dispatchEvent(new Event('input'))"
        ));
        std::thread::sleep(Duration::from_millis(300));
        (
            shown(&browser),
            state(&browser)["now"].as_f64().expect("a time"),
        )
    };
    let (early, late) = (slide(1000), slide(9000));
    assert!(early.0 != late.0, "another moment is another picture");
    assert!(late.1 > 8.0 * early.1, "{} and {}", early.1, late.1);
    assert!(
        slide(1000) == early,
        "a moment looks the same however it was come to"
    );
    browser.script("document.getElementById('swarm').focus()");
    browser.keys("\u{E014}\u{E014}\u{E015}");
    let moved = state(&browser);
    assert!(moved["now"].as_f64() > Some(early.1), "{moved}");
    assert_eq!(moved["chosen"], 0, "the arrow down chooses a peer");
    browser.keys("\u{E00C}");

    // The kinds of peers are there to be seen.
    slide(6000);
    let kinds = browser.script("return [...new Set(window.skepSwarm.kinds())].sort()");
    for kind in ["leecher", "seed"] {
        assert!(
            kinds.as_array().expect("a list").contains(&json!(kind)),
            "{kinds}"
        );
    }

    // Frames, from the moment at which most is going on.
    browser.script(
        "window.skepSwarm.seek(0.75 * window.skepSwarm.state().end); window.skepSwarm.play()",
    );
    std::thread::sleep(Duration::from_millis(300));
    let (from, began) = (state(&browser), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let (to, took) = (state(&browser), began.elapsed().as_secs_f64());
    let frames = to["frames"].as_f64().expect("frames") - from["frames"].as_f64().expect("frames");
    let cost = (to["drawMs"].as_f64().expect("ms") - from["drawMs"].as_f64().expect("ms")) / frames;
    println!(
        "{:.0} frames a second, {cost:.1} ms to draw one: 100 peers, {:.0} s, {} slices, {} flows",
        frames / took,
        to["end"].as_f64().expect("seconds"),
        to["slices"],
        to["flows"],
    );
    // How many depends on who draws them, here a processor that others use too.
    assert!(frames >= 2.0, "it stands still");
}

#[test]
fn the_page_of_a_comparison_draws_and_stays_at_home() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    let pickers = "group.home.picker=rarest-first,random,sequential";
    skep(&[
        "compare",
        "scenarios/first-swarm.toml",
        "--vary",
        pickers,
        "--seeds",
        "0..8",
        "--out",
        &dir,
    ]);
    let page = folder.path().join("report.html");
    for scheme in ["light", "dark"] {
        open(&browser, &page, scheme);
        std::thread::sleep(Duration::from_millis(300));
        let picture = pictures().join(format!("comparison-{scheme}.png"));
        fs::write(&picture, browser.picture()).expect("it can be written");
        println!("a picture: {}", picture.display());
    }
    is_sound(&browser, &page);
}

#[test]
fn names_that_look_like_scripts_are_only_names() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    let hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";
    let set = [format!("name='{hostile}'"), format!("about='{hostile}'")];
    skep(&[
        "run",
        "scenarios/first-swarm.toml",
        "--seed",
        "0",
        "--set",
        &set[0],
        "--set",
        &set[1],
        "--out",
        &dir,
    ]);
    let page = folder.path().join("report.html");
    open(&browser, &page, "light");
    let title = browser.script("return document.querySelector('h1').textContent");
    assert!(
        title
            .as_str()
            .is_some_and(|title| title.starts_with(hostile)),
        "{title}"
    );
    let about = browser.script("return document.querySelector('.about').textContent");
    assert_eq!(about, hostile);
    let images = browser.script("return document.querySelectorAll('main img').length");
    assert_eq!(images, 0);
    is_sound(&browser, &page);
}
