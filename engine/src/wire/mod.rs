//! The peer wire protocol (BEP 3): messages, their bytes, the handshake.

pub mod codec;
pub mod handshake;
pub mod message;

pub use codec::{Decoder, WireError};
pub use handshake::Handshake;
pub use message::Message;
