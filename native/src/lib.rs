//! The compiled core of encfields: opens and seals its messages, and nothing else.
//!
//! It is to the last byte what `encfields.message.one_pass` is in Python, and like that answers
//! `None` to whatever is not of the one form that encfields writes, or does not authenticate:
//! Python then reads it the long way and words the error. See `docs/native.md`.
//!
//! * [`message`]: where the fields of a message lie.
//! * [`keys`]: from the branch key to the data key.
//! * [`derivation`]: from the data key to what encrypts, by [`hmac`]; [`lanes`]: many blocks at once.
//! * [`data_key_cache`]: what messages that were opened before are opened with.
//! * [`sealing`]: sealing and opening, on bytes.
//! * [`index`]: the code that a blind index is a part of.
//! * [`cell`]: what a statement delivers: a row's key and its message.
//! * [`wiped`]: what must not stay in memory.
//! * [`guard`]: a panic is an answer of `None`.
//! * `python`: all of it as Python sees it, and the only modules that know of Python.

pub mod cell;
pub mod data_key_cache;
pub mod derivation;
pub mod guard;
pub mod hmac;
pub mod index;
pub mod keys;
pub mod lanes;
pub mod message;
pub mod sealing;
pub mod wiped;

#[cfg(feature = "python")]
mod python;
