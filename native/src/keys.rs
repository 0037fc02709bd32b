//! From the branch key to the data key of a message: the hierarchical keyring's wrapping.
//!
//! As `encfields.message.keys` has it. The primitives are AWS-LC's and RustCrypto's.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::message::{PROVIDER_ID, WrappedKey};

// NIST SP 800-108 counter mode: i = 1, label, 0x00, context (the salt), L = 256 bits.
const KDF_START: &[u8] = b"\x00\x00\x00\x01aws-kms-hierarchy\x00";
const KDF_END: &[u8] = b"\x00\x00\x01\x00";

/// What one branch key version needs to wrap and unwrap data keys, worked out once.
///
/// It holds a keyed HMAC and not the branch key; both are wiped when it is dropped.
pub struct BranchKey {
    /// The branch key id.
    pub id: Box<[u8]>,
    /// The version: a UUID.
    pub version: [u8; 16],
    aad_head: Box<[u8]>,
    kdf: Box<Hmac<Sha256>>,
}

impl BranchKey {
    /// The branch key of an id and version.
    pub fn new(id: &[u8], version: [u8; 16], material: &[u8; 32]) -> Option<Self> {
        Some(Self {
            id: id.into(),
            version,
            aad_head: [PROVIDER_ID, id, &version].concat().into(),
            kdf: Box::new(Hmac::new_from_slice(material).ok()?),
        })
    }

    /// The wrapping key of one message.
    fn cipher(&self, salt: &[u8; 16]) -> Option<LessSafeKey> {
        let mut kdf = Hmac::clone(&self.kdf);
        for part in [KDF_START, salt, KDF_END] {
            kdf.update(part);
        }
        let mut key = kdf.finalize().into_bytes();
        let cipher = aes(key.as_slice());
        key.as_mut_slice().zeroize();
        cipher
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
    pub fn unwrap(&self, wrapped: &WrappedKey<'_>, context: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let mut data_key = Zeroizing::new([0; 32]);
        let cipher = self.cipher(wrapped.salt)?;
        let aad = self.aad(context);
        open_into(&cipher, wrapped.iv, &aad, wrapped.key, wrapped.tag, &mut *data_key)?;
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
