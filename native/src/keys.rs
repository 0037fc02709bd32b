//! From the branch key to the data key of a message: the hierarchical keyring's wrapping.
//!
//! As `encfields.message.keys` has it. The primitives are AWS-LC's and RustCrypto's.

use std::slice::from_ref;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::block_api::compress256;
use zeroize::Zeroize;

use crate::data_key_cache::DataKeyCache;
use crate::message::{PROVIDER_ID, WrappedKey};
use crate::wiped::Wiped;

// NIST SP 800-108 counter mode: i = 1, label, 0x00, context (the salt), L = 256 bits.
const KDF_START: &[u8] = b"\x00\x00\x00\x01aws-kms-hierarchy\x00";
const KDF_END: &[u8] = b"\x00\x00\x01\x00";

/// SHA-256's initial value.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
// HMAC, RFC 2104.
pub(crate) const INNER_PAD: u8 = 0x36;
pub(crate) const OUTER_PAD: u8 = 0x5c;
const PAD_BYTES: usize = 64;

/// What one branch key version needs to wrap and unwrap data keys, worked out once.
///
/// It holds a keyed HMAC and not the branch key, and is wiped when it is dropped.
pub struct BranchKey {
    /// The branch key id.
    pub id: Box<[u8]>,
    /// The version: a UUID.
    pub version: [u8; 16],
    /// What messages under it that were opened before are opened with, if that is kept.
    pub data_keys: Option<DataKeyCache>,
    aad_head: Box<[u8]>,
    kdf: Box<Keyed>,
}

/// HMAC-SHA-256 under a key: what SHA-256 comes to after its two pads.
struct Keyed {
    inner: Wiped<[u32; 8]>,
    outer: Wiped<[u32; 8]>,
}

impl Keyed {
    fn new(key: &[u8; 32]) -> Self {
        let [inner, outer] = [INNER_PAD, OUTER_PAD].map(|pad| {
            let block = padded(key, pad);
            let mut state = Wiped::new(START);
            compress256(&mut state, from_ref(&*block));
            state
        });
        Self { inner, outer }
    }

    /// The code of a message of at most 55 bytes.
    fn authenticated(&self, parts: &[&[u8]]) -> Option<Wiped<[u8; 32]>> {
        let mut digest = self.inner.clone();
        compress256(&mut digest, from_ref(&*last_block(parts)?));
        let mut code = self.outer.clone();
        compress256(&mut code, from_ref(&*last_block(&[&*bytes_of(&digest)])?));
        Some(bytes_of(&code))
    }
}

/// The block of SHA-256 that a key fills with a pad.
pub(crate) fn padded(key: &[u8; 32], pad: u8) -> Wiped<[u8; PAD_BYTES]> {
    let mut block = Wiped::new([pad; PAD_BYTES]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    block
}

/// The block of a message of at most 55 bytes, which comes after that of a pad.
fn last_block(parts: &[&[u8]]) -> Option<Wiped<[u8; 64]>> {
    let mut block = Wiped::new([0; 64]);
    let mut rest = block.as_mut_slice();
    for part in parts.iter().copied().chain([b"\x80".as_slice()]) {
        let (place, after) = rest.split_at_mut_checked(part.len())?;
        place.copy_from_slice(part);
        rest = after;
    }
    let (_, length) = rest.split_last_chunk_mut()?;
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    *length = u64::try_from(bytes.checked_add(PAD_BYTES)?.checked_mul(8)?).ok()?.to_be_bytes();
    Some(block)
}

fn bytes_of(words: &[u32; 8]) -> Wiped<[u8; 32]> {
    let mut bytes = Wiped::new([0; 32]);
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    bytes
}

impl BranchKey {
    /// The branch key of an id and version.
    pub fn new(id: &[u8], version: [u8; 16], material: &[u8; 32]) -> Option<Self> {
        Some(Self {
            id: id.into(),
            version,
            data_keys: None,
            aad_head: [PROVIDER_ID, id, &version].concat().into(),
            kdf: Box::new(Keyed::new(material)),
        })
    }

    /// The same, and what its messages are opened with is kept.
    pub fn keeping_data_keys(self) -> Self {
        Self { data_keys: Some(DataKeyCache::new()), ..self }
    }

    /// The wrapping key of one message.
    fn cipher(&self, salt: &[u8; 16]) -> Option<LessSafeKey> {
        aes(&*self.kdf.authenticated(&[KDF_START, salt, KDF_END])?)
    }

    fn aad(&self, context: &[u8]) -> Vec<u8> {
        [&self.aad_head, context].concat()
    }

    /// Encrypts a data key in its place, and returns the tag.
    pub fn wrap(
        &self,
        data_key: &mut [u8; 32],
        salt: &[u8; 16],
        iv: &[u8; 12],
        context: &[u8],
    ) -> Option<[u8; 16]> {
        seal_in_place(&self.cipher(salt)?, iv, &self.aad(context), data_key)
    }

    /// The data key of a message; `None` if it does not authenticate.
    ///
    /// `aad` is a buffer that those of many messages may share.
    pub fn unwrap(
        &self,
        wrapped: &WrappedKey<'_>,
        context: &[u8],
        aad: &mut Vec<u8>,
    ) -> Option<Wiped<[u8; 32]>> {
        let mut data_key = Wiped::new([0; 32]);
        let cipher = self.cipher(wrapped.salt)?;
        aad.clear();
        aad.reserve(self.aad_head.len().saturating_add(context.len()));
        aad.extend_from_slice(&self.aad_head);
        aad.extend_from_slice(context);
        open_into(&cipher, wrapped.iv, aad, wrapped.key, wrapped.tag, &mut *data_key)?;
        Some(data_key)
    }
}

/// Encrypts `content` in its place, and returns the tag.
pub fn seal_in_place(
    cipher: &LessSafeKey,
    iv: &[u8; 12],
    aad: &[u8],
    content: &mut [u8],
) -> Option<[u8; 16]> {
    let nonce = Nonce::assume_unique_for_key(*iv);
    let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(aad), content).ok()?;
    tag.as_ref().try_into().ok()
}

/// Decrypts into `out`, which is as long; `None`, and nothing is left there, if the tag does not
/// verify.
pub fn open_into(
    cipher: &LessSafeKey,
    iv: &[u8; 12],
    aad: &[u8],
    content: &[u8],
    tag: &[u8; 16],
    out: &mut [u8],
) -> Option<()> {
    let nonce = Nonce::assume_unique_for_key(*iv);
    let opened = cipher.open_separate_gather(nonce, Aad::from(aad), content, tag, out);
    if opened.is_err() {
        out.zeroize();
    }
    opened.ok()
}

/// AES-256-GCM under a key of 32 bytes.
pub fn aes(key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?))
}
