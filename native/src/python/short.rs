//! What takes less time than calling another library does: a blind index, and a value that is
//! hidden while it stays in memory.

use aws_lc_rs::aead::LessSafeKey;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::branch_key::bytes;
use super::single::filled;
use crate::guard::guarded;
use crate::index::authenticated;
use crate::keys::{aes, open_into, seal_in_place};

const TAG_BYTES: usize = 16;

/// HMAC-SHA-256 of what is indexed, under the 32 bytes of an index's key; `None` for what is no
/// `bytes`, or another key.
#[pyfunction]
#[pyo3(signature = (key, normalised, /))]
pub fn index_code<'py>(
    key: &Bound<'py, PyAny>,
    normalised: &Bound<'py, PyAny>,
) -> Option<Bound<'py, PyBytes>> {
    let (secret, content) = (bytes(key)?.try_into().ok()?, bytes(normalised)?);
    let code = guarded(|| Some(authenticated(secret, content)))?;
    Some(PyBytes::new(key.py(), &code))
}

/// AES-256-GCM under one key, which is wiped when it is dropped. As that of `cryptography`, but
/// `None` for what is no `bytes`, what has associated data, and what does not authenticate.
#[pyclass(frozen, module = "encfields_native")]
pub struct Cipher(LessSafeKey);

#[pymethods]
impl Cipher {
    #[new]
    fn new(key: &[u8]) -> PyResult<Self> {
        aes(key).map(Self).ok_or_else(|| PyValueError::new_err("a key has 32 bytes"))
    }

    #[pyo3(signature = (iv, data, associated_data, /))]
    fn encrypt<'py>(
        &self,
        iv: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        associated_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some((nonce, content)) = given(iv, data, associated_data) else { return Ok(None) };
        let size = content.len().saturating_add(TAG_BYTES);
        filled(iv.py(), size, false, |out| {
            let (encrypted, tag) = out.split_last_chunk_mut()?;
            encrypted.copy_from_slice(content);
            *tag = seal_in_place(&self.0, nonce, b"", encrypted)?;
            Some(())
        })
    }

    #[pyo3(signature = (iv, data, associated_data, /))]
    fn decrypt<'py>(
        &self,
        iv: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        associated_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some((nonce, content)) = given(iv, data, associated_data) else { return Ok(None) };
        let Some((encrypted, tag)) = content.split_last_chunk() else { return Ok(None) };
        filled(iv.py(), encrypted.len(), false, |out| {
            open_into(&self.0, nonce, b"", encrypted, tag, out)
        })
    }

    fn __repr__(&self) -> &'static str {
        "<Cipher>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a key is never pickled"))
    }
}

/// The nonce and the content, if they are all that a call gives.
fn given<'a>(
    iv: &'a Bound<'_, PyAny>,
    data: &'a Bound<'_, PyAny>,
    associated_data: Option<&Bound<'_, PyAny>>,
) -> Option<(&'a [u8; 12], &'a [u8])> {
    let nonce = bytes(iv)?.try_into().ok()?;
    associated_data.is_none().then_some((nonce, bytes(data)?))
}
