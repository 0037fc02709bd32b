//! What is derived from a branch key, kept in the Python object that has the key.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::data_key_cache::DataKeyCache;
use crate::keys::BranchKey;

/// What is derived from a branch key. It lives in `BranchKey.compiled` and dies with that object,
/// which the key cache alone holds.
#[pyclass(frozen, weakref, module = "encfields_native")]
pub struct CompiledKey(pub BranchKey);

#[pymethods]
impl CompiledKey {
    fn __repr__(&self) -> &'static str {
        "<CompiledKey>"
    }

    /// How many messages of the data key cache it keeps.
    #[getter]
    fn kept(&self) -> usize {
        self.0.data_keys.as_ref().map_or(0, DataKeyCache::kept)
    }

    /// How many messages were opened with what that keeps.
    #[getter]
    fn reopened(&self) -> u64 {
        self.0.data_keys.as_ref().map_or(0, DataKeyCache::reopened)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a branch key is never pickled"))
    }
}

/// What is derived from a Python `BranchKey`, made on its first use; `None` if it cannot be.
///
/// Two threads may both make one; they are equal, and either may stay.
pub fn compiled<'py>(key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, CompiledKey>>> {
    let py = key.py();
    let found = key.getattr(intern!(py, "compiled"))?;
    if let Ok(compiled) = found.cast_into::<CompiledKey>() {
        return Ok(Some(compiled));
    }
    let id = key.getattr(intern!(py, "id_bytes"))?;
    let version = key.getattr(intern!(py, "version_bytes"))?;
    let material = key.getattr(intern!(py, "material"))?;
    let (Some(id), Some(version), Some(material)) = (bytes(&id), bytes(&version), bytes(&material))
    else {
        return Ok(None);
    };
    let (Ok(version), Ok(material)) = (version.try_into(), material.try_into()) else {
        return Ok(None);
    };
    let Some(derived) = BranchKey::new(id, version, material) else {
        return Ok(None);
    };
    let derived = match key.getattr_opt(intern!(py, "keeps_data_keys"))? {
        Some(keeps) if keeps.is_truthy()? => derived.keeping_data_keys(),
        _ => derived,
    };
    let compiled = Bound::new(py, CompiledKey(derived))?;
    key.setattr(intern!(py, "compiled"), &compiled)?;
    Ok(Some(compiled))
}

/// Asks `find_key` for the branch key of an id and version.
pub fn found<'py>(
    find_key: &Bound<'py, PyAny>,
    key_id: &Bound<'py, PyString>,
    version: &[u8; 16],
) -> PyResult<Option<Bound<'py, CompiledKey>>> {
    let version = PyString::new(find_key.py(), version_text(version, &mut [0; 36]));
    compiled(&find_key.call1((key_id, version))?)
}

/// The content of what is exactly a `bytes`.
pub fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    object.cast_exact::<PyBytes>().ok().map(|bytes| bytes.as_bytes())
}

/// A UUID in lower case and hyphenated.
fn version_text<'a>(version: &[u8; 16], text: &'a mut [u8; 36]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut places = text.iter_mut();
    for (number, byte) in version.iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            places.by_ref().take(1).for_each(|place| *place = b'-');
        }
        for digit in [byte >> 4, byte & 15] {
            let digit = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0');
            places.by_ref().take(1).for_each(|place| *place = digit);
        }
    }
    std::str::from_utf8(text).unwrap_or("")
}
