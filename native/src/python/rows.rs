//! The rows that a driver delivers, whose cells are opened many at once.

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::branch_key::{CompiledKey, bytes, found};
use super::cell_reader::CellReader;
use crate::cell::{Cell, Places};
use crate::data_key_cache::MOST_KEPT;
use crate::guard::guarded;
use crate::message::Message;
use crate::sealing::{Opened, Sealed, open_each};

/// Cells that are opened before it is asked whether the user interrupts: a millisecond.
const AT_ONCE: usize = 1024;
/// Of a fetch of more cells nothing new is kept: it would take the place of half of what is.
const MOST_KEPT_OF: usize = MOST_KEPT / 2;
/// From so many on other threads run meanwhile: it is not worth while for fewer.
const MANY: usize = 256;

/// Stands in a driver's row for a cell that was opened before the row is processed.
///
/// It shows nothing of its value, as the cell itself does not.
#[pyclass(frozen, module = "encfields_native")]
pub struct OpenedCell {
    /// The column's value.
    #[pyo3(get)]
    value: Py<PyAny>,
    /// As it was delivered.
    #[pyo3(get)]
    cell: Py<PyAny>,
}

#[pymethods]
impl OpenedCell {
    #[new]
    fn new(value: Py<PyAny>, cell: Py<PyAny>) -> Self {
        Self { value, cell }
    }

    fn __repr__(&self) -> &'static str {
        "<opened value>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a value on its way out of a result is never pickled"))
    }
}

/// An encrypted column of a result: where it stands in a row, what reads its cells, and what
/// makes a value of a plaintext; `None` for a text.
type Column<'py> = (usize, Bound<'py, CellReader>, Option<Bound<'py, PyAny>>);

/// The rows with an [`OpenedCell`] in the place of each cell of the columns that opens, and how
/// many do.
///
/// Every other cell stays as it is, also one whose key is not found or whose plaintext is none of
/// the column's. Of what `find_key` and the columns' decoders raise, only what is no `Exception`
/// passes.
#[pyfunction]
#[pyo3(signature = (rows, columns, find_key, /))]
pub fn open_rows<'py>(
    rows: &Bound<'py, PyList>,
    columns: Vec<Column<'py>>,
    find_key: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyList>, usize)> {
    let py = find_key.py();
    let found = PyList::empty(py);
    let mut opened: usize = 0;
    let mut lacks_key = false;
    let rows: Vec<_> = rows.iter().collect();
    let keeps = rows.len().saturating_mul(columns.len()) <= MOST_KEPT_OF;
    let rows_at_once = AT_ONCE.checked_div(columns.len()).unwrap_or(1).max(1);
    for some in rows.chunks(rows_at_once) {
        let cells = cells_of(some, &columns)?;
        let plaintexts = plaintexts(&cells, &columns, find_key, keeps, &mut lacks_key)?;
        let mut plaintexts = plaintexts.iter();
        let mut cells = cells.chunks(columns.len().max(1));
        for row in some {
            let mut row = Row { row, columns: &columns, opened: 0 };
            let cells = cells.next().unwrap_or_default();
            found.append(row.with(cells, plaintexts.by_ref())?)?;
            opened = opened.saturating_add(row.opened);
        }
        py.check_signals()?;
    }
    Ok((found, opened))
}

