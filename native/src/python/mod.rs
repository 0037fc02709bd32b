//! The crate as Python sees it.
//!
//! Nothing here raises an error of its own, but for a `CellReader` that is declared wrongly: the
//! answer to what is not of the one form is `None`. What `find_key` raises passes, and so does
//! the interrupt that came in the midst of a long batch.

mod batches;
mod branch_key;
mod cell_reader;
mod rows;
mod short;
mod single;

use pyo3::prelude::*;

/// The compiled core of encfields. Applications have no use for it: encfields finds it.
#[pymodule]
mod encfields_native {
    #[pymodule_export]
    use super::batches::{open_many, reseal_many, seal_many};
    #[pymodule_export]
    use super::branch_key::CompiledKey;
    #[pymodule_export]
    use super::cell_reader::CellReader;
    #[pymodule_export]
    use super::rows::{OpenedCell, open_rows};
    #[pymodule_export]
    use super::short::{Cipher, index_code};
    #[pymodule_export]
    use super::single::{open_, open_kept, seal};
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
