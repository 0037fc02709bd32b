//! What a blind index is the first bits of: HMAC-SHA-256, RFC 2104, of what is indexed.

use sha2::{Digest, Sha256};

use crate::keys::{INNER_PAD, OUTER_PAD, padded};

/// The code of `message` under the key of an index.
pub fn authenticated(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let digest = hashed(key, INNER_PAD, message);
    hashed(key, OUTER_PAD, &digest)
}

/// SHA-256 of a pad, with the key in it, and what comes after it.
fn hashed(key: &[u8; 32], pad: u8, message: &[u8]) -> [u8; 32] {
    let block = padded(key, pad);
    Sha256::new().chain_update(block.as_slice()).chain_update(message).finalize().into()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

    use super::authenticated;

    #[test]
    fn it_is_the_hmac_of_another_library() {
        let key: [u8; 32] = std::array::from_fn(|place| u8::try_from(place).unwrap_or(0));
        for size in [0, 1, 55, 56, 63, 64, 65, 128, 1000] {
            let message = vec![7; size];
            let expected = sign(&Key::new(HMAC_SHA256, &key), &message);
            assert_eq!(expected.as_ref(), authenticated(&key, &message));
        }
    }
}
