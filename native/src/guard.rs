//! No panic leaves this crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` answers; `None` if it panics.
///
/// Nothing here is meant to panic. If something does, it is as if the value were of another form:
/// Python deals with it. What `work` may have half written is dropped by whoever gets `None`.
pub fn guarded<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn an_answer_is_handed_on() {
        assert_eq!(guarded(|| Some(1)), Some(1));
        assert_eq!(guarded(|| None::<u8>), None);
    }

    #[test]
    #[expect(clippy::panic, reason = "the matter of the test")]
    fn a_panic_is_an_answer_of_none() {
        assert_eq!(guarded(|| -> Option<u8> { panic!("on purpose") }), None);
    }
}
