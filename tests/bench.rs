//! `skep bench`: what a row says. Nothing here depends on how fast it is.

use std::process::Command;

use serde_json::Value;

fn rows(name: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["bench", name, "--json"])
        .env_clear()
        .output()
        .expect("skep runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an object per line"))
        .collect()
}

#[test]
fn a_workload_tells_what_it_moved_and_what_that_cost() {
    let rows = rows("small");
    let [row] = &rows[..] else {
        panic!("one row: {rows:?}");
    };
    assert_eq!(
        (&row["name"], &row["network"]),
        (&"small".into(), &"fabric".into())
    );
    assert_eq!(
        (&row["verdict"], &row["peers"]),
        (&"pass".into(), &11.into())
    );
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
    // Ten leechers, 64 pieces of 16 blocks: each block was asked for, and came.
    assert!(number("blocks") >= 10_240.0);
    assert!(number("messages") >= 2.0 * number("blocks"));
    // 16 MiB to ten through uplinks of 200 kB/s, one of them the seed's.
    assert!(number("sim_seconds") >= 83.0);
    assert!(number("connections") >= 55.0);
    for (rate, of) in [
        ("blocks_per_cpu_second", "blocks"),
        ("messages_per_cpu_second", "messages"),
        ("sim_per_cpu", "sim_seconds"),
    ] {
        let product = number(rate) * number("cpu_seconds");
        assert!((product / number(of) - 1.0).abs() < 1e-6, "{rate}: {row}");
    }
    let hashing = number("sha1_ratio") * number("sha1_seconds");
    assert!(
        (hashing / number("cpu_seconds") - 1.0).abs() < 1e-6,
        "{row}"
    );
    if cfg!(target_os = "linux") {
        // The content alone has 16 MiB.
        assert!(number("peak_rss_bytes") > 16.0 * 1_048_576.0, "{row}");
    }
}

/// The memory of connections is that beyond the same hosts without any: a row that is read by the first process.
#[test]
fn hosts_without_connections_are_a_row_of_numbers_too() {
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args([
            "bench",
            "small",
            "--here",
            "--unconnected",
            "--network",
            "fabric",
        ])
        .output()
        .expect("skep runs");
    let row: Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(
        (&row["blocks"], &row["sha1_seconds"]),
        (&0.into(), &0.0.into())
    );
    let absent = row.as_object().expect("an object").iter();
    let absent: Vec<_> = absent
        .filter(|(_, v)| v.is_null())
        .map(|(k, _)| k)
        .collect();
    assert_eq!(absent, ["bytes_per_connection"], "{row}");
}

#[test]
fn a_network_that_is_not_there_is_a_row_with_the_reason() {
    for row in rows("turmoil") {
        assert_eq!(row["name"], "turmoil-25");
        let measured = row["blocks"].as_u64();
        assert_eq!(measured.is_none(), row["refused"].is_string(), "{row}");
        assert!(row["network"] == "turmoil" || measured.is_some(), "{row}");
    }
}

#[test]
fn a_name_that_is_none_is_wrong() {
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["bench", "huge"])
        .env_clear()
        .output()
        .expect("skep runs");
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("no workload is called `huge`"), "{text}");
}
