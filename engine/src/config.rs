//! Owns every number and switch of the engine, each with unit and source.
//!
//! Invariant: a protocol constant stands here and nowhere else. [`FIELDS`] describes the same
//! fields for scenario files and their schema; both come from one macro, so they cannot differ.

use std::time::Duration;

use crate::ip_filter::IpFilter;

/// The kind of a field, which says how a scenario file writes its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A duration with a unit: `"10 s"`.
    Duration,
    /// A size with a unit: `"32 KiB"`.
    Bytes,
    /// A rate with a unit: `"2 Mbit/s"`.
    Rate,
    /// A bare whole number.
    Count,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of ranges of addresses: `["10.0.0.0/8", "192.0.2.1-192.0.2.9"]`.
    Addresses,
}

/// A value for one field, units already resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldValue {
    /// For [`FieldKind::Duration`].
    Duration(Duration),
    /// For [`FieldKind::Bytes`].
    Bytes(u64),
    /// For [`FieldKind::Rate`], bytes per second.
    Rate(u64),
    /// For [`FieldKind::Count`].
    Count(u64),
    /// For [`FieldKind::Switch`].
    Switch(bool),
    /// For [`FieldKind::Choice`].
    Choice(String),
    /// For [`FieldKind::Addresses`].
    Addresses(IpFilter),
}

/// Name, kind and meaning of one field of [`EngineConfig`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key in a scenario file.
    pub name: &'static str,
    /// How its value is written.
    pub kind: FieldKind,
    /// Its doc comment.
    pub doc: &'static str,
}

/// Why [`EngineConfig::set`] refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// No field of that name.
    #[error("no field `{0}`")]
    UnknownField(String),
    /// The value is of another kind, or outside the field's range.
    #[error("`{0}` does not take this value")]
    BadValue(&'static str),
}

/// A type that can be a field: its kind and how a [`FieldValue`] becomes it.
trait FieldType: Sized {
    const KIND: FieldKind;
    fn from_value(value: &FieldValue) -> Option<Self>;
}

impl FieldType for Duration {
    const KIND: FieldKind = FieldKind::Duration;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Duration(d) => Some(*d),
            _ => None,
        }
    }
}
impl FieldType for u64 {
    const KIND: FieldKind = FieldKind::Bytes;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Bytes(n) => Some(*n),
            _ => None,
        }
    }
}
/// Bytes per second; 0 stands for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit(pub u64);

impl FieldType for RateLimit {
    const KIND: FieldKind = FieldKind::Rate;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Rate(n) => Some(RateLimit(*n)),
            _ => None,
        }
    }
}
impl FieldType for u32 {
    const KIND: FieldKind = FieldKind::Count;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Count(n) => u32::try_from(*n).ok(),
            _ => None,
        }
    }
}
impl FieldType for bool {
    const KIND: FieldKind = FieldKind::Switch;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Switch(b) => Some(*b),
            _ => None,
        }
    }
}
impl FieldType for IpFilter {
    const KIND: FieldKind = FieldKind::Addresses;
    fn from_value(value: &FieldValue) -> Option<Self> {
        match value {
            FieldValue::Addresses(filter) => Some(filter.clone()),
            _ => None,
        }
    }
}

macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),+ }
        impl FieldType for $name {
            const KIND: FieldKind = FieldKind::Choice(&[$($word),+]);
            fn from_value(value: &FieldValue) -> Option<Self> {
                match value {
                    FieldValue::Choice(w) => match w.as_str() { $($word => Some($name::$variant),)+ _ => None },
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// Whether started pieces are finished before new ones are begun.
    PartialFirst {
        /// Always.
        Always = "always",
        /// Unless the strategy's choice is strictly rarer at the neighbours.
        UnlessRarer = "unless-rarer",
        /// The strategy decides each time.
        Never = "never",
    }
}
choice! {
    /// What happens when every missing block is requested.
    Endgame {
        /// Nothing.
        Off = "off",
        /// At most `endgame_requesters` live requesters per block.
        Bounded = "bounded",
        /// Every unchoked holder is asked.
        All = "all",
    }
}
choice! {
    /// How much of the session's own book-keeping is recomputed after every input.
    Audit {
        /// Nothing: real sockets.
        Off = "off",
        /// What the input changed; all bitfields and open requests in every choke round: simulations.
        Touched = "touched",
        /// Everything, after every input: tests.
        Full = "full",
    }
}

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $name:ident : $ty:ty = $default:expr;)+) => {
        /// Every number and switch of one engine.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct EngineConfig { $($(#[doc = $doc])+ pub $name: $ty,)+ }
        impl Default for EngineConfig {
            fn default() -> Self { EngineConfig { $($name: $default,)+ } }
        }
        /// All fields of [`EngineConfig`], in order.
        pub const FIELDS: &[Field] = &[$(Field {
            name: stringify!($name), kind: <$ty as FieldType>::KIND, doc: concat!($($doc),+),
        },)+];
        impl EngineConfig {
            /// Sets one field by name.
            ///
            /// # Errors
            /// When there is no such field, or it does not take the value.
            pub fn set(&mut self, name: &str, value: &FieldValue) -> Result<(), SetError> {
                match name {
                    $(stringify!($name) => {
                        self.$name = <$ty as FieldType>::from_value(value).ok_or(SetError::BadValue(stringify!($name)))?;
                    })+
                    _ => return Err(SetError::UnknownField(name.to_owned())),
                }
                Ok(())
            }
        }
    };
}

const KIB: u64 = 1024;
const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

