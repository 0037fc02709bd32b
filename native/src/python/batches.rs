//! Many values at once, while Python's other threads run.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::branch_key::{CompiledKey, bytes, compiled, found};
use crate::guard::guarded;
use crate::keys::BranchKey;
use crate::message::{Message, RANDOM_BYTES};
use crate::sealing::{self, Opened, Sealed};

/// Values that are worked on before it is asked whether the user interrupts: some milliseconds.
const AT_ONCE: usize = 1024;

/// The messages of many values, each for its own context under one branch key, in their order;
/// `None` in the place of what is no `bytes` or too long.
#[pyfunction]
#[pyo3(signature = (plaintexts, contexts, key, /))]
pub fn seal_many<'py>(
    plaintexts: &Bound<'py, PyList>,
    contexts: &Bound<'py, PyList>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = key.py();
    let key = compiled(key)?;
    let found = PyList::empty(py);
    for (values, contexts) in chunks(plaintexts, contexts) {
        let work = pairs(&values, &contexts);
        let sealed = match key.as_ref().map(|key| &key.get().0) {
            Some(key) => py.detach(|| guarded(|| sealed_all(&work, key))),
            None => None,
        };
        append(&found, sealed, work.len())?;
        py.check_signals()?;
    }
    Ok(found)
}

/// The plaintexts of many messages under one branch key id, each sealed for its own context, in
/// their order; `None` in the place of what is of another form or does not authenticate.
///
/// `find_key` is asked once for each version, and what it raises passes.
#[pyfunction]
#[pyo3(signature = (messages, contexts, key_id, find_key, /))]
pub fn open_many<'py>(
    messages: &Bound<'py, PyList>,
    contexts: &Bound<'py, PyList>,
    key_id: &Bound<'py, PyString>,
    find_key: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = find_key.py();
    let mut keys = Versions { key_id, find_key, known: Vec::new() };
    let opened = PyList::empty(py);
    for (values, contexts) in chunks(messages, contexts) {
        let work = keys.of(pairs(&values, &contexts))?;
        let work: Vec<_> = work.iter().map(|one| one.as_ref().map(Found::sealed)).collect();
        let plaintexts = py.detach(|| guarded(|| sealing::open_each(&work, false)));
        append(&opened, plaintexts.as_ref().map(Opened::iter), work.len())?;
        py.check_signals()?;
    }
    Ok(opened)
}

/// Many messages sealed anew under `key`, each opened for a context and sealed for another, or
/// the same; `None` in the place of one of another form, or under another branch key id than that
/// of `key`, or that does not authenticate.
///
/// `find_key` is asked once for each version, and what it raises passes.
#[pyfunction]
#[pyo3(signature = (messages, contexts, new_contexts, key, find_key, /))]
pub fn reseal_many<'py>(
    messages: &Bound<'py, PyList>,
    contexts: &Bound<'py, PyList>,
    new_contexts: &Bound<'py, PyList>,
    key: &Bound<'py, PyAny>,
    find_key: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = key.py();
    let key_id = key.getattr("id")?.cast_into::<PyString>()?;
    let key = compiled(key)?;
    let mut keys = Versions { key_id: &key_id, find_key, known: Vec::new() };
    let resealed = PyList::empty(py);
    let places = new_contexts.iter().collect::<Vec<_>>();
    for ((values, contexts), places) in chunks(messages, contexts).zip(places.chunks(AT_ONCE)) {
        let work = keys.of(pairs(&values, &contexts))?;
        let work: Vec<_> = work.iter().map(|one| one.as_ref().map(Found::sealed)).collect();
        let places: Vec<_> = places.iter().map(bytes).collect();
        let done = match key.as_ref().map(|key| &key.get().0) {
            Some(key) => py.detach(|| guarded(|| resealed_all(&work, &places, key))),
            None => None,
        };
        append(&resealed, done, work.len())?;
        py.check_signals()?;
    }
    Ok(resealed)
}

fn sealed_all(work: &[Option<(&[u8], &[u8])>], key: &BranchKey) -> Option<Vec<Option<Vec<u8>>>> {
    let random = sealing::random(work.len())?;
    Some(sealing::seal_each(work, key, random.as_chunks::<RANDOM_BYTES>().0))
}

