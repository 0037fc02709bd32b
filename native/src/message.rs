//! The one form of a message that encfields writes: one encrypted data key, one frame.
//!
//! Where its fields lie is known from the context and branch key id of its place, so it is
//! compared with what is expected there and not parsed. `docs/format.md` is the whole format.

use crate::derivation::Source;

/// Message format version 2, algorithm suite 0x0478.
pub const MAGIC: [u8; 3] = [0x02, 0x04, 0x78];
/// The key provider of AWS's hierarchical keyring.
pub const PROVIDER_ID: &[u8] = b"aws-kms-hierarchy";
/// Longest branch key id that is read: 255 characters of UTF-8.
pub const MAX_KEY_ID_BYTES: usize = 1020;
/// Longest content of a frame that Python's cryptography library takes, and so longest here.
pub const MAX_CONTENT_BYTES: usize = 0x7fff_ffef;
/// Frame length for contents up to it; a longer content has a frame of its own length.
pub const FRAME_LENGTH: u32 = 4096;
/// Bytes of a message beside its content, context and branch key id.
pub const FIXED_BYTES: usize = 247;
/// Those of them that the header's tag authenticates.
const HEADER_BYTES: usize = 191;
/// Those between the header and the content: a tag, and what stands before the content.
pub const FRAME_HEAD_BYTES: usize = 40;

const ONE_KEY: &[u8] = b"\x00\x01\x00\x11";
const WRAPPED_KEY_BYTES: [u8; 2] = [0, 92];
const FRAMED: u8 = 2;
/// The mark of the final frame, sequence number 1, and its IV.
const FRAME_HEAD: [u8; 20] = *b"\xff\xff\xff\xff\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01";
const LABEL_FINAL: &[u8; 34] = b"AWSKMSEncryptionClient Final Frame";

/// IV of the header's tag.
pub const HEADER_IV: [u8; 12] = [0; 12];
/// IV of the first frame.
pub const FIRST_IV: [u8; 12] = *b"\0\0\0\0\0\0\0\0\0\0\0\x01";

/// The random bytes of a message.
pub struct Random<'a> {
    /// From which the message's keys are derived.
    pub data_key: &'a [u8; 32],
    /// The salt of that derivation.
    pub message_id: &'a [u8; 32],
    /// From which the wrapping key is derived.
    pub salt: &'a [u8; 16],
    /// The IV under which the data key is wrapped.
    pub iv: &'a [u8; 12],
}

/// How many random bytes a message takes.
pub const RANDOM_BYTES: usize = 92;

impl<'a> Random<'a> {
    /// The parts of random bytes that were never used before.
    pub fn of(bytes: &'a [u8; RANDOM_BYTES]) -> Option<Self> {
        let mut rest = Reader(bytes);
        Some(Self {
            data_key: rest.array()?,
            message_id: rest.array()?,
            salt: rest.array()?,
            iv: rest.array()?,
        })
    }

    /// What the message's keys are derived from.
    pub fn source(&self) -> Source<'a> {
        Source { data_key: self.data_key, message_id: self.message_id }
    }
}

/// A data key as the hierarchical keyring wraps it.
#[derive(Clone, Copy)]
pub struct WrappedKey<'a> {
    /// From which the wrapping key is derived.
    pub salt: &'a [u8; 16],
    /// The IV under which it is wrapped.
    pub iv: &'a [u8; 12],
    /// The branch key version: a UUID.
    pub version: &'a [u8; 16],
    /// The encrypted data key.
    pub key: &'a [u8; 32],
    /// Its tag.
    pub tag: &'a [u8; 16],
}

/// The fields of a message that is of the one form and for the place that was asked for.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// 32 bytes.
    pub id: &'a [u8; 32],
    /// The wrapped data key.
    pub wrapped: WrappedKey<'a>,
    /// What commits to the data key.
    pub commitment: &'a [u8; 32],
    /// All that the header's tag authenticates.
    pub header: &'a [u8],
    /// The header's tag.
    pub header_tag: &'a [u8; 16],
    /// The encrypted content.
    pub content: &'a [u8],
    /// Its tag.
    pub content_tag: &'a [u8; 16],
}

