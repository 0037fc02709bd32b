//! Seal a value and open a message, on bytes.

use std::ops::Range;

use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::{constant_time, rand};
use zeroize::{Zeroize, Zeroizing};

use crate::derivation::{Derived, Source, derive, derive_each};
use crate::keys::{BranchKey, open_into, seal_in_place};
use crate::lanes::LANES;
use crate::message::{
    FIRST_IV, FIXED_BYTES, FRAME_HEAD_BYTES, HEADER_IV, MAX_CONTENT_BYTES, Message, NewMessage,
    RANDOM_BYTES, Random, WrappedKey, content_aad,
};
use crate::wiped::Wiped;

/// Fills `bytes` from AWS-LC's random generator, which knows that a process forked.
pub fn fill_with_random(bytes: &mut [u8]) -> Option<()> {
    rand::fill(bytes).ok()
}

/// Random bytes for `count` messages.
pub fn random(count: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; count.checked_mul(RANDOM_BYTES)?]);
    fill_with_random(&mut bytes)?;
    Some(bytes)
}

/// How long the message of a plaintext is; `None` if that is too long.
pub fn sealed_size(plaintext: &[u8], context: &[u8], key: &BranchKey) -> Option<usize> {
    if plaintext.len() > MAX_CONTENT_BYTES {
        return None;
    }
    let sizes = [FIXED_BYTES, context.len(), key.id.len(), plaintext.len()];
    sizes.into_iter().try_fold(0, usize::checked_add)
}

/// Writes a message of `plaintext` under a data key of its own into `out`, which is as long as
/// [`sealed_size`] says.
///
/// `random` are bytes that were never used before. Returns `None` for what is too long.
pub fn seal(
    plaintext: &[u8],
    context: &[u8],
    key: &BranchKey,
    random: &[u8; RANDOM_BYTES],
    out: &mut [u8],
) -> Option<()> {
    let random = Random::of(random)?;
    write(plaintext, context, key, &random, &derive(random.source())?, out)
}

/// The same of many plaintexts, each with its context; `None` in the place of none, and of what is
/// too long.
pub fn seal_each(
    work: &[Option<(&[u8], &[u8])>],
    key: &BranchKey,
    random: &[[u8; RANDOM_BYTES]],
) -> Vec<Option<Vec<u8>>> {
    let mut messages = Vec::with_capacity(work.len());
    for (some, random) in work.chunks(LANES).zip(random.chunks(LANES)) {
        let random: Vec<_> = random.iter().map(Random::of).collect();
        let sources: Vec<_> =
            random.iter().map(|random| random.as_ref().map(Random::source)).collect();
        let each = some.iter().zip(&random).zip(derive_each(&sources));
        messages.extend(each.map(|((one, random), derived)| {
            let (plaintext, context) = (*one)?;
            written(plaintext, context, key, random.as_ref()?, &derived?)
        }));
    }
    messages
}

fn written(
    plaintext: &[u8],
    context: &[u8],
    key: &BranchKey,
    random: &Random<'_>,
    derived: &Derived,
) -> Option<Vec<u8>> {
    let mut out = vec![0; sealed_size(plaintext, context, key)?];
    write(plaintext, context, key, random, derived, &mut out)?;
    Some(out)
}

fn write(
    plaintext: &[u8],
    context: &[u8],
    key: &BranchKey,
    random: &Random<'_>,
    Derived { cipher, commitment }: &Derived,
    out: &mut [u8],
) -> Option<()> {
    let mut wrapped = Wiped::new(*random.data_key);
    let tag = key.wrap(&mut wrapped, random.salt, random.iv, context)?;
    let message = NewMessage {
        id: random.message_id,
        context,
        key_id: &key.id,
        wrapped: WrappedKey {
            salt: random.salt,
            iv: random.iv,
            version: &key.version,
            key: &wrapped,
            tag: &tag,
        },
        size: u32::try_from(plaintext.len()).ok()?,
        commitment,
    };
    let (header, rest) = out.split_at_mut_checked(message.header_bytes()?)?;
    message.write_header(header)?;
    let header_tag = seal_in_place(cipher, &HEADER_IV, header, &mut [])?;
    let (head, rest) = rest.split_at_mut_checked(FRAME_HEAD_BYTES)?;
    message.write_frame_head(&header_tag, head)?;
    let (content, content_tag) = rest.split_last_chunk_mut()?;
    if content.len() != plaintext.len() {
        return None;
    }
    content.copy_from_slice(plaintext);
    let aad = content_aad(random.message_id, plaintext.len())?;
    match seal_in_place(cipher, &FIRST_IV, &aad, content) {
        Some(tag) => *content_tag = tag,
        None => {
            content.zeroize();
            return None;
        }
    }
    Some(())
}

