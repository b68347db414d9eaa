//! Owns `skep scrape`: asks trackers for the counts of torrents.
//!
//! Invariant: nobody becomes a peer by asking. All trackers are asked at once, each answers for itself, and
//! with `--json` stdout holds one object and nothing else.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use skep_engine::node::announcer::{Announcer, AnnouncerSetup, Told};
use skep_engine::node::network::Network;
use skep_engine::node::real::RealNetwork;
use skep_engine::tracker::announce::{
    AnnounceFailure, Answer, Question, SCRAPE_TORRENTS_MAX, ScrapeCounts,
};
use skep_engine::tracker::target::scrape_target;
use skep_engine::{EngineConfig, InfoHash};
use tokio::time::Instant;

use super::{magnet, on_this_thread, os_rng};
use crate::args::ScrapeArgs;
use crate::failure::{Exit, Failure, print};
use crate::humane::plain;
use crate::torrent::read::read;

/// Digits of an info-hash that tell it from others.
const SHORT: usize = 8;

/// Runs the command.
pub fn run(args: &ScrapeArgs) -> Result<Exit, Failure> {
    let (urls, torrents) = if let Some(link) = magnet::link(&args.what)? {
        (link.trackers, vec![link.info_hash])
    } else if args.what.contains("://") {
        (vec![args.what.clone()], args.info_hash.clone())
    } else {
        let meta = read(Path::new(&args.what))?;
        let urls = meta.announce.iter().flatten().cloned().collect();
        (urls, vec![meta.info_hash])
    };
    if torrents.is_empty() {
        let message = "a tracker is asked about a torrent, and none is named";
        let help = "add --info-hash, as `skep torrent show` prints it, or give a metainfo file";
        return Err(Failure::with_help(Exit::Wrong, message, help));
    }
    if torrents.len() > SCRAPE_TORRENTS_MAX {
        let message = format!("at most {SCRAPE_TORRENTS_MAX} torrents fit one scrape");
        return Err(Failure::new(Exit::Wrong, message));
    }
    if urls.is_empty() {
        return Err(Failure::new(Exit::Failed, "the torrent names no tracker"));
    }
    let answers = on_this_thread(async { Ok(join_all(ask_all(&urls, &torrents)).await) })?;
    let text = if args.json {
        as_json(&urls, &torrents, &answers)
    } else {
        for_people(&urls, &torrents, &answers)
    };
    print(&text)?;
    if answers.iter().any(Result::is_ok) {
        Ok(Exit::Ok)
    } else {
        Err(Failure::new(Exit::Failed, "no tracker answered"))
    }
}

/// What one tracker says, or why it says nothing.
type Counts = Result<BTreeMap<InfoHash, ScrapeCounts>, String>;

fn ask_all(urls: &[String], torrents: &[InfoHash]) -> Vec<impl Future<Output = Counts> + use<>> {
    let asked = urls.iter().map(|url| ask(url.clone(), torrents.to_vec()));
    asked.collect()
}

