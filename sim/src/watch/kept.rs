//! Owns a writer whose bytes stay in memory, for who reads a trace or a capture when the run is over.
//!
//! Invariant: all clones write to one place.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// Bytes that stay in memory. A run takes one clone as its writer, the caller keeps another.
#[derive(Clone, Debug, Default)]
pub struct Kept(Rc<RefCell<Vec<u8>>>);

impl Kept {
    /// What was written since it was taken last.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    /// The same as text.
    ///
    /// # Panics
    /// When it is not UTF-8, as every trace is.
    #[must_use]
    pub fn take_text(&self) -> String {
        String::from_utf8(self.take()).expect("traces are text")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
