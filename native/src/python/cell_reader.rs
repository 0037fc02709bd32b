//! The reader of one encrypted column's cells.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::branch_key::{bytes, found};
use super::single::opened;
use crate::cell::{Cells, KeyForm, Piece, Places};
use crate::guard::guarded;
use crate::message::Message;

/// Opens the delivered cells of one encrypted column. Its arguments are those of
/// `encfields.message.one_pass.CellReader`.
#[pyclass(frozen, module = "encfields_native")]
pub struct CellReader {
    /// How a cell is taken apart.
    pub cells: Cells,
    /// The branch key id, if it is the same for every row.
    fixed_id: Option<Py<PyString>>,
}

#[pymethods]
impl CellReader {
    #[new]
    fn new(
        py: Python<'_>,
        tag: Vec<u8>,
        head: Vec<u8>,
        parts: Vec<(usize, Vec<u8>)>,
        forms: Vec<String>,
        key: Vec<KeyPiece>,
    ) -> PyResult<Self> {
        let forms = forms.iter().map(|name| KeyForm::named(name)).collect::<Option<Box<_>>>();
        let fixed_id = key.iter().map(KeyPiece::text).collect::<Option<String>>();
        let cells = Cells {
            tag: tag.into(),
            head: head.into(),
            parts: parts.into_iter().map(|(place, name)| (place, name.into())).collect(),
            forms: forms.ok_or_else(|| PyValueError::new_err("a form of key that is not known"))?,
            key: key.into_iter().map(KeyPiece::into_piece).collect(),
        };
        let fixed_id = fixed_id.map(|id| PyString::new(py, &id).unbind());
        Ok(Self { cells, fixed_id })
    }

    /// The plaintext of a cell; `None` if it is of another form or does not authenticate. What
    /// `find_key` raises passes.
    #[pyo3(signature = (cell, find_key, /))]
    fn open<'py>(
        &self,
        cell: &Bound<'py, PyAny>,
        find_key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut places = Places::of(1);
        let Some(cell) = bytes(cell) else {
            return Ok(None);
        };
        let Some(cell) = guarded(|| self.cells.read(cell, &mut places)) else {
            return Ok(None);
        };
        let (context, id) = (cell.context(&places), cell.key_id(&places));
        let Some(message) = guarded(|| Message::read(cell.message, context, id)) else {
            return Ok(None);
        };
        let Some(key_id) = self.key_id(id, find_key.py()) else {
            return Ok(None);
        };
        match found(find_key, &key_id, message.wrapped.version)? {
            Some(key) => opened(message, context, &key, true),
            None => Ok(None),
        }
    }
}

impl CellReader {
    /// The branch key id of a cell, as Python has it.
    pub fn key_id<'py>(&self, id: &[u8], py: Python<'py>) -> Option<Bound<'py, PyString>> {
        match &self.fixed_id {
            Some(id) => Some(id.bind(py).clone()),
            None => Some(PyString::new(py, std::str::from_utf8(id).ok()?)),
        }
    }
}

/// A piece of a branch key id: a text, or the place of a part of the row's key.
#[derive(FromPyObject)]
enum KeyPiece {
    Text(String),
    Part(usize),
}

impl KeyPiece {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Part(_) => None,
        }
    }

    fn into_piece(self) -> Piece {
        match self {
            Self::Text(text) => Piece::Text(text.into_bytes().into()),
            Self::Part(place) => Piece::Part(place),
        }
    }
}
