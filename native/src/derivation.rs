//! The algorithm suite's key derivation with commitment: HKDF over SHA-512.
//!
//! From a data key and a message id to the key that encrypts the message, and to what commits to
//! the data key. One message's ten blocks wait for each other, and the library hashes them; those
//! of eight messages stand side by side in the lanes of the processor's registers, if it has any.

use std::sync::LazyLock;

use aws_lc_rs::aead::LessSafeKey;
use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::keys::aes;
use crate::lanes::{Block, LANES, Lane, Lanes, START, State};

const MESSAGE_KEY: &[u8; 11] = b"\x04\x78DERIVEKEY";
const COMMITMENT: &[u8; 9] = b"COMMITKEY";

/// In every lane, what the key of a message is expanded with.
static KEY_INFO: LazyLock<Block> = LazyLock::new(|| info(MESSAGE_KEY));
/// The same of what commits to the data key.
static COMMITMENT_INFO: LazyLock<Block> = LazyLock::new(|| info(COMMITMENT));

// HMAC, RFC 2104.
const INNER_PAD: u64 = 0x3636_3636_3636_3636;
const OUTER_PAD: u64 = 0x5c5c_5c5c_5c5c_5c5c;
const PAD_BYTES: u64 = 128;

/// What the keys of a message are derived from: its data key and its id.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Is wrapped in the message.
    pub data_key: &'a [u8; 32],
    /// The salt.
    pub message_id: &'a [u8; 32],
}

/// The cipher of a message, and the 32 bytes that commit to its data key.
pub struct Derived {
    /// Encrypts the message.
    pub cipher: LessSafeKey,
    /// Stands in its header.
    pub commitment: [u8; 32],
}

impl Derived {
    fn of(key: &[u8; 32], commitment: [u8; 32]) -> Option<Self> {
        Some(Self { cipher: aes(key)?, commitment })
    }
}

