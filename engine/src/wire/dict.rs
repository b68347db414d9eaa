//! Owns writing the small bencoded dictionaries of extension messages, straight into their bytes: each
//! connection begins with one, and many say where their neighbours are.
//!
//! Invariant: keys are written in order, none twice (BEP 3); debug builds assert it.

use bytes::Bytes;

/// A dictionary that is being written.
#[derive(Debug)]
pub(super) struct Dict {
    bytes: Vec<u8>,
    /// Where the last key of the dictionary that is written now stands; 0: it has none yet.
    #[cfg(debug_assertions)]
    last_key: std::ops::Range<usize>,
}

impl Dict {
    /// An empty one, of about so many bytes when it is done.
    pub(super) fn new(bytes: usize) -> Dict {
        let mut room = Vec::with_capacity(bytes);
        room.push(b'd');
        Dict {
            bytes: room,
            #[cfg(debug_assertions)]
            last_key: 0..0,
        }
    }

    /// An integer, if there is one.
    pub(super) fn integer(&mut self, key: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.key(key);
            self.bytes.push(b'i');
            self.number(value.into());
            self.bytes.push(b'e');
        }
    }

    /// A byte string.
    pub(super) fn string(&mut self, key: &str, value: &[u8]) {
        self.parts(key, value.len(), |bytes| bytes.extend_from_slice(value));
    }

    /// A byte string of this length, which is written part by part.
    pub(super) fn parts(&mut self, key: &str, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.length(len);
        let end = self.bytes.len() + len;
        write(&mut self.bytes);
        debug_assert_eq!(self.bytes.len(), end, "as long as announced");
    }

    /// A dictionary inside.
    pub(super) fn dict(&mut self, key: &str, write: impl FnOnce(&mut Dict)) {
        self.key(key);
        #[cfg(debug_assertions)]
        let outer = std::mem::replace(&mut self.last_key, 0..0);
        self.bytes.push(b'd');
        write(self);
        self.bytes.push(b'e');
        #[cfg(debug_assertions)]
        {
            self.last_key = outer;
        }
    }

    /// The finished dictionary.
    pub(super) fn finish(mut self) -> Bytes {
        self.bytes.push(b'e');
        Bytes::from(self.bytes)
    }

    fn key(&mut self, key: &str) {
        #[cfg(debug_assertions)]
        assert!(
            self.last_key.is_empty() || &self.bytes[self.last_key.clone()] < key.as_bytes(),
            "`{key}` is out of order"
        );
        self.length(key.len());
        self.bytes.extend_from_slice(key.as_bytes());
        #[cfg(debug_assertions)]
        {
            let end = self.bytes.len();
            self.last_key = end - key.len()..end;
        }
    }

    fn length(&mut self, len: usize) {
        self.number(len as u64);
        self.bytes.push(b':');
    }

    fn number(&mut self, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.bytes
            .extend_from_slice(digits.format(value).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_bencode() {
        let mut dict = Dict::new(0);
        dict.dict("m", |names| {
            names.integer("a", Some(u64::MAX));
            names.integer("b", None::<u8>);
            names.integer("c", Some(0_u8));
        });
        dict.string("p", b"");
        dict.parts("q", 12, |bytes| bytes.extend([b'x'; 12]));
        let wanted = b"d1:md1:ai18446744073709551615e1:ci0ee1:p0:1:q12:xxxxxxxxxxxxe";
        assert_eq!(&dict.finish()[..], wanted);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "`a` is out of order")]
    fn keys_out_of_order_are_a_bug() {
        let mut dict = Dict::new(0);
        dict.string("b", b"");
        dict.string("a", b"");
    }
}
