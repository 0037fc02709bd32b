//! What must not stay in memory.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// An array that is wiped when it is dropped.
///
/// In a few wide stores, where `Zeroizing` takes one for each element of an array.
#[derive(Clone)]
pub struct Wiped<T: Wipe>(T);

/// An array that can be wiped as one slice.
pub trait Wipe {
    /// Overwrites it with zeros.
    fn wipe(&mut self);
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

impl<const N: usize> Wipe for [u32; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

impl<const N: usize> Wipe for [u64; N] {
    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

impl<const N: usize, const M: usize> Wipe for [[u64; N]; M] {
    fn wipe(&mut self) {
        self.as_flattened_mut().zeroize();
    }
}

impl<T: Wipe> Wiped<T> {
    /// An array that is to be wiped.
    pub fn new(array: T) -> Self {
        Self(array)
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Wipe;

    #[test]
    fn nothing_of_an_array_is_left() {
        let (mut bytes, mut words, mut lanes) = ([1_u8; 33], [1_u64; 5], [[1_u64; 3]; 16]);
        bytes.wipe();
        words.wipe();
        lanes.wipe();
        assert_eq!((bytes, words, lanes), ([0; 33], [0; 5], [[0; 3]; 16]));
    }
}