/// What is derived for some messages, at most eight; `None` in the place of none.
pub fn derive_each(sources: &[Option<Source<'_>>]) -> [Option<Derived>; LANES] {
    match Lanes::found() {
        Some(lanes) if sources.iter().flatten().count() > 2 => side_by_side(lanes, sources),
        _ => {
            let mut each = sources.iter();
            std::array::from_fn(|_| derive((*each.next()?)?))
        }
    }
}

/// What is derived for one message.
pub fn derive(source: Source<'_>) -> Option<Derived> {
    let hkdf = Hkdf::<Sha512>::new(Some(source.message_id), source.data_key);
    let mut key = Zeroizing::new([0; 32]);
    hkdf.expand(MESSAGE_KEY, &mut *key).ok()?;
    let mut commitment = [0; 32];
    hkdf.expand(COMMITMENT, &mut commitment).ok()?;
    Derived::of(&key, commitment)
}

/// Of eight messages, each in its lane.
fn side_by_side(lanes: Lanes, sources: &[Option<Source<'_>>]) -> [Option<Derived>; LANES] {
    let salts = laid_out(sources, |source| source.message_id);
    let data_keys = laid_out(sources, |source| source.data_key);
    let extracted = Keyed::new(lanes, &*salts).authenticated(lanes, &message(&*data_keys, 32));
    let keyed = Keyed::new(lanes, &*extracted);
    let keys = keyed.authenticated(lanes, &KEY_INFO);
    let commitments = keyed.authenticated(lanes, &COMMITMENT_INFO);
    std::array::from_fn(|lane| {
        (*sources.get(lane)?)?;
        Derived::of(&of_lane(&*keys, lane), *of_lane(&*commitments, lane))
    })
}

/// HMAC-SHA-512 under a key for each lane: the states after its two pads.
struct Keyed {
    inner: Zeroizing<State>,
    outer: Zeroizing<State>,
}

impl Keyed {
    fn new(lanes: Lanes, key: &[Lane]) -> Self {
        let inner = padded(key, INNER_PAD);
        let outer = padded(key, OUTER_PAD);
        Self {
            inner: Zeroizing::new(lanes.compress(&START, &inner)),
            outer: Zeroizing::new(lanes.compress(&START, &outer)),
        }
    }

    /// The code of a message for each lane, of one block.
    fn authenticated(&self, lanes: Lanes, block: &Block) -> Zeroizing<State> {
        let digest = Zeroizing::new(lanes.compress(&self.inner, block));
        Zeroizing::new(lanes.compress(&self.outer, &message(&*digest, 64)))
    }
}

fn padded(key: &[Lane], pad: u64) -> Zeroizing<Block> {
    let mut block = Zeroizing::new([[pad; LANES]; 16]);
    for (words, key) in block.iter_mut().zip(key) {
        for (word, key) in words.iter_mut().zip(key) {
            *word ^= key;
        }
    }
    block
}

/// A message's last block, which comes after that of a pad.
///
/// `bytes` is how many they are, of at most 13 words.
fn message(words: &[Lane], bytes: u64) -> Zeroizing<Block> {
    let mut block = Zeroizing::new([[0; LANES]; 16]);
    let end = std::iter::once([1 << 63; LANES]);
    for (place, word) in block.iter_mut().zip(words.iter().copied().chain(end)) {
        *place = word;
    }
    let [.., length] = &mut *block;
    *length = [bits(bytes); LANES];
    block
}

/// The block of a label and the number 1, as HKDF expands it, RFC 5869.
fn info<const N: usize>(label: &[u8; N]) -> Block {
    let mut bytes = [0; 128];
    for (place, byte) in bytes.iter_mut().zip(label.iter().copied().chain([1, 0x80])) {
        *place = byte;
    }
    let mut block = [[0; LANES]; 16];
    for (word, bytes) in block.iter_mut().zip(bytes.as_chunks().0) {
        *word = [u64::from_be_bytes(*bytes); LANES];
    }
    let [.., length] = &mut block;
    *length = [u64::try_from(N).map_or(0, |size| bits(size.wrapping_add(1))); LANES];
    block
}

/// How many bits are hashed with `bytes` that come after a pad.
fn bits(bytes: u64) -> u64 {
    bytes.wrapping_add(PAD_BYTES).wrapping_mul(8)
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut each = bytes.as_chunks().0.iter();
    std::array::from_fn(|_| each.next().map_or(0, |word| u64::from_be_bytes(*word)))
}

/// 32 bytes of each message, in its lane.
fn laid_out<'a>(
    sources: &[Option<Source<'a>>],
    of: impl Fn(Source<'a>) -> &'a [u8; 32],
) -> Zeroizing<[Lane; 4]> {
    let mut found = Zeroizing::new([[0; LANES]; 4]);
    for (lane, source) in sources.iter().enumerate() {
        let Some(source) = source else { continue };
        for (place, word) in found.iter_mut().zip(words(of(*source))) {
            if let Some(place) = place.get_mut(lane) {
                *place = word;
            }
        }
    }
    found
}

/// The first 32 bytes in a lane.
fn of_lane(words: &[Lane], lane: usize) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.get(lane).copied().unwrap_or(0).to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Derived, Source, derive, derive_each};
    use crate::keys::seal_in_place;

    /// What tells two derivations apart: the commitment, and a tag under the key.
    fn told(derived: Option<Derived>) -> Option<([u8; 32], [u8; 16])> {
        let derived = derived?;
        let tag = seal_in_place(&derived.cipher, &[0; 12], b"", &mut [])?;
        Some((derived.commitment, tag))
    }

    fn inputs(count: u8) -> Vec<([u8; 32], [u8; 32])> {
        let of = |number: u8, start: u8| {
            std::array::from_fn(|place| {
                let place = u8::try_from(place).unwrap_or(0);
                place.wrapping_mul(37).wrapping_add(start).wrapping_mul(number.wrapping_add(3))
            })
        };
        (0..count).map(|number| (of(number, 1), of(number, 101))).collect()
    }

    #[test]
    fn what_is_derived_at_once_is_what_the_library_derives() {
        let inputs = inputs(200);
        for some in inputs.chunks(8) {
            let sources: Vec<_> = some
                .iter()
                .map(|(data_key, message_id)| Some(Source { data_key, message_id }))
                .collect();
            for (source, derived) in sources.iter().flatten().zip(derive_each(&sources)) {
                let expected = told(derive(*source));
                assert!(expected.is_some());
                assert_eq!(told(derived), expected);
            }
        }
    }

    #[test]
    fn what_is_not_there_has_no_keys() {
        let inputs = inputs(8);
        for absent in 0..256_u32 {
            let sources: Vec<_> = inputs
                .iter()
                .enumerate()
                .map(|(lane, (data_key, message_id))| {
                    (absent >> lane & 1 == 0).then_some(Source { data_key, message_id })
                })
                .collect();
            for (source, derived) in sources.iter().zip(derive_each(&sources)) {
                assert_eq!(told(derived), source.and_then(|source| told(derive(source))));
            }
        }
        assert!(derive_each(&[]).iter().all(Option::is_none));
    }
}
