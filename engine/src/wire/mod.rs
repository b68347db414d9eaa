//! The peer wire protocol (BEP 3, 4, 6, 10): messages, their bytes, the handshakes.

pub mod chunk;
pub mod codec;
mod counts;
mod dict;
pub mod extension;
pub mod handshake;
pub mod message;
pub mod metadata;
pub mod pex;

pub use chunk::Chunk;
pub use codec::{Decoder, WireError};
pub use counts::MessageCounts;
pub use handshake::Handshake;
pub use message::Message;