impl<'a> Message<'a> {
    /// Where the fields of `bytes` lie. Nothing is authentic yet.
    ///
    /// Returns `None` for what is not of the one form, for this context and branch key id, to the
    /// last byte.
    pub fn read(bytes: &'a [u8], context: &[u8], key_id: &[u8]) -> Option<Self> {
        if key_id.len() > MAX_KEY_ID_BYTES {
            return None;
        }
        let mut rest = Reader(bytes);
        rest.expect(&MAGIC)?;
        let id = rest.array()?;
        rest.expect(&u16_of(context)?)?;
        rest.expect(context)?;
        rest.expect(ONE_KEY)?;
        rest.expect(PROVIDER_ID)?;
        rest.expect(&u16_of(key_id)?)?;
        rest.expect(key_id)?;
        rest.expect(&WRAPPED_KEY_BYTES)?;
        let wrapped = WrappedKey {
            salt: rest.array()?,
            iv: rest.array()?,
            version: rest.array()?,
            key: rest.array()?,
            tag: rest.array()?,
        };
        rest.expect(&[FRAMED])?;
        let frame_length = u32::from_be_bytes(*rest.array()?);
        let commitment = rest.array()?;
        let header = bytes.get(..bytes.len().checked_sub(rest.0.len())?)?;
        let header_tag = rest.array()?;
        rest.expect(&FRAME_HEAD)?;
        let size = u32::from_be_bytes(*rest.array()?);
        if frame_length == 0 || size > frame_length {
            return None;
        }
        let (content, content_tag) = rest.0.split_last_chunk()?;
        if content.len() != usize::try_from(size).ok()? || content.len() > MAX_CONTENT_BYTES {
            return None;
        }
        Some(Self { id, wrapped, commitment, header, header_tag, content, content_tag })
    }
}

/// The fields of a message that is to be written.
pub struct NewMessage<'a> {
    /// 32 random bytes.
    pub id: &'a [u8; 32],
    /// The serialised encryption context.
    pub context: &'a [u8],
    /// The branch key id.
    pub key_id: &'a [u8],
    /// The wrapped data key.
    pub wrapped: WrappedKey<'a>,
    /// Length of the content.
    pub size: u32,
    /// What commits to the data key.
    pub commitment: &'a [u8; 32],
}

impl NewMessage<'_> {
    /// How long all that the header's tag authenticates is.
    pub fn header_bytes(&self) -> Option<usize> {
        HEADER_BYTES.checked_add(self.context.len())?.checked_add(self.key_id.len())
    }

    /// Writes all that the header's tag authenticates, which fills `out`.
    pub fn write_header(&self, out: &mut [u8]) -> Option<()> {
        let parts = [
            MAGIC.as_slice(),
            self.id,
            &u16_of(self.context)?,
            self.context,
            ONE_KEY,
            PROVIDER_ID,
            &u16_of(self.key_id)?,
            self.key_id,
            &WRAPPED_KEY_BYTES,
            self.wrapped.salt,
            self.wrapped.iv,
            self.wrapped.version,
            self.wrapped.key,
            self.wrapped.tag,
            &[FRAMED],
            &self.size.max(FRAME_LENGTH).to_be_bytes(),
            self.commitment,
        ];
        write(&parts, out)
    }

    /// Writes the header's tag and what stands before the content.
    pub fn write_frame_head(&self, header_tag: &[u8], out: &mut [u8]) -> Option<()> {
        write(&[header_tag, &FRAME_HEAD, &self.size.to_be_bytes()], out)
    }
}

/// Writes parts one after another; `None` if they are not just as long as `out`.
fn write(parts: &[&[u8]], out: &mut [u8]) -> Option<()> {
    let mut rest = out;
    for part in parts {
        let (place, after) = rest.split_at_mut_checked(part.len())?;
        place.copy_from_slice(part);
        rest = after;
    }
    rest.is_empty().then_some(())
}

/// What is authenticated with the content of the one frame.
pub fn content_aad(message_id: &[u8; 32], size: usize) -> Option<[u8; 78]> {
    let mut aad = [0; 78];
    let parts = [
        message_id.as_slice(),
        LABEL_FINAL,
        &1_u32.to_be_bytes(),
        &u64::try_from(size).ok()?.to_be_bytes(),
    ];
    write(&parts, &mut aad)?;
    Some(aad)
}

/// A length as the two bytes that stand before a field.
pub fn u16_of(field: &[u8]) -> Option<[u8; 2]> {
    Some(u16::try_from(field.len()).ok()?.to_be_bytes())
}

/// Takes what it is asked for from the front of its bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(found)
    }

    fn expect(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }
}
