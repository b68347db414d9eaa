//! Announce and scrape over UDP (BEP 15), both sides, pure: the datagrams ([`packet`]), a client that
//! asks until it is answered ([`client`]), and what a server makes of a datagram ([`server`]).

pub mod client;
pub mod packet;
pub mod server;