/// A message that was read, and what it is to be opened with.
#[derive(Clone, Copy)]
pub struct Sealed<'a> {
    /// Where its fields lie.
    pub message: Message<'a>,
    /// The serialised encryption context of the place where it was found.
    pub context: &'a [u8],
    /// The branch key that it names.
    pub key: &'a BranchKey,
    /// Its cipher, if that is known from a message with the same header, which was opened.
    pub cipher: Option<&'a LessSafeKey>,
}

impl Sealed<'_> {
    /// Decrypts the content into `out`, which is as long as it.
    ///
    /// Returns the cipher that was derived, if it was; `None`, and leaves nothing in `out`, if
    /// anything does not authenticate.
    pub fn open(&self, out: &mut [u8]) -> Option<Option<LessSafeKey>> {
        if let Some(cipher) = self.cipher {
            self.open_content(cipher, out)?;
            return Some(None);
        }
        let data_key = self.data_key(&mut Vec::new())?;
        self.open_with(derive(self.source(&data_key))?, out).map(Some)
    }

    fn data_key(&self, aad: &mut Vec<u8>) -> Option<Wiped<[u8; 32]>> {
        self.key.unwrap(&self.message.wrapped, self.context, aad)
    }

    fn source<'b>(&'b self, data_key: &'b [u8; 32]) -> Source<'b> {
        Source { data_key, message_id: self.message.id }
    }

    /// Returns the cipher, with which the whole message was found to be authentic.
    fn open_with(
        &self,
        Derived { cipher, commitment }: Derived,
        out: &mut [u8],
    ) -> Option<LessSafeKey> {
        let message = &self.message;
        constant_time::verify_slices_are_equal(&commitment, message.commitment).ok()?;
        open_into(&cipher, &HEADER_IV, message.header, &[], message.header_tag, &mut [])?;
        self.open_content(&cipher, out)?;
        Some(cipher)
    }

    fn open_content(&self, cipher: &LessSafeKey, out: &mut [u8]) -> Option<()> {
        let message = &self.message;
        let aad = content_aad(message.id, message.content.len())?;
        open_into(cipher, &FIRST_IV, &aad, message.content, message.content_tag, out)
    }
}

/// The plaintexts of many messages in one buffer, which is wiped when it is dropped.
#[derive(Default)]
pub struct Opened {
    bytes: Zeroizing<Vec<u8>>,
    each: Vec<Option<Range<usize>>>,
    /// The ciphers that were derived for messages that opened, if they are to be kept.
    pub ciphers: Vec<(usize, LessSafeKey)>,
}

impl Opened {
    /// So many that were not opened.
    pub fn of_none(count: usize) -> Self {
        Self { each: vec![None; count], ..Self::default() }
    }

    /// Each plaintext; `None` in the place of none, and of what did not authenticate.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.each.iter().map(|place| self.bytes.get(place.clone()?))
    }

    fn note(&mut self, number: usize, range: Range<usize>) {
        if let Some(place) = self.each.get_mut(number) {
            *place = Some(range);
        }
    }
}

/// A message whose cipher is not known, and where its plaintext goes.
struct Unknown<'a, 'b> {
    number: usize,
    sealed: &'a Sealed<'a>,
    range: Range<usize>,
    out: &'b mut [u8],
}

