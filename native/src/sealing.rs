//! Seal a value and open a message, on bytes.

use aws_lc_rs::{constant_time, rand};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{BranchKey, derive, open_into, seal_in_place};
use crate::message::{
    FIRST_IV, FIXED_BYTES, HEADER_IV, MAX_CONTENT_BYTES, Message, NewMessage, RANDOM_BYTES, Random,
    WrappedKey, content_aad,
};

/// Random bytes for `count` messages, from AWS-LC's generator, which knows that a process forked.
pub fn random(count: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; count.checked_mul(RANDOM_BYTES)?]);
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A message of `plaintext` under a data key of its own.
///
/// `random` are bytes that were never used before. Returns `None` for what is too long.
pub fn seal(
    plaintext: &[u8],
    context: &[u8],
    key: &BranchKey,
    random: &[u8; RANDOM_BYTES],
) -> Option<Vec<u8>> {
    if plaintext.len() > MAX_CONTENT_BYTES {
        return None;
    }
    let random = Random::of(random)?;
    let (cipher, commitment) = derive(random.data_key, random.message_id)?;
    let mut wrapped = Zeroizing::new(*random.data_key);
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
        commitment: &commitment,
    };
    let sizes = [FIXED_BYTES, context.len(), key.id.len(), plaintext.len()];
    let mut out = Vec::with_capacity(sizes.into_iter().try_fold(0, usize::checked_add)?);
    message.write_header(&mut out)?;
    let header_tag = seal_in_place(&cipher, &HEADER_IV, &out, &mut [])?;
    message.write_frame_head(&header_tag, &mut out);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let aad = content_aad(random.message_id, plaintext.len())?;
    let content = out.get_mut(start..)?;
    match seal_in_place(&cipher, &FIRST_IV, &aad, content) {
        Some(tag) => out.extend_from_slice(&tag),
        None => {
            out.zeroize();
            return None;
        }
    }
    Some(out)
}

/// Decrypts the content of a message into `out`, which is as long as it.
///
/// Returns `None`, and leaves nothing in `out`, if anything does not authenticate.
pub fn open(message: &Message<'_>, context: &[u8], key: &BranchKey, out: &mut [u8]) -> Option<()> {
    let data_key = key.unwrap(&message.wrapped, context)?;
    let (cipher, commitment) = derive(&data_key, message.id)?;
    constant_time::verify_slices_are_equal(&commitment, message.commitment).ok()?;
    open_into(&cipher, &HEADER_IV, message.header, &[], message.header_tag, &mut [])?;
    let aad = content_aad(message.id, message.content.len())?;
    open_into(&cipher, &FIRST_IV, &aad, message.content, message.content_tag, out)
}

#[cfg(test)]
mod tests {
    use super::{open, random, seal};
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
        seal(plaintext, CONTEXT, key, bytes).ok_or("was not sealed")
    }

    fn opened(message: &[u8], context: &[u8], key: &BranchKey) -> Option<Vec<u8>> {
        let message = Message::read(message, context, &key.id)?;
        let mut plaintext = vec![1; message.content.len()];
        if open(&message, context, key, &mut plaintext).is_none() {
            assert!(plaintext.iter().all(|&byte| byte == 0 || byte == 1), "something was left");
            return None;
        }
        Some(plaintext)
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
        let message = seal(b"123-45-6789", CONTEXT, &key(1)?, &random).ok_or("was not sealed")?;
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("known_message.hex").trim_end());
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
