//! HMAC, RFC 2104, over SHA-512, of messages of one block.

use crate::lanes::{Block, Compress, START, State, of_lane};
use crate::wiped::Wiped;

const INNER_PAD: u64 = 0x3636_3636_3636_3636;
const OUTER_PAD: u64 = 0x5c5c_5c5c_5c5c_5c5c;
const PAD_BYTES: u64 = 128;

/// A key for each of `N` messages: what SHA-512 comes to after its two pads.
pub struct Keyed<const N: usize> {
    inner: Wiped<State<N>>,
    outer: Wiped<State<N>>,
}

impl<const N: usize> Keyed<N> {
    /// The keys whose words stand side by side, one pad after the other.
    pub fn new(hash: impl Compress<N>, key: &[[u64; N]]) -> Self {
        let [inner, outer] = [INNER_PAD, OUTER_PAD].map(|pad| {
            let mut state = Wiped::new(START.map(|word| [word; N]));
            hash.compress(&mut state, &padded(key, [pad; N]));
            state
        });
        Self { inner, outer }
    }

    /// The codes of the messages that come after the inner pads as [`last_block`] has them.
    pub fn authenticated(&self, hash: impl Compress<N>, block: &Block<N>) -> Wiped<State<N>> {
        let mut digest = self.inner.clone();
        hash.compress(&mut digest, block);
        let mut code = self.outer.clone();
        hash.compress(&mut code, &last_block(&*digest, 64));
        code
    }
}

impl Keyed<1> {
    /// One key, its two pads side by side.
    pub fn in_pair<const M: usize>(hash: impl Compress<2>, key: &[[u64; 1]; M]) -> Self {
        let word = |place: usize| key.get(place).map_or(0, |[word]| *word);
        let pads = |place| [INNER_PAD ^ word(place), OUTER_PAD ^ word(place)];
        let block = Wiped::new(std::array::from_fn(pads));
        let mut states = Wiped::new(START.map(|word| [word; 2]));
        hash.compress(&mut states, &block);
        let [inner, outer] =
            [0, 1].map(|lane| Wiped::new(states.map(|word| [of_lane(&word, lane)])));
        Self { inner, outer }
    }

    /// The same key for two messages.
    pub fn twice(&self) -> Keyed<2> {
        let [inner, outer] =
            [&self.inner, &self.outer].map(|state| Wiped::new(state.map(|[word]| [word; 2])));
        Keyed { inner, outer }
    }
}

fn padded<const N: usize>(key: &[[u64; N]], pad: [u64; N]) -> Wiped<Block<N>> {
    let mut block = Wiped::new([pad; 16]);
    for (words, key) in block.iter_mut().zip(key) {
        for (word, key) in words.iter_mut().zip(key) {
            *word ^= key;
        }
    }
    block
}

/// The block of messages of so many bytes, of at most 13 words, which comes after that of a pad.
pub fn last_block<const N: usize>(words: &[[u64; N]], bytes: u64) -> Wiped<Block<N>> {
    let mut block = Wiped::new([[0; N]; 16]);
    let end = std::iter::once([1 << 63; N]);
    for (place, word) in block.iter_mut().zip(words.iter().copied().chain(end)) {
        *place = word;
    }
    let [.., length] = &mut *block;
    *length = [bits(bytes); N];
    block
}

/// How many bits are hashed with `bytes` that come after a pad.
pub fn bits(bytes: u64) -> u64 {
    bytes.wrapping_add(PAD_BYTES).wrapping_mul(8)
}