fn resealed_all(
    work: &[Option<Sealed<'_>>],
    places: &[Option<&[u8]>],
    key: &BranchKey,
) -> Option<Vec<Option<Vec<u8>>>> {
    let opened = sealing::open_each(work, false)?;
    let work: Vec<_> =
        opened.iter().zip(places).map(|(plaintext, place)| Some((plaintext?, (*place)?))).collect();
    sealed_all(&work, key)
}

/// The branch keys of one id, which are asked for once each and held for as long as a batch.
struct Versions<'a, 'py> {
    key_id: &'a Bound<'py, PyString>,
    find_key: &'a Bound<'py, PyAny>,
    known: Vec<([u8; 16], Option<Bound<'py, CompiledKey>>)>,
}

/// A message that was read, its context, and the key that it names.
struct Found<'a, 'py> {
    message: Message<'a>,
    context: &'a [u8],
    key: Bound<'py, CompiledKey>,
}

impl Found<'_, '_> {
    fn sealed(&self) -> Sealed<'_> {
        // What was opened before is not looked for: a whole table is read once.
        let key = &self.key.get().0;
        Sealed { message: self.message, context: self.context, key, cipher: None }
    }
}

impl<'py> Versions<'_, 'py> {
    fn of<'b>(
        &mut self,
        work: Vec<Option<(&'b [u8], &'b [u8])>>,
    ) -> PyResult<Vec<Option<Found<'b, 'py>>>> {
        let Ok(id) = self.key_id.to_str() else {
            return Ok(work.iter().map(|_| None).collect());
        };
        let mut found = Vec::with_capacity(work.len());
        for one in work {
            let read = one.and_then(|(message, context)| {
                let message = guarded(|| Message::read(message, context, id.as_bytes()))?;
                Some((message, context))
            });
            found.push(match read {
                Some((message, context)) => self
                    .version(message.wrapped.version)?
                    .map(|key| Found { message, context, key }),
                None => None,
            });
        }
        Ok(found)
    }

    fn version(&mut self, version: &[u8; 16]) -> PyResult<Option<Bound<'py, CompiledKey>>> {
        if let Some((_, key)) = self.known.iter().find(|(known, _)| known == version) {
            return Ok(key.clone());
        }
        let key = found(self.find_key, self.key_id, version)?;
        self.known.push((*version, key.clone()));
        Ok(key)
    }
}

type Objects<'py> = Vec<Bound<'py, PyAny>>;

/// The members of two lists, some at a time: as many of each as the shorter one has.
fn chunks<'py>(
    one: &Bound<'py, PyList>,
    other: &Bound<'py, PyList>,
) -> impl Iterator<Item = (Objects<'py>, Objects<'py>)> {
    let both = one.iter().zip(other.iter()).collect::<Vec<_>>();
    let mut both = both.into_iter();
    std::iter::from_fn(move || {
        let some = both.by_ref().take(AT_ONCE).unzip::<_, _, Objects<'py>, Objects<'py>>();
        (!some.0.is_empty()).then_some(some)
    })
}

/// The contents of those that are both exactly `bytes`.
fn pairs<'a>(
    values: &'a [Bound<'_, PyAny>],
    contexts: &'a [Bound<'_, PyAny>],
) -> Vec<Option<(&'a [u8], &'a [u8])>> {
    let both = values.iter().zip(contexts);
    both.map(|(value, context)| Some((bytes(value)?, bytes(context)?))).collect()
}

/// Appends what was found, or as often `None` if that came to nothing as a whole.
fn append<T: AsRef<[u8]>>(
    list: &Bound<'_, PyList>,
    found: Option<impl IntoIterator<Item = Option<T>>>,
    count: usize,
) -> PyResult<()> {
    let mut found = found.into_iter().flatten();
    for _ in 0..count {
        let one = found.next().flatten();
        list.append(one.map(|bytes| PyBytes::new(list.py(), bytes.as_ref())))?;
    }
    Ok(())
}
