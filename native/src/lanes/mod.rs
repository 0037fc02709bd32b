//! SHA-512's compression function on several blocks at once, where the processor can.
//!
//! Ten blocks of SHA-512 are more than half of what a value costs. Side by side in the lanes of
//! AVX-512's registers eight of them take less than twice the time of one by itself, and two little
//! more than one.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod eight;
#[cfg(target_arch = "x86_64")]
mod one;
#[cfg(target_arch = "x86_64")]
mod pair;

use std::slice::from_ref;

#[cfg(target_arch = "x86_64")]
pub use avx512::Lanes;

use crate::wiped::Wiped;

/// How many blocks are compressed at once, at most.
pub const LANES: usize = 8;
/// What each of `N` messages was hashed to so far: the same word of each stands together.
pub type State<const N: usize> = [[u64; N]; 8];
/// A block of each.
pub type Block<const N: usize> = [[u64; N]; 16];

/// SHA-512's initial value.
pub const START: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// SHA-512's compression function on `N` blocks.
pub trait Compress<const N: usize>: Copy {
    /// Replaces each state by the one after one more block.
    fn compress(self, state: &mut State<N>, block: &Block<N>);
}

/// The library, which compresses one block after another, on every processor.
#[derive(Clone, Copy)]
pub struct Library;

impl<const N: usize> Compress<N> for Library {
    fn compress(self, state: &mut State<N>, block: &Block<N>) {
        for lane in 0..N {
            let mut one = Wiped::new(state.map(|word| of_lane(&word, lane)));
            let mut bytes = Wiped::new([0; 128]);
            for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(block) {
                *place = of_lane(word, lane).to_be_bytes();
            }
            sha2::block_api::compress512(&mut one, from_ref(&*bytes));
            for (word, one) in state.iter_mut().zip(*one) {
                word.iter_mut().skip(lane).take(1).for_each(|place| *place = one);
            }
        }
    }
}

/// The word that stands in a lane.
pub fn of_lane<const N: usize>(word: &[u64; N], lane: usize) -> u64 {
    word.get(lane).copied().unwrap_or(0)
}

/// No other processor has lanes that are worth while.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub struct Lanes(std::convert::Infallible);

#[cfg(not(target_arch = "x86_64"))]
impl Lanes {
    /// `None`.
    pub fn found() -> Option<Self> {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl<const N: usize> Compress<N> for Lanes {
    /// Is never called.
    fn compress(self, _: &mut State<N>, _: &Block<N>) {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Compress, LANES, Lanes, Library, START, State};

    /// Random blocks, of which no two lanes have the same, one after another.
    fn is_compressed_as_by_the_library<const N: usize>(lanes: impl Compress<N>) {
        let mut state: State<N> = START.map(|word| [word; N]);
        let mut random = 15_u64;
        for _ in 0..1000 {
            let mut block: Block<N> = [[0; N]; 16];
            for word in block.iter_mut().flatten() {
                // Knuth's linear congruential generator; its high bits are random enough.
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *word = random.rotate_left(32);
            }
            let mut expected = state;
            Library.compress(&mut expected, &block);
            lanes.compress(&mut state, &block);
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn each_lane_is_compressed_as_by_the_library() {
        let Some(lanes) = Lanes::found() else {
            return; // nothing is compressed in lanes here
        };
        is_compressed_as_by_the_library::<LANES>(lanes);
        is_compressed_as_by_the_library::<2>(lanes);
        is_compressed_as_by_the_library::<1>(lanes);
    }

    #[test]
    fn the_library_compresses_as_sha_512_says() {
        // The one block of "abc", FIPS 180-2, C.1.
        let mut block: Block<3> = [[0; 3]; 16];
        let [first, .., length] = &mut block;
        (*first, *length) = ([0x6162_6380_0000_0000; 3], [24; 3]);
        let mut state: State<3> = START.map(|word| [word; 3]);
        Library.compress(&mut state, &block);
        let [first, .., last] = state;
        assert_eq!((first, last), ([0xddaf_35a1_9361_7aba; 3], [0x2a9a_c94f_a54c_a49f; 3]));
    }
}