/// The plaintexts of many messages.
///
/// `keeps`: whether the ciphers that are derived are kept until it is known what becomes of them.
pub fn open_each(work: &[Option<Sealed<'_>>], keeps: bool) -> Option<Opened> {
    let mut sizes = work.iter().flatten().map(|one| one.message.content.len());
    let mut bytes = Zeroizing::new(vec![0; sizes.try_fold(0, usize::checked_add)?]);
    let mut opened = Opened::of_none(work.len());
    let mut unknown = Vec::with_capacity(LANES);
    let mut aad = Vec::with_capacity(512);
    let (mut start, mut rest) = (0_usize, bytes.as_mut_slice());
    for (number, sealed) in work.iter().enumerate() {
        let Some(sealed) = sealed else { continue };
        let size = sealed.message.content.len();
        let (out, after) = std::mem::take(&mut rest).split_at_mut_checked(size)?;
        let range = start..start.checked_add(size)?;
        (start, rest) = (range.end, after);
        if sealed.cipher.is_some() {
            if sealed.open(out).is_some() {
                opened.note(number, range);
            }
            continue;
        }
        unknown.push(Unknown { number, sealed, range, out });
        if unknown.len() == LANES {
            open_side_by_side(&mut unknown, &mut aad, &mut opened, keeps);
        }
    }
    open_side_by_side(&mut unknown, &mut aad, &mut opened, keeps);
    opened.bytes = bytes;
    Some(opened)
}

/// Opens at most eight messages.
fn open_side_by_side(
    some: &mut Vec<Unknown<'_, '_>>,
    aad: &mut Vec<u8>,
    opened: &mut Opened,
    keeps: bool,
) {
    let data_keys: [_; LANES] = std::array::from_fn(|lane| some.get(lane)?.sealed.data_key(aad));
    let sources: [_; LANES] = std::array::from_fn(|lane| {
        Some(some.get(lane)?.sealed.source(data_keys.get(lane)?.as_ref()?))
    });
    for (one, derived) in some.drain(..).zip(derive_each(&sources)) {
        if let Some(cipher) = derived.and_then(|derived| one.sealed.open_with(derived, one.out)) {
            opened.note(one.number, one.range);
            if keeps {
                opened.ciphers.push((one.number, cipher));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sealed, open_each, random, seal, seal_each, sealed_size};
    use crate::keys::BranchKey;
    use crate::message::{FIXED_BYTES, Message, RANDOM_BYTES};

    const CONTEXT: &[u8] = b"\0\x01\0\x01k\0\x01v";
    type Outcome = Result<(), &'static str>;

    fn key(material: u8) -> Result<BranchKey, &'static str> {
        BranchKey::new(b"tenant/1", [7; 16], &[material; 32]).ok_or("no key")
    }

    fn sealed(plaintext: &[u8], key: &BranchKey) -> Result<Vec<u8>, &'static str> {
        let bytes = random(1).ok_or("no random bytes")?;
        let bytes: &[u8; RANDOM_BYTES] = bytes.as_slice().try_into().map_err(|_| "too few")?;
        sealed_with(plaintext, key, bytes).ok_or("was not sealed")
    }

    fn sealed_with(
        plaintext: &[u8],
        key: &BranchKey,
        random: &[u8; RANDOM_BYTES],
    ) -> Option<Vec<u8>> {
        let mut message = vec![1; sealed_size(plaintext, CONTEXT, key)?];
        seal(plaintext, CONTEXT, key, random, &mut message)?;
        Some(message)
    }

    /// What opens by itself and as one of three alike, two lanes of which are beside it.
    fn opened(bytes: &[u8], context: &[u8], key: &BranchKey) -> Option<Vec<u8>> {
        let message = Message::read(bytes, context, &key.id)?;
        let mut plaintext = vec![1; message.content.len()];
        let found = Sealed { message, context, key, cipher: None }.open(&mut plaintext);
        assert_eq!(found.is_some(), opened_among_others(bytes, context, key).is_some());
        if found.is_none() {
            assert!(plaintext.iter().all(|&byte| byte == 0 || byte == 1), "something was left");
            return None;
        }
        Some(plaintext)
    }

    fn opened_among_others(bytes: &[u8], context: &[u8], key: &BranchKey) -> Option<Vec<u8>> {
        let work = [(); 3].map(|()| {
            let message = Message::read(bytes, context, &key.id)?;
            Some(Sealed { message, context, key, cipher: None })
        });
        let all = open_each(&work, false)?;
        let first = all.iter().next()?;
        assert!(all.iter().all(|one| one == first));
        first.map(<[u8]>::to_vec)
    }

    #[test]
    fn what_was_sealed_opens() -> Outcome {
        let key = key(1)?;
        for size in [0, 1, 4096, 4097, 100_000] {
            let plaintext = vec![3; size];
            let message = sealed(&plaintext, &key)?;
            assert_eq!(message.len(), FIXED_BYTES + CONTEXT.len() + key.id.len() + size);
            assert_eq!(opened(&message, CONTEXT, &key), Some(plaintext));
        }
        Ok(())
    }

    #[test]
    fn a_message_is_what_the_format_says() -> Outcome {
        // Of fixed random bytes, and written down from Python: encfields.message.sealing.written.
        let random: [u8; RANDOM_BYTES] = std::array::from_fn(|i| u8::try_from(i).unwrap_or(0));
        let message = sealed_with(b"123-45-6789", &key(1)?, &random).ok_or("was not sealed")?;
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("known_message.hex").trim_end());
        Ok(())
    }

    #[test]
    fn many_at_once_are_what_each_is_by_itself() -> Outcome {
        let key = key(1)?;
        let bytes = random(21).ok_or("no random bytes")?;
        let random = bytes.as_chunks::<RANDOM_BYTES>().0;
        let values: Vec<Vec<u8>> = (0..21).map(|size| vec![7; size]).collect();
        for count in 0..=21 {
            let work: Vec<_> = values
                .iter()
                .take(count)
                .map(|value| (value.len() % 5 != 1).then_some((value.as_slice(), CONTEXT)))
                .collect();
            let messages = seal_each(&work, &key, random);
            let expected: Vec<_> = work
                .iter()
                .zip(random)
                .map(|(one, random)| one.and_then(|(value, _)| sealed_with(value, &key, random)))
                .collect();
            assert_eq!(messages, expected);
            let found: Vec<_> = messages
                .iter()
                .map(|one| {
                    let message = Message::read(one.as_ref()?, CONTEXT, &key.id)?;
                    Some(Sealed { message, context: CONTEXT, key: &key, cipher: None })
                })
                .collect();
            let opened = open_each(&found, false).ok_or("nothing was opened")?;
            assert_eq!(opened.iter().count(), count);
            for (one, opened) in work.iter().zip(opened.iter()) {
                assert_eq!(opened, one.map(|(value, _)| value));
            }
        }
        Ok(())
    }

    #[test]
    fn no_altered_bit_and_no_cut_opens() -> Outcome {
        let key = key(1)?;
        let mut message = sealed(b"value", &key)?;
        for place in 0..message.len() {
            for bit in 0..8 {
                flip(&mut message, place, bit);
                assert_eq!(opened(&message, CONTEXT, &key), None, "bit {bit} of byte {place}");
                flip(&mut message, place, bit);
            }
            assert_eq!(opened(message.get(..place).unwrap_or(&[]), CONTEXT, &key), None);
        }
        message.push(0);
        assert_eq!(opened(&message, CONTEXT, &key), None);
        Ok(())
    }

    fn flip(message: &mut [u8], place: usize, bit: u32) {
        if let Some(byte) = message.get_mut(place) {
            *byte ^= 1_u8.rotate_left(bit);
        }
    }

    #[test]
    fn a_message_opens_in_its_own_place_under_its_own_key_alone() -> Outcome {
        let message = sealed(b"value", &key(1)?)?;
        assert!(opened(&message, CONTEXT, &key(1)?).is_some());
        assert!(opened(&message, b"\0\x01\0\x01k\0\x01w", &key(1)?).is_none());
        assert!(opened(&message, CONTEXT, &key(2)?).is_none());
        let other = BranchKey::new(b"tenant/2", [7; 16], &[1; 32]).ok_or("no key")?;
        assert!(opened(&message, CONTEXT, &other).is_none());
        Ok(())
    }

    #[test]
    fn no_two_messages_share_their_random_bytes() -> Outcome {
        let bytes = random(1000).ok_or("no random bytes")?;
        let each = bytes.as_chunks::<RANDOM_BYTES>().0;
        let distinct: std::collections::HashSet<_> = each.iter().collect();
        assert_eq!(distinct.len(), 1000);
        Ok(())
    }
}