async fn ask(url: String, torrents: Vec<InfoHash>) -> Counts {
    let target = match scrape_target(&url) {
        Ok(Some(target)) => target,
        Ok(None) => return Err("its URL does not say where it can be scraped".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    // A person waits: as long for UDP as for HTTP.
    let config = EngineConfig {
        udp_retry: Duration::from_secs(5),
        udp_retries: 1,
        ..EngineConfig::default()
    };
    let setup = AnnouncerSetup {
        trackers: vec![target],
        epoch: Instant::now(),
        rng: os_rng().map_err(|_| "the system gives no random bytes".to_owned())?,
    };
    let mut announcer = Announcer::new(setup, &config);
    let mut net = RealNetwork::new(&config);
    announcer.ask(&mut net, 0, Question::Scrape(torrents));
    let answer = poll_fn(|cx| {
        loop {
            while let Poll::Ready(event) = net.poll_event(cx) {
                announcer.on_event(&mut net, event);
            }
            let told = announcer.poll(&mut net, cx);
            announcer.pump(&mut net, cx);
            if let Told::Result(result) = ready!(told) {
                return Poll::Ready(result);
            }
        }
    });
    match answer.await {
        Ok(Answer::Scraped(counts)) => Ok(counts),
        Ok(Answer::Announced(_)) => unreachable!("a scrape is answered by counts"),
        Err(failure) => Err(words(&failure)),
    }
}

fn words(failure: &AnnounceFailure) -> String {
    plain(&failure.to_string())
}

fn for_people(urls: &[String], torrents: &[InfoHash], answers: &[Counts]) -> String {
    let several = torrents.len() > 1;
    let torrent = |hash: &InfoHash| match several {
        true => format!("{}  ", &hash.to_string()[..SHORT]),
        false => String::new(),
    };
    let mut text = format!(
        "{:>8}  {:>8}  {:>9}  {}tracker\n",
        "seeds",
        "leechers",
        "downloads",
        if several { "torrent   " } else { "" }
    );
    let mut line = |[seeds, leechers, downloads]: [String; 3], rest: String| {
        text += &format!("{seeds:>8}  {leechers:>8}  {downloads:>9}  {rest}\n");
    };
    let nothing = || ["-", "-", "-"].map(str::to_owned);
    for (url, answer) in urls.iter().zip(answers) {
        let url = plain(url);
        let counts = match answer {
            Ok(counts) => counts,
            Err(why) => {
                line(nothing(), format!("{url}: {why}"));
                continue;
            }
        };
        for hash in torrents {
            let named = torrent(hash);
            match counts.get(hash) {
                Some(told) => line(
                    [told.complete, told.incomplete, told.downloaded].map(|n| n.to_string()),
                    format!("{named}{url}"),
                ),
                None => line(nothing(), format!("{named}{url}: the torrent is unknown")),
            }
        }
    }
    text
}

fn as_json(urls: &[String], torrents: &[InfoHash], answers: &[Counts]) -> String {
    let trackers = urls.iter().zip(answers).map(|(url, answer)| {
        let counts = torrents.iter().filter_map(|hash| {
            let told = answer.as_ref().ok()?.get(hash)?;
            Some(json!({
                "info_hash": hash.to_string(),
                "seeds": told.complete,
                "leechers": told.incomplete,
                "downloads": told.downloaded,
            }))
        });
        json!({
            "tracker": url,
            "error": answer.as_ref().err(),
            "torrents": counts.collect::<Vec<_>>(),
        })
    });
    let object = json!({ "trackers": trackers.collect::<Vec<_>>() });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tracker_has_its_line_whether_it_answered_or_not() {
        let hash = InfoHash([0xab; 20]);
        let told = ScrapeCounts {
            complete: 1,
            downloaded: 20,
            incomplete: 3,
        };
        let urls: Vec<String> = ["http://a/announce", "udp://b:1", "udp://c:1"]
            .map(str::to_owned)
            .into();
        let answers = [
            Ok([(hash, told)].into()),
            Ok(BTreeMap::new()),
            Err("the tracker did not answer in time".to_owned()),
        ];
        let text = for_people(&urls, &[hash], &answers);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "   seeds  leechers  downloads  tracker");
        assert_eq!(lines[1], "       1         3         20  http://a/announce");
        assert!(lines[2].ends_with("-  udp://b:1: the torrent is unknown"));
        assert!(lines[3].ends_with("-  udp://c:1: the tracker did not answer in time"));
        let object: serde_json::Value =
            serde_json::from_str(&as_json(&urls, &[hash], &answers)).unwrap();
        assert_eq!(object["trackers"][0]["torrents"][0]["downloads"], 20);
        assert_eq!(object["trackers"][1]["error"], serde_json::Value::Null);
        assert_eq!(object["trackers"][2]["torrents"], json!([]));
    }
}
