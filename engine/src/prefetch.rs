//! Owns asking for memory before it is needed.
//!
//! Invariant: it changes nothing, and nobody waits for it. A swarm of thousands is larger than any cache: what is
//! looked at next, in no order, would be waited for line by line; asked for together, these lines come together. An
//! address at which nothing lies any more costs a line of the cache. Addresses differ from run to run: they are asked for,
//! and never compared, ordered or told.

use prefetch_index::prefetch_index;

/// Bytes of a line of memory.
pub const LINE: usize = 64;

/// Asks for so many lines from an address on.
#[inline]
pub fn lines(address: usize, lines: usize) {
    const NOTHING: &[u8] = &[];
    let from = address.wrapping_sub(NOTHING.as_ptr().addr());
    for line in 0..lines {
        prefetch_index(NOTHING, from.wrapping_add(line * LINE));
    }
}

/// Asks for the first line of a value.
#[inline]
pub fn front<T: ?Sized>(value: &T) {
    lines(address_of(value), 1);
}

/// Asks for all lines of a value.
#[inline]
pub fn value<T>(value: &T) {
    lines(address_of(value), size_of::<T>().div_ceil(LINE));
}

/// Asks for all lines of a list.
#[inline]
pub fn value_of<T>(list: &[T]) {
    lines(address_of(list), size_of_val(list).div_ceil(LINE));
}

/// Where a value lies.
#[inline]
pub fn address_of<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).addr()
}
