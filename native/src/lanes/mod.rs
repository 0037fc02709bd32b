//! SHA-512's compression function on eight blocks at once, where the processor can.
//!
//! Ten blocks of SHA-512 are more than half of what a value costs. Side by side in the lanes of
//! AVX-512's registers eight of them take about as long as one by itself.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub use avx512::Lanes;

/// How many blocks are compressed at once.
pub const LANES: usize = 8;
/// The same word of each of them.
pub type Lane = [u64; LANES];
/// What each was hashed to so far.
pub type State = [Lane; 8];
/// The blocks.
pub type Block = [Lane; 16];

/// SHA-512's initial value.
pub const START: State = [
    [0x6a09_e667_f3bc_c908; LANES],
    [0xbb67_ae85_84ca_a73b; LANES],
    [0x3c6e_f372_fe94_f82b; LANES],
    [0xa54f_f53a_5f1d_36f1; LANES],
    [0x510e_527f_ade6_82d1; LANES],
    [0x9b05_688c_2b3e_6c1f; LANES],
    [0x1f83_d9ab_fb41_bd6b; LANES],
    [0x5be0_cd19_137e_2179; LANES],
];

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

    /// Is never called.
    pub fn compress(self, _: &State, _: &Block) -> State {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, LANES, Lanes, START, State};

    /// The state of one lane after one block, by the library.
    fn expected(state: &State, block: &Block, lane: usize) -> Option<[u64; 8]> {
        let words = |words: &[[u64; LANES]]| -> Option<Vec<u64>> {
            words.iter().map(|word| word.get(lane).copied()).collect()
        };
        let mut state: [u64; 8] = words(state)?.try_into().ok()?;
        let bytes: Vec<u8> = words(block)?.into_iter().flat_map(u64::to_be_bytes).collect();
        let bytes: [u8; 128] = bytes.try_into().ok()?;
        sha2::block_api::compress512(&mut state, &[bytes]);
        Some(state)
    }

    #[test]
    fn each_lane_is_compressed_as_sha_512_says() -> Result<(), &'static str> {
        let Some(lanes) = Lanes::found() else {
            return Ok(()); // nothing is compressed in lanes here
        };
        let mut state = START;
        let mut random = 15_u64;
        for _ in 0..1000 {
            let mut block = Block::default();
            for word in block.iter_mut().flatten() {
                // Knuth's linear congruential generator; its high bits are random enough.
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *word = random.rotate_left(32);
            }
            let after = lanes.compress(&state, &block);
            for lane in 0..LANES {
                let found: Option<Vec<u64>> =
                    after.iter().map(|word| word.get(lane).copied()).collect();
                let expected = expected(&state, &block, lane).ok_or("no such lane")?;
                assert_eq!(found.as_deref(), Some(expected.as_slice()), "lane {lane}");
            }
            state = after;
        }
        Ok(())
    }
}