/// The cells of the columns, row by row.
fn cells_of<'py>(
    rows: &[Bound<'py, PyAny>],
    columns: &[Column<'py>],
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut cells = Vec::with_capacity(rows.len().saturating_mul(columns.len()));
    for row in rows {
        for (place, ..) in columns {
            cells.push(match row.cast_exact::<PyTuple>() {
                Ok(row) => row.get_item(*place)?,
                Err(_) => row.get_item(place)?,
            });
        }
    }
    Ok(cells)
}

/// What each cell holds; `None` for one that does not open.
fn plaintexts<'py>(
    cells: &[Bound<'py, PyAny>],
    columns: &[Column<'py>],
    find_key: &Bound<'py, PyAny>,
    keeps: bool,
    lacks_key: &mut bool,
) -> PyResult<Opened> {
    let py = find_key.py();
    let mut places = Places::of(cells.len());
    let read: Vec<_> = cells
        .iter()
        .zip(columns.iter().cycle())
        .map(|(cell, (_, reader, _))| {
            let (reader, cell) = (reader.get(), bytes(cell)?);
            Some((reader, guarded(|| reader.cells.read(cell, &mut places))?))
        })
        .collect();
    let mut keys = Keys { find_key, places: &places, known: Vec::new(), lacks_key };
    let mut each = Vec::with_capacity(read.len());
    for one in &read {
        each.push(match one {
            Some((reader, cell)) => keys.of(reader, cell)?,
            None => None,
        });
    }
    let known = keys.known;
    let mut work: Vec<_> = each
        .iter()
        .map(|one| {
            let (message, context, place) = (*one)?;
            let key = &known.get(place)?.key.as_ref()?.get().0;
            Some(Sealed { message, context, key, cipher: None })
        })
        .collect();
    let kept: Vec<_> = work
        .iter()
        .map(|one| {
            let Sealed { message, key, .. } = one.as_ref()?;
            guarded(|| key.data_keys.as_ref()?.find(message))
        })
        .collect();
    for (one, kept) in work.iter_mut().zip(&kept) {
        if let Some(one) = one {
            one.cipher = kept.as_ref().map(|kept| &kept.cipher);
        }
    }
    let open = || guarded(|| open_each(&work, keeps));
    let opened = if work.len() < MANY { open() } else { py.detach(open) };
    let mut opened = opened.unwrap_or_else(|| Opened::of_none(work.len()));
    for (place, cipher) in opened.ciphers.drain(..) {
        guarded(|| {
            let Sealed { message, key, .. } = work.get(place)?.as_ref()?;
            key.data_keys.as_ref()?.keep(message, cipher)
        });
    }
    Ok(opened)
}

/// The branch keys of a batch, each of which is asked for once.
///
/// Once one could not be had no other is asked for: each might be waited for as long, before the
/// first of these rows is refused.
struct Keys<'a, 'py> {
    find_key: &'a Bound<'py, PyAny>,
    places: &'a Places,
    known: Vec<Known<'a, 'py>>,
    lacks_key: &'a mut bool,
}

struct Known<'a, 'py> {
    id: &'a [u8],
    version: [u8; 16],
    key: Option<Bound<'py, CompiledKey>>,
}

impl<'a> Keys<'a, '_> {
    /// The message in a cell, its context, and which of the known keys it names.
    fn of(
        &mut self,
        reader: &CellReader,
        cell: &Cell<'a>,
    ) -> PyResult<Option<(Message<'a>, &'a [u8], usize)>> {
        let (context, id) = (cell.context(self.places), cell.key_id(self.places));
        let Some(message) = guarded(|| Message::read(cell.message, context, id)) else {
            return Ok(None);
        };
        let version = message.wrapped.version;
        // Those of a page are one or a few, and the last one's is asked for most.
        let known = self.known.iter().rposition(|one| one.version == *version && one.id == id);
        let place = match known {
            Some(place) => place,
            None => {
                let key = if *self.lacks_key { None } else { self.asked(reader, id, version)? };
                *self.lacks_key |= key.is_none();
                self.known.push(Known { id, version: *version, key });
                self.known.len().saturating_sub(1)
            }
        };
        Ok(Some((message, context, place)))
    }
}

impl<'py> Keys<'_, 'py> {
    fn asked(
        &self,
        reader: &CellReader,
        id: &[u8],
        version: &[u8; 16],
    ) -> PyResult<Option<Bound<'py, CompiledKey>>> {
        let py = self.find_key.py();
        match reader.key_id(id, py) {
            Some(id) => unless_exception(found(self.find_key, &id, version), py),
            None => Ok(None),
        }
    }
}

/// A row, and how many of its cells were opened.
struct Row<'a, 'py> {
    row: &'a Bound<'py, PyAny>,
    columns: &'a [Column<'py>],
    opened: usize,
}

impl<'py> Row<'_, 'py> {
    /// The row with what its cells hold in their places.
    fn with<'p>(
        &mut self,
        cells: &[Bound<'py, PyAny>],
        mut plaintexts: impl Iterator<Item = Option<&'p [u8]>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.row.py();
        let mut items = items_of(self.row)?;
        for ((place, _, decode), cell) in self.columns.iter().zip(cells) {
            let value = match plaintexts.next().flatten() {
                Some(plaintext) => value_of(plaintext, decode.as_ref(), py)?,
                None => None,
            };
            if let (Some(value), Some(item)) = (value, items.get_mut(*place)) {
                let opened = OpenedCell { value: value.unbind(), cell: cell.clone().unbind() };
                *item = Bound::new(py, opened)?.into_any();
                self.opened = self.opened.saturating_add(1);
            }
        }
        if self.opened == 0 {
            return Ok(self.row.clone());
        }
        Ok(PyTuple::new(py, items)?.into_any())
    }
}

/// The members of a row, which nearly every driver delivers as a tuple.
fn items_of<'py>(row: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match row.cast_exact::<PyTuple>() {
        Ok(row) => Ok(row.iter().collect()),
        Err(_) => row.try_iter()?.collect(),
    }
}

/// The value of a plaintext; `None` if it is none of the column's.
fn value_of<'py>(
    plaintext: &[u8],
    decode: Option<&Bound<'py, PyAny>>,
    py: Python<'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(decode) = decode else {
        let text = std::str::from_utf8(plaintext).ok();
        return Ok(text.map(|text| PyString::new(py, text).into_any()));
    };
    unless_exception(decode.call1((PyBytes::new(py, plaintext),)).map(Some), py)
}

/// `None` for what raised an `Exception`, which is raised again where the row is processed.
fn unless_exception<T>(found: PyResult<Option<T>>, py: Python<'_>) -> PyResult<Option<T>> {
    match found {
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        found => found,
    }
}
