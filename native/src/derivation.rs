//! The algorithm suite's key derivation with commitment: HKDF over SHA-512.
//!
//! From a data key and a message id to the key that encrypts the message, and to what commits to
//! the data key. That takes ten blocks. Of one message two pads, and what is expanded to the two,
//! are hashed side by side, which leaves six steps that wait for each other; of eight messages the
//! blocks of each step are.

use std::sync::LazyLock;

use aws_lc_rs::aead::LessSafeKey;

use crate::hmac::{Keyed, bits, last_block};
use crate::keys::aes;
use crate::lanes::{Block, Compress, LANES, Lanes, Library, State, of_lane};
use crate::wiped::Wiped;

const MESSAGE_KEY: &[u8; 11] = b"\x04\x78DERIVEKEY";
const COMMITMENT: &[u8; 9] = b"COMMITKEY";

/// What the key of a message is expanded with, in one lane, and what commits to the data key, in
/// the other.
static INFO: LazyLock<Block<2>> = LazyLock::new(|| {
    let each = info(MESSAGE_KEY).into_iter().zip(info(COMMITMENT));
    let mut block = [[0; 2]; 16];
    for (words, (key, commitment)) in block.iter_mut().zip(each) {
        *words = [key, commitment];
    }
    block
});
/// In every lane, what the key of a message is expanded with.
static KEY_INFO: LazyLock<Block<LANES>> =
    LazyLock::new(|| info(MESSAGE_KEY).map(|word| [word; LANES]));
/// The same of what commits to the data key.
static COMMITMENT_INFO: LazyLock<Block<LANES>> =
    LazyLock::new(|| info(COMMITMENT).map(|word| [word; LANES]));

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
    /// What stands in two lanes.
    fn of<const N: usize>(
        (keys, lane): (&State<N>, usize),
        (commitments, other): (&State<N>, usize),
    ) -> Option<Self> {
        let cipher = aes(&*bytes_of_lane(keys, lane))?;
        Some(Self { cipher, commitment: *bytes_of_lane(commitments, other) })
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
    match Lanes::found() {
        Some(lanes) => in_pairs(lanes, source),
        None => in_pairs(Library, source),
    }
}

fn in_pairs(hash: impl Compress<1> + Compress<2>, source: Source<'_>) -> Option<Derived> {
    let salted = Keyed::in_pair(hash, &words(source.message_id).map(|word| [word]));
    let data_key = Wiped::new(words(source.data_key).map(|word| [word]));
    let extracted = salted.authenticated(hash, &last_block(&*data_key, 32));
    let keys = Keyed::in_pair(hash, &extracted).twice().authenticated(hash, &INFO);
    Derived::of((&keys, 0), (&keys, 1))
}

/// Of eight messages, each in its lane.
fn side_by_side(
    hash: impl Compress<LANES>,
    sources: &[Option<Source<'_>>],
) -> [Option<Derived>; LANES] {
    let salts = laid_out(sources, |source| source.message_id);
    let data_keys = laid_out(sources, |source| source.data_key);
    let extracted = Keyed::new(hash, &*salts).authenticated(hash, &last_block(&*data_keys, 32));
    let keyed = Keyed::new(hash, &*extracted);
    let keys = keyed.authenticated(hash, &KEY_INFO);
    let commitments = keyed.authenticated(hash, &COMMITMENT_INFO);
    std::array::from_fn(|lane| {
        (*sources.get(lane)?)?;
        Derived::of((&keys, lane), (&commitments, lane))
    })
}

/// The block of a label and the number 1, as HKDF expands it, RFC 5869.
fn info<const N: usize>(label: &[u8; N]) -> [u64; 16] {
    let mut bytes = [0; 128];
    for (place, byte) in bytes.iter_mut().zip(label.iter().copied().chain([1, 0x80])) {
        *place = byte;
    }
    let mut each = bytes.as_chunks().0.iter();
    let mut block: [u64; 16] =
        std::array::from_fn(|_| each.next().map_or(0, |word| u64::from_be_bytes(*word)));
    let [.., length] = &mut block;
    *length = u64::try_from(N).map_or(0, |size| bits(size.wrapping_add(1)));
    block
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut each = bytes.as_chunks().0.iter();
    std::array::from_fn(|_| each.next().map_or(0, |word| u64::from_be_bytes(*word)))
}

/// 32 bytes of each message, in its lane.
fn laid_out<'a>(
    sources: &[Option<Source<'a>>],
    of: impl Fn(Source<'a>) -> &'a [u8; 32],
) -> Wiped<[[u64; LANES]; 4]> {
    let mut found = Wiped::new([[0; LANES]; 4]);
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
fn bytes_of_lane<const N: usize>(words: &State<N>, lane: usize) -> Wiped<[u8; 32]> {
    let mut bytes = Wiped::new([0; 32]);
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = of_lane(word, lane).to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use hkdf::Hkdf;
    use sha2::Sha512;

    use super::{
        COMMITMENT, Derived, MESSAGE_KEY, Source, derive, derive_each, in_pairs, side_by_side,
    };
    use crate::keys::{aes, seal_in_place};
    use crate::lanes::Library;

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

    /// By a library that knows nothing of lanes.
    fn expected(source: Source<'_>) -> Option<Derived> {
        let hkdf = Hkdf::<Sha512>::new(Some(source.message_id), source.data_key);
        let (mut key, mut commitment) = ([0; 32], [0; 32]);
        hkdf.expand(MESSAGE_KEY, &mut key).ok()?;
        hkdf.expand(COMMITMENT, &mut commitment).ok()?;
        Some(Derived { cipher: aes(&key)?, commitment })
    }

    #[test]
    fn what_is_derived_is_what_the_library_derives() {
        let inputs = inputs(200);
        for some in inputs.chunks(8) {
            let sources: Vec<_> = some
                .iter()
                .map(|(data_key, message_id)| Some(Source { data_key, message_id }))
                .collect();
            let together = derive_each(&sources).into_iter();
            let anywhere = side_by_side(Library, &sources);
            for ((source, one), other) in sources.iter().flatten().zip(together).zip(anywhere) {
                let expected = told(expected(*source));
                assert!(expected.is_some());
                assert_eq!(told(one), expected);
                assert_eq!(told(other), expected);
                assert_eq!(told(derive(*source)), expected);
                assert_eq!(told(in_pairs(Library, *source)), expected, "without lanes");
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
