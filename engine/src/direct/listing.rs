//! Owns how a directory looks to a browser.
//!
//! Invariant: the same directory gives the same page, and no name in it becomes markup or leads elsewhere.

use std::fmt::Write;

use super::disk::{Entry, Listing};
use super::path::escaped;

/// The page of a directory: `parts` from the served directory down; the entries in the order of their names,
/// directories first.
#[must_use]
pub fn page(parts: &[String], listing: &Listing) -> String {
    let mut entries: Vec<&Entry> = listing.entries.iter().collect();
    entries.sort_by_key(|entry| (entry.len.is_some(), &entry.name));
    let mut title = "/".to_owned();
    for part in parts {
        title.push_str(&text(part));
        title.push('/');
    }
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }} \
         td {{ padding: .1em 1.5em .1em 0; white-space: nowrap }} \
         td:first-child {{ white-space: normal; overflow-wrap: anywhere }} \
         td.n {{ text-align: right }}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<table>\n"
    );
    if !parts.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let slash = if entry.len.is_none() { "/" } else { "" };
        let (link, name) = (escaped(&entry.name), text(&entry.name));
        let len = entry.len.map(|len| len.to_string()).unwrap_or_default();
        let modified = entry.modified.map(|at| at.to_string()).unwrap_or_default();
        let line = writeln!(
            page,
            "<tr><td><a href=\"{link}{slash}\">{name}{slash}</a></td>\
             <td class=\"n\">{len}</td><td>{modified}</td></tr>"
        );
        line.expect("a string takes everything");
    }
    page.push_str("</table>\n");
    if listing.cut {
        page.push_str("<p>There are more; these are not all.</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// A text as it stands in markup. Turned directions of reading would show another name than the link's.
fn text(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.push('\u{fffd}');
            }
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::validator::HttpDate;

    fn entry(name: &str, len: Option<u64>) -> Entry {
        Entry {
            name: name.to_owned(),
            len,
            modified: len.map(|_| HttpDate::at(784_111_777)),
        }
    }

    #[test]
    fn directories_come_first_and_names_are_sorted_escaped_and_linked() {
        let listing = Listing {
            entries: vec![
                entry("b<script>.txt", Some(12)),
                entry("a & \"b\".mkv", Some(1 << 40)),
                entry("z", None),
            ],
            cut: true,
        };
        let page = page(&["film's".to_owned()], &listing);
        let rows: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("<tr>"))
            .collect();
        let date = "<td>Sun, 06 Nov 1994 08:49:37 GMT</td></tr>";
        let wanted = [
            "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>".to_owned(),
            "<tr><td><a href=\"z/\">z/</a></td><td class=\"n\"></td><td></td></tr>".to_owned(),
            format!(
                "<tr><td><a href=\"a%20%26%20%22b%22.mkv\">a &amp; &quot;b&quot;.mkv</a></td>\
                 <td class=\"n\">1099511627776</td>{date}"
            ),
            format!(
                "<tr><td><a href=\"b%3Cscript%3E.txt\">b&lt;script&gt;.txt</a></td>\
                 <td class=\"n\">12</td>{date}"
            ),
        ];
        assert_eq!(rows, wanted);
        assert!(page.contains("<title>/film&#39;s/</title>") && page.contains("not all"));
    }

    #[test]
    fn the_served_directory_has_no_parent_and_a_turned_name_is_marked() {
        let listing = Listing {
            entries: vec![entry("a\u{202e}gpj.exe", Some(0))],
            cut: false,
        };
        let page = page(&[], &listing);
        assert!(!page.contains("../") && !page.contains("not all"));
        assert!(page.contains(">a\u{fffd}gpj.exe<"), "{page}");
    }
}
