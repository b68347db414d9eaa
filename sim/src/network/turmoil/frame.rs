//! Owns what crosses a turmoil connection: frames that carry, beside the bytes, when they arrive.
//!
//! Invariant: turmoil is the carrier, never the clock. A frame is written well before it is due and says
//! itself when that is; what is counted is numbered, so that one that turmoil lost cannot go unseen.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame's head: its kind, two numbers, and how many bytes of data follow.
pub(super) const HEAD: usize = 1 + 8 + 8 + 4;

/// One message from one end of a connection to the other. Times are ns since the start of the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// The dialler's acknowledgement: when the other end knows that the connection stands, and when the path
    /// breaks it, if ever.
    Hello {
        opens: u64,
        breaks: Option<u64>,
    },
    Data {
        at: u64,
        /// Frames with data or a farewell before this one.
        number: u64,
        data: Bytes,
    },
    /// The program at the other end has read so many bytes.
    Ack {
        at: u64,
        bytes: u64,
    },
    /// The program finished.
    Fin {
        at: u64,
        number: u64,
    },
    Reset {
        at: u64,
    },
    /// The sender is gone, and its host could not tell. No host hears of it; it is how machines know what will
    /// not be acknowledged.
    Gone,
}

impl Frame {
    pub(super) fn encode(&self) -> Bytes {
        let none = Bytes::new();
        let (kind, first, second, data) = match self {
            Frame::Hello { opens, breaks } => (0, *opens, breaks.unwrap_or(u64::MAX), &none),
            Frame::Data { at, number, data } => (1, *at, *number, data),
            Frame::Ack { at, bytes } => (2, *at, *bytes, &none),
            Frame::Fin { at, number } => (3, *at, *number, &none),
            Frame::Reset { at } => (4, *at, 0, &none),
            Frame::Gone => (5, 0, 0, &none),
        };
        let mut out = BytesMut::with_capacity(HEAD + data.len());
        out.put_u8(kind);
        out.put_u64(first);
        out.put_u64(second);
        out.put_u32(u32::try_from(data.len()).expect("a parcel is short"));
        out.put_slice(data);
        out.freeze()
    }

    /// The next whole frame of a stream.
    ///
    /// # Panics
    /// When it is none: a bug in this folder.
    pub(super) fn next(input: &mut BytesMut) -> Option<Frame> {
        let mut head = input.get(..HEAD)?;
        let (kind, first, second) = (head.get_u8(), head.get_u64(), head.get_u64());
        let len = head.get_u32() as usize;
        if input.len() < HEAD + len {
            return None;
        }
        input.advance(HEAD);
        let data = input.split_to(len).freeze();
        Some(match kind {
            0 => Frame::Hello {
                opens: first,
                breaks: (second < u64::MAX).then_some(second),
            },
            1 => Frame::Data {
                at: first,
                number: second,
                data,
            },
            2 => Frame::Ack {
                at: first,
                bytes: second,
            },
            3 => Frame::Fin {
                at: first,
                number: second,
            },
            4 => Frame::Reset { at: first },
            5 => Frame::Gone,
            kind => panic!("there is no frame {kind}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let data = Bytes::from_static(b"some bytes");
        let frames = [
            Frame::Hello {
                opens: 1,
                breaks: None,
            },
            Frame::Hello {
                opens: 1,
                breaks: Some(2),
            },
            Frame::Data {
                at: 3,
                number: 4,
                data,
            },
            Frame::Ack { at: 5, bytes: 6 },
            Frame::Fin { at: 7, number: 8 },
            Frame::Reset { at: 9 },
            Frame::Gone,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|f| f.encode().to_vec()).collect();
        for step in [1, 7, bytes.len()] {
            let (mut input, mut found) = (BytesMut::new(), Vec::new());
            for part in bytes.chunks(step) {
                input.extend_from_slice(part);
                while let Some(frame) = Frame::next(&mut input) {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames);
        }
    }
}
