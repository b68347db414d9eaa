//! Owns the attack `metadata-liar`: says that it serves the metainfo (BEP 9) and sends wrong bytes, to
//! some of a wrong size. Of the content it has nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skep_engine::ConnId;
use skep_engine::wire::Message;
use skep_engine::wire::extension::{ExtendedHandshake, HANDSHAKE_ID};
use skep_engine::wire::handshake::{EXTENSIONS, reserved};
use skep_engine::wire::metadata::{METADATA_ID, MetadataMessage, metadata_block};

use super::raw::{Attacker, RawIo};
use crate::content::Content;
use crate::trace::Attack;

/// One connection in so many hears of a wrong size.
const WRONG_SIZE_ONE_IN: u64 = 4;

/// What one connection was told.
struct Victim {
    /// Its id for `ut_metadata`; 0: it has named none.
    id: u8,
    /// The size that it was told.
    size: u32,
}

/// The attacker.
pub(super) struct MetadataLiar {
    content: Arc<Content>,
    rng: ChaCha8Rng,
    victims: BTreeMap<ConnId, Victim>,
}

impl MetadataLiar {
    pub(super) fn new(content: Arc<Content>, rng: ChaCha8Rng) -> MetadataLiar {
        MetadataLiar {
            content,
            rng,
            victims: BTreeMap::new(),
        }
    }

    /// A block with some bytes wrong; of a wrong size nothing in it is right.
    fn block(&mut self, size: u32, block: u32) -> Option<Bytes> {
        let range = metadata_block(size, block)?;
        let truth = self.content.metainfo.info_bytes.get(range.clone());
        let mut wrong = match truth {
            Some(truth) => BytesMut::from(truth),
            None => BytesMut::zeroed(range.len()),
        };
        let len = u64::try_from(wrong.len()).expect("a block");
        let at = usize::try_from(self.rng.next_u64() % len).expect("in a block");
        wrong[at] ^= 1 << (self.rng.next_u32() % 8);
        Some(wrong.freeze())
    }
}

impl Attacker for MetadataLiar {
    fn claims_complete(&self) -> bool {
        true
    }

    fn capabilities(&self) -> [u8; 8] {
        reserved(&[EXTENSIONS])
    }

    fn on_open(&mut self, io: &mut RawIo, conn: ConnId) {
        if !io.active() {
            return;
        }
        let truth = u32::try_from(self.content.metainfo.info_bytes.len()).expect("a small file");
        let wrong = self.rng.next_u64().is_multiple_of(WRONG_SIZE_ONE_IN);
        let size = truth + u32::from(wrong);
        self.victims.insert(conn, Victim { id: 0, size });
        let introduction = ExtendedHandshake {
            metadata: Some(METADATA_ID),
            metadata_size: Some(size),
            ..ExtendedHandshake::default()
        };
        io.send(conn, &introduction.message());
    }

    fn on_message(&mut self, io: &mut RawIo, conn: ConnId, message: Message) {
        let Message::Extended { id, payload } = message else {
            return;
        };
        let Some(victim) = self.victims.get_mut(&conn) else {
            return;
        };
        if id == HANDSHAKE_ID {
            let said = ExtendedHandshake::read(&payload).ok();
            victim.id = said.and_then(|said| said.metadata).unwrap_or(victim.id);
            return;
        }
        let (takes, size) = (victim.id, victim.size);
        let Ok(Some(MetadataMessage::Request { block })) = MetadataMessage::read(&payload) else {
            return;
        };
        let Some(data) = self
            .block(size, block)
            .filter(|_| takes != 0 && io.active())
        else {
            return;
        };
        io.tell(Attack::Acted);
        let lie = MetadataMessage::Data {
            block,
            total: size,
            data,
        };
        io.send(conn, &lie.message(takes));
    }

    fn on_gone(&mut self, _io: &mut RawIo, conn: ConnId) {
        self.victims.remove(&conn);
    }
}
