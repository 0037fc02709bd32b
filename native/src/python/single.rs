//! One value at a time.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::branch_key::{CompiledKey, bytes, compiled, found};
use crate::guard::guarded;
use crate::message::{Message, RANDOM_BYTES};
use crate::sealing::{self, Sealed};
use crate::wiped::Wiped;

/// Longer contents are worked on while other threads run.
const LONG: usize = 64 * 1024;

/// A message that holds `plaintext` under a data key of its own; `None` for what is no `bytes` or
/// too long.
#[pyfunction]
#[pyo3(signature = (plaintext, context, key, /))]
pub fn seal<'py>(
    plaintext: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = plaintext.py();
    let (Some(plaintext), Some(context)) = (bytes(plaintext), bytes(context)) else {
        return Ok(None);
    };
    let Some(key) = compiled(key)? else {
        return Ok(None);
    };
    let key = &key.get().0;
    let Some(size) = sealing::sealed_size(plaintext, context, key) else {
        return Ok(None);
    };
    filled(py, size, plaintext.len() > LONG, |out| {
        let mut random = Wiped::new([0; RANDOM_BYTES]);
        sealing::fill_with_random(&mut *random)?;
        sealing::seal(plaintext, context, key, &random, out)
    })
}

/// The plaintext of `message`, if it was sealed for `context` under `key_id`; `None` if it is of
/// another form or does not authenticate. What `find_key` raises passes.
#[pyfunction]
#[pyo3(signature = (message, context, key_id, find_key, /))]
pub fn open_<'py>(
    message: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    key_id: &Bound<'py, PyAny>,
    find_key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    open(message, context, key_id, find_key, false)
}

/// The same by the data key cache, if the branch key has one.
#[pyfunction]
#[pyo3(signature = (message, context, key_id, find_key, /))]
pub fn open_kept<'py>(
    message: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    key_id: &Bound<'py, PyAny>,
    find_key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    open(message, context, key_id, find_key, true)
}

fn open<'py>(
    message: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    key_id: &Bound<'py, PyAny>,
    find_key: &Bound<'py, PyAny>,
    by_cache: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (Some(message), Some(context)) = (bytes(message), bytes(context)) else {
        return Ok(None);
    };
    let Ok(key_id) = key_id.cast::<PyString>() else {
        return Ok(None);
    };
    let Ok(id) = key_id.to_str() else {
        return Ok(None); // a lone surrogate, which no message holds
    };
    let Some(message) = guarded(|| Message::read(message, context, id.as_bytes())) else {
        return Ok(None);
    };
    match found(find_key, key_id, message.wrapped.version)? {
        Some(key) => opened(message, context, &key, by_cache),
        None => Ok(None),
    }
}

/// The plaintext of a message, as a Python object that nothing else holds.
pub fn opened<'py>(
    message: Message<'_>,
    context: &[u8],
    key: &Bound<'py, CompiledKey>,
    by_cache: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (py, key) = (key.py(), &key.get().0);
    let data_keys = key.data_keys.as_ref().filter(|_| by_cache);
    let kept = data_keys.and_then(|data_keys| guarded(|| data_keys.find(&message)));
    let cipher = kept.as_ref().map(|kept| &kept.cipher);
    let sealed = Sealed { message, context, key, cipher };
    let (size, mut derived) = (message.content.len(), None);
    let plaintext = filled(py, size, size > LONG, |out| {
        derived = sealed.open(out)?;
        Some(())
    })?;
    if let (Some(data_keys), Some(cipher)) = (data_keys, derived) {
        guarded(|| data_keys.keep(&message, cipher));
    }
    Ok(plaintext)
}

/// A Python object that nothing else holds, if `work` fills it; other threads run meanwhile if it
/// is long.
pub fn filled<'py>(
    py: Python<'py>,
    size: usize,
    is_long: bool,
    mut work: impl FnMut(&mut [u8]) -> Option<()> + Send,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let mut is_filled = false;
    let bytes = PyBytes::new_with(py, size, |out| {
        let mut work = || guarded(|| work(out));
        is_filled = if is_long { py.detach(work) } else { work() }.is_some();
        Ok(())
    })?;
    Ok(is_filled.then_some(bytes))
}
