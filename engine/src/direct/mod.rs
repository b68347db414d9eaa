//! Direct download: one server reads a file from its disk and sends it, one client receives it and writes it
//! to its disk, over HTTP/1.1 (RFC 9110, RFC 9112). The two ends play different roles; in a swarm every peer
//! plays both.
//!
//! Here is what both ends share, and the client's end of one connection. Hosts are in [`crate::node`].

pub mod client;
pub mod disk;
pub mod fetch;
pub mod listing;
pub mod note;
pub mod path;
pub mod range;
pub mod url;
pub mod validator;