config! {
    /// Peers that may be unchoked at once, optimistic slots included (BEP 3: 4).
    upload_slots: u32 = 4;
    /// Of these, slots of peers at one address, whatever the ports; loopback is exempt (ours: many peers behind one
    /// uplink are worth no more than its rate).
    slots_per_address: u32 = 2;
    /// Slots among them that rotate regardless of merit (BEP 3: 1).
    optimistic_slots: u32 = 1;
    /// Time between choke rounds (BEP 3: 10 s).
    choke_interval: Duration = secs(10);
    /// How long a peer keeps the optimistic slot (BEP 3: 30 s).
    optimistic_interval: Duration = secs(30);
    /// Shortest time between choking and unchoking one peer (BEP 3, fibrillation: 10 s).
    choke_hold_min: Duration = secs(10);
    /// A free slot goes at once to a peer that becomes interested (field).
    unchoke_on_interest: bool = true;
    /// Pieces' worth a seed gives before it moves on (libtorrent: 20).
    seed_quota_pieces: u32 = 20;
    /// Time a seed keeps a peer unchoked before it moves on (libtorrent: 1 min).
    seed_quota_time: Duration = secs(60);
    /// A peer that asks for nothing at the moment and has taken less than this per second since a seed
    /// unchoked it gives its slot to who waits (ours: slots are for who uses them).
    slot_rate_min: RateLimit = RateLimit(4 * KIB);
    /// A seed shows what it has piece by piece, until another seed is seen (BEP 16).
    super_seeding: bool = false;
    /// Pieces shown to one peer that nobody else was seen to have, at most (libtorrent: 2; BEP 16: 1); twice
    /// as many each time that nobody is seen to have them in `super_seed_wait`, until somebody is.
    super_seed_pieces: u32 = 2;
    /// How long a peer that has a piece it was shown, or was sent all of it, or wants nothing, waits for
    /// the next when nobody else is seen to have it; and, when every piece is with others, for one of
    /// theirs before it is told everything.
    super_seed_wait: Duration = secs(60);
    /// Payload sent per second, over all peers; 0: no limit.
    upload_limit: RateLimit = RateLimit(0);
    /// Payload asked for per second, over all peers; 0: no limit.
    download_limit: RateLimit = RateLimit(0);
    /// The rate at which the user plays the content while it comes, in order; 0: nobody plays. What the strategies
    /// `window`, `bitos` and `zipf` go by.
    play_rate: RateLimit = RateLimit(0);
    /// What has to be there ahead before a player begins, or goes on after a stall, in time of playback (field).
    play_buffer: Duration = secs(10);
    /// Connections, both directions and half-open ones included (field: 50).
    connections_max: u32 = 50;
    /// Connections and dials to one address, whatever the ports; loopback is exempt (libtorrent: 1;
    /// here room for the clients behind one router).
    connections_per_address: u32 = 8;
    /// At `connections_max` an address that has more than two connections gives up one that carries nothing, for
    /// somebody at an address that has fewer (ours: else a few hosts that dial often enough take every place).
    share_places: bool = true;
    /// One peer id at two addresses of one family is two peers (ours: else whoever says the id of another can have
    /// that one's connection closed). Off: one of the two connections is closed, as most clients do.
    ids_by_address: bool = true;
    /// At `connections_max` an idle peer gives way to a newcomer of higher canonical priority (BEP 40).
    drop_by_priority: bool = true;
    /// Addresses of peers that are refused: neither dialled nor let in, whoever names them. Trackers and web seeds
    /// are no peers.
    ip_filter: IpFilter = IpFilter::default();
    /// Dials waiting for an answer at once (field).
    dials_max: u32 = 16;
    /// One dial per so much time in the long run, after `connections_max` at once (ours: where all know each
    /// other everybody would else dial everybody, again and again; libtorrent: 30 a second).
    dial_interval: Duration = secs(1);
    /// Addresses remembered for dialling (bounded so that a tracker cannot fill memory).
    addresses_max: u32 = 2000;
    /// Ports of one address that are dialled, as long as nobody there shakes hands; further ones only after
    /// `dial_backoff_max`. Whoever names a stranger's address on ever new ports has it dialled so often and no
    /// more; loopback is exempt.
    dial_ports_max: u32 = 8;
    /// Time for a dial to be answered (libtorrent: 15 s).
    connect_timeout: Duration = secs(15);
    /// Time for a handshake to arrive after the connection stands (libtorrent, rqbit: 10 s).
    handshake_timeout: Duration = secs(10);
    /// First pause after a dial that failed, and of a seed that met seeds alone; doubles (field: 5 s).
    dial_backoff_min: Duration = secs(5);
    /// The longest such pause (field: 10 min).
    dial_backoff_max: Duration = secs(600);
    /// Silence after which a keep-alive is sent (BEP 3: 2 min).
    keepalive_interval: Duration = secs(120);
    /// Silence after which a connection is closed (libtorrent: 120 s, plus jitter).
    silence_timeout: Duration = secs(150);
    /// Time without interest on either side after which a connection makes room for another peer,
    /// when there is no other room (libtorrent: 10 min; here the time between announces). Who carried nothing in
    /// that time has none when it comes back, until it carries something.
    idle_timeout: Duration = secs(60);
    /// Time after which a connection that never carried a block makes room for another peer, when there is no
    /// other room, even if we want something of it: it may claim what it does not have (libtorrent turns some
    /// peers over every 5 min).
    barren_timeout: Duration = secs(300);
    /// A seed closes its connections to other seeds (field).
    close_seed_to_seed: bool = true;
    /// Blocks in flight to a peer that has not yet shown its rate (field: 5).
    pipeline_start: u32 = 5;
    /// Blocks in flight to one peer at most (libtorrent: 500).
    pipeline_cap: u32 = 500;
    /// Time's worth of the measured rate kept in flight (libtorrent: 3 s).
    pipeline_time: Duration = secs(3);
    /// Growth of the rate, per second, below which slow start of the pipeline ends (libtorrent: 10 kB).
    pipeline_growth_min: u64 = 10_000;
    /// Requests a peer is assumed to queue while it has not said (field: 250).
    request_queue_assumed: u32 = 250;
    /// Requests that we say we queue (BEP 10 `reqq`; field: 250 to 2000).
    request_queue_told: u32 = 500;
    /// Requests of one peer that we do queue (libtorrent: 2000): clients that were not told send up
    /// to 500 at once, and without the fast extension never hear that one was dropped.
    request_queue_max: u32 = 2000;
    /// Requests of one peer that we refuse, without a block sent in between, before it is closed: a
    /// pipeline or two may be on its way when we choke.
    refused_requests_max: u32 = 1000;
    /// Longest block that we serve (BEP 3: 16 KiB; webtorrent asks for up to 128 KiB).
    request_bytes_max: u64 = 16 * KIB;
    /// Shortest time before a request counts as late.
    request_timeout_min: Duration = secs(2);
    /// Longest time before a request counts as late, and the value before 5 samples (vortex: 45 s).
    request_timeout_max: Duration = secs(45);
    /// Time unchoked without a block after which a peer is snubbed (libtorrent: 60 s).
    snub_after: Duration = secs(60);
    /// Copies at peers that snub us do not count when it is asked which piece is rare, until one of them sends a
    /// block, and who comes back owing us one is asked for one only (ours: else whoever claims what is rare and
    /// sends none of it has everybody begin something else, and holds a pipeline of it with each connection).
    snub_aware: bool = true;
    /// What happens when every missing block is requested.
    endgame: Endgame = Endgame::Bounded;
    /// Live requesters of one block in bounded end-game.
    endgame_requesters: u32 = 2;
    /// Whether started pieces are finished before new ones are begun.
    partial_first: PartialFirst = PartialFirst::UnlessRarer;
    /// Whoever sent a block of a bad piece is found out by the digests of the next good copy, and banned
    /// (libtorrent's smart ban). Without it only who sent a whole bad piece is.
    smart_ban: bool = true;
    /// A piece that failed its hash is asked of one sender alone (libtorrent's parole).
    parole: bool = true;
    /// Blocks that nobody asked for which one peer may send, over all its connections; with one more it is
    /// closed. With the fast extension the first one closes (BEP 6).
    strays_max: u32 = 16;
    /// Messages per second, in the long run, that a peer may send beside requests, their answers and what it has
    /// that we did not know; ten seconds' worth may come at once, with more it is closed. 0: no limit (ours: an honest
    /// peer says little that is neither payload nor news).
    chatter_max: u32 = 1000;
    /// Failed pieces a peer may have had a hand in before it is disconnected (Transmission: 5).
    strikes_max: u32 = 5;
    /// Peers remembered with what they gave and took, bans included; of more, those that never gave
    /// anything are forgotten first.
    senders_max: u32 = 10_000;
    /// Digests of blocks of bad copies that are kept to find out who lied; older copies go first,
    /// but for the last one.
    bad_blocks_max: u32 = 65_536;
    /// `have` is sent to peers that have the piece already (libtorrent does): with what is said to them next, or in
    /// the next choke round, unless `have_batch` is 1. Without it only to those of them that gave us some of the piece
    /// and do not claim everything: a super-seed waits for it, and hears of it at once.
    redundant_have: bool = false;
    /// Verified pieces that a peer may hear of together, if it wants something of us already and is choked, or waits
    /// for blocks of ours: with what is said to it next, or in the next choke round (Transmission: within ten seconds).
    /// At most 31, and a 64th of all pieces. 1: of each at once (libtorrent).
    have_batch: u32 = 4;
    /// Requests that are sent to a peer together when its answers have made room for them: at most so many, and a
    /// quarter of what may be open (Transmission: several). 1: each at once (libtorrent).
    request_batch: u32 = 4;
    /// Unsent bytes handed to the network per connection; the rest waits where choke can drop it.
    send_buffer: u64 = 32 * KIB;
    /// Unsent bytes, messages included, at which a peer that does not read is closed.
    send_backlog_max: u64 = 1024 * KIB;
    /// Longest extension message, its two ids included (BEP 9, 10: a metadata block of 16 KiB and its
    /// dictionary).
    extended_bytes_max: u64 = 18 * KIB;
    /// Real sockets: bytes of one connection that were read and that the engine has not looked at, above
    /// which no more is read; one read may pass it.
    unread_max: u64 = 256 * KIB;
    /// Real sockets: bytes read at once.
    read_bytes_max: u64 = 64 * KIB;
    /// Real sockets: connections from outside that the engine has not looked at; more wait in the system.
    accepted_max: u32 = 64;
    /// Real sockets: connections that the engine has closed and that still deliver what was sent, for up
    /// to half a minute; more are reset.
    lingering_max: u32 = 1024;
    /// Real sockets: datagrams that wait for the engine, and that wait for a socket; more are lost.
    datagrams_max: u32 = 256;
    /// Blocks received that the disk has not taken yet, bytes: above this no more are asked for,
    /// and at twice as much nothing is read from the network until it has.
    disk_queue_max: u64 = 8 * 1024 * KIB;
    /// Blocks asked of the disk and not yet read, bytes, over all peers: above this nothing is read from
    /// the network until it has. Only who asks and cancels in turn gets there.
    read_queue_max: u64 = 16 * 1024 * KIB;
    /// The fast extension (BEP 6).
    fast: bool = true;
    /// The extension protocol (BEP 10).
    extensions: bool = true;
    /// Pieces that a new peer may ask for while choked (BEP 6: 10; libtorrent: 5; Transmission: 0).
    /// Here none: peers of one /24 network are all allowed the same pieces, which costs a swarm of
    /// neighbours copies of the others.
    allowed_fast: u32 = 0;
    /// Pieces that a peer may allow us while choked, and suggestions of its, that are remembered.
    offers_max: u32 = 32;
    /// What a peer suggests is asked for first (BEP 6).
    heed_suggestions: bool = true;
    /// The pieces just read for one peer are suggested to others (libtorrent's `suggest_read_cache`).
    suggest_pieces: bool = false;
    /// First pause after a reject from a peer that does not choke us; doubles, to half a minute.
    reject_pause: Duration = secs(1);
    /// Peer exchange: peers tell each other whom they are connected to (BEP 11). Never of private torrents.
    pex: bool = true;
    /// Time after a peer's introduction before it is told of others for the first time (libtorrent: 5 s), in the next
    /// choke round.
    pex_delay: Duration = secs(5);
    /// Time between two messages of peer exchange to one peer (BEP 11: 1 min), at least; then it is told in the next
    /// choke round.
    pex_interval: Duration = secs(60);
    /// Shortest time between two that one peer sends; what comes sooner is not heeded (BEP 11: 1 min; here
    /// room for clocks and networks that are not even).
    pex_interval_min: Duration = secs(45);
    /// Contacts added in one message, sent or received, after the first (BEP 11: 50).
    pex_added_max: u32 = 50;
    /// Contacts added in the first message, sent or received (BEP 11: no limit).
    pex_first_max: u32 = 200;
    /// Contacts dropped in one message, sent or received (BEP 11: 50).
    pex_dropped_max: u32 = 50;
    /// Addresses in the book at once that one peer told.
    pex_contacts_max: u32 = 200;
    /// The metainfo file's `info` value is served to peers who have only its hash (BEP 9). Never of private
    /// torrents: whoever has only the hash is not meant to have the rest.
    serve_metadata: bool = true;
    /// Times the whole `info` value that one connection may ask for; more is refused.
    metadata_copies_max: u32 = 3;
    /// Longest `info` value that is fetched from peers (the metainfo parser takes 10 MiB; libtorrent: 3 MiB).
    metadata_bytes_max: u64 = 8 * 1024 * KIB;
    /// Blocks of the `info` value asked of one source at once.
    metadata_pipeline: u32 = 4;
    /// Copies of the `info` value that are put together at once: of different sizes, as sources say, or
    /// of single sources, once sources disagreed.
    metadata_drafts_max: u32 = 4;
    /// Time for a source to answer; then others are asked, and it again after as long.
    metadata_timeout: Duration = secs(10);
    /// Time for a copy to become whole while other sources wait for their turn; doubles each time.
    metadata_draft_time: Duration = secs(60);
    /// Peers asked for in one announce (chihaya: 50).
    peers_wanted: u32 = 50;
    /// Below this many connections the tracker is asked again, no sooner than its minimum interval.
    peers_low: u32 = 20;
    /// Announce interval when the tracker names none (field: 30 min).
    announce_interval: Duration = secs(1800);
    /// Shortest time between announces when the tracker names none (field: 1 min).
    announce_interval_min: Duration = secs(60);
    /// Shortest time between announces that a tracker may name: what is shorter counts as this (libtorrent: 5 min;
    /// here room for trackers of simulations).
    announce_interval_floor: Duration = secs(10);
    /// First pause after a failed announce; grows to two hours (Transmission: 20 s).
    announce_retry_min: Duration = secs(20);
    /// Time for a tracker to answer (libtorrent: 15 s and more).
    announce_timeout: Duration = secs(15);
    /// First wait for the answer of a UDP tracker; doubles with each sending in vain (BEP 15: 15 s).
    udp_retry: Duration = secs(15);
    /// Times that a request to the only tracker is sent again over UDP before it failed (BEP 15: 8).
    udp_retries: u32 = 8;
    /// The same when there are other trackers to ask instead (libtorrent gives up after 30 s).
    udp_retries_failover: u32 = 1;
    /// How long a UDP connection id is used (BEP 15: 1 min).
    udp_connection_use: Duration = secs(60);
    /// Redirects of an HTTP tracker that are followed in one announce (libtorrent: 5).
    redirects_max: u32 = 5;
    /// Longest answer of an HTTP tracker, without its head: 2,000 peers as dictionaries need 200 KiB.
    tracker_reply_max: u64 = 1024 * KIB;
    /// UDP trackers whose connection ids are kept; a name may have another address each time.
    udp_connections_max: u32 = 64;
    /// Trackers of one torrent that are asked (bounded so that a metainfo file cannot make us ask the world).
    trackers_max: u32 = 64;
    /// Web seeds of one torrent that are used (BEP 19; bounded so that a metainfo file cannot make us ask the
    /// world).
    web_seeds_max: u32 = 16;
    /// Requests at one web seed at once, each on a connection of its own: while one answer ends the next is
    /// on its way.
    web_seed_connections: u32 = 2;
    /// Requests at all web seeds at once.
    web_seed_connections_max: u32 = 8;
    /// Bytes asked of a web seed in one request, above which it goes on to no further piece.
    web_seed_run_max: u64 = 8 * 1024 * KIB;
    /// Silence of a web seed, from the name's look-up on, after which a request failed (libtorrent: 20 s).
    web_seed_timeout: Duration = secs(20);
    /// Longest pause that a web seed may ask for (`Retry-After` of RFC 9110).
    web_seed_retry_max: Duration = secs(3600);
    /// File server: connections at once; further ones are reset.
    serve_connections_max: u32 = 1024;
    /// File server: longest head of a request (nginx: 32 KiB); at least 8 KiB are taken.
    serve_head_max: u64 = 16 * KIB;
    /// File server: time without a whole request, or without taking a byte of an answer, after which a
    /// connection is closed (nginx: 75 s and 60 s).
    serve_idle_timeout: Duration = secs(30);
    /// File server: bytes read from the disk at once; of each answer two such blocks are in memory.
    serve_block_bytes: u64 = 256 * KIB;
    /// File server: entries of a directory that are listed.
    serve_listing_max: u32 = 10_000;
    /// Direct download: time for the head of an answer, the connection included (wget: 60 s and more).
    fetch_head_timeout: Duration = secs(30);
    /// Direct download: time without a byte after which a connection is given up (aria2: 60 s).
    fetch_silence_timeout: Duration = secs(30);
    /// Direct download: failures in a row, without a byte gained in between, after which it is given up.
    fetch_retries: u32 = 10;
    /// Direct download: first pause after a failure; doubles (curl: 1 s).
    fetch_retry_min: Duration = secs(1);
    /// Direct download: longest pause after a failure, and the longest that a server's `Retry-After` is
    /// heeded.
    fetch_retry_max: Duration = secs(120);
    /// Direct download: redirects that are followed on the way to one answer (wget: 20).
    fetch_redirects_max: u32 = 10;
    /// Direct download: bytes received and not yet looked at, above which nothing is read from the network.
    fetch_unread_max: u64 = 256 * KIB;
    /// Direct download: bytes after which the disk makes what it has durable: so many may have to be fetched
    /// again after a crash.
    fetch_sync_bytes: u64 = 16 * 1024 * KIB;
    /// How much of the session's own book-keeping is recomputed after every input.
    audit: Audit = Audit::Off;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_settable_by_its_name_and_kind() {
        let mut config = EngineConfig::default();
        for field in FIELDS {
            let value = match field.kind {
                FieldKind::Duration => FieldValue::Duration(secs(7)),
                FieldKind::Bytes => FieldValue::Bytes(7),
                FieldKind::Rate => FieldValue::Rate(7),
                FieldKind::Count => FieldValue::Count(7),
                FieldKind::Switch => FieldValue::Switch(true),
                FieldKind::Choice(words) => FieldValue::Choice(words[0].to_owned()),
                FieldKind::Addresses => FieldValue::Addresses(IpFilter::default()),
            };
            assert_eq!(config.set(field.name, &value), Ok(()), "{}", field.name);
        }
        assert_eq!(config.upload_slots, 7);
        assert_eq!(
            config.set("upload_slots", &FieldValue::Switch(true)),
            Err(SetError::BadValue("upload_slots"))
        );
    }
}
