//! The data key cache: what messages that were opened before are opened with.
//!
//! As `encfields.message.data_key_cache` has it: the cipher of a message, which is derived from the
//! branch key and the header alone, is kept by the bytes of the header. Here it is a table of the
//! process, in which each branch key object has a mark of its own; what bears the mark is wiped
//! when the object is dropped.
//!
//! The table has as many places as it will ever have, in sets that the message id chooses, and the
//! one that was used the longest time ago makes room. So whoever makes up message ids can have
//! something derived again, and nothing else.
//!
//! It is touched while Python's lock is held, and never while anything else is waited for: a child
//! that is forked does not find it locked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::LessSafeKey;

use crate::message::Message;

/// Most ciphers that are kept in a process, at some 1.1 KB each.
pub const MOST_KEPT: usize = SETS * WAYS;
/// Most bytes of a header, without its tag, whose cipher is kept: a context may have 65,535.
const LONGEST_HEADER: usize = 1024;
const SETS: usize = 1024;
const WAYS: usize = 8;
/// Of a key that has ciphers in more sets, all sets are looked through when it is dropped.
const SETS_NOTED: usize = 256;

/// The cipher of a message that was opened, and the header that it was derived of.
pub struct Kept {
    mark: u64,
    header: Box<[u8]>,
    header_tag: [u8; 16],
    /// Is wiped when it is dropped.
    pub cipher: LessSafeKey,
}

impl Kept {
    fn is_of(&self, mark: u64, message: &Message<'_>) -> bool {
        self.mark == mark
            && *self.header == *message.header
            && self.header_tag == *message.header_tag
    }
}

/// A place of the table: the first bytes of the message id save looking at what is elsewhere.
#[derive(Clone, Default)]
struct Place {
    id: u64,
    kept: Option<Arc<Kept>>,
}

impl Place {
    fn found(&self, id: u64, mark: u64, message: &Message<'_>) -> Option<&Arc<Kept>> {
        let kept = if self.id == id { self.kept.as_ref() } else { None };
        kept.filter(|kept| kept.is_of(mark, message))
    }
}

/// The places, most recently used first in each set; none before something is kept.
static TABLE: Mutex<Vec<[Place; WAYS]>> = Mutex::new(Vec::new());
static MARKS: AtomicU64 = AtomicU64::new(0);

fn table() -> MutexGuard<'static, Vec<[Place; WAYS]>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one branch key object has in the table.
pub struct DataKeyCache {
    mark: u64,
    /// The sets where something was kept, until they are too many.
    sets: Mutex<Vec<u16>>,
    reopened: AtomicU64,
}

impl DataKeyCache {
    /// Of a new branch key object, which has nothing there.
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        let mark = MARKS.fetch_add(1, Relaxed);
        Self { mark, sets: Mutex::new(Vec::new()), reopened: AtomicU64::new(0) }
    }

    /// The cipher of a message, if one with the same header was opened before.
    pub fn find(&self, message: &Message<'_>) -> Option<Arc<Kept>> {
        let (id, set) = place_of(message)?;
        let mut table = table();
        let places = table.get_mut(set)?;
        let place =
            places.iter().position(|place| place.found(id, self.mark, message).is_some())?;
        places.get_mut(..=place)?.rotate_right(1);
        self.reopened.fetch_add(1, Relaxed);
        places.first()?.kept.clone()
    }

    /// Keeps the cipher of a message that was opened with it.
    pub fn keep(&self, message: &Message<'_>, cipher: LessSafeKey) -> Option<()> {
        if message.header.len() > LONGEST_HEADER {
            return None;
        }
        let (id, set) = place_of(message)?;
        let kept = Arc::new(Kept {
            mark: self.mark,
            header: message.header.into(),
            header_tag: *message.header_tag,
            cipher,
        });
        let mut table = table();
        if table.is_empty() {
            table.resize(SETS, Default::default());
        }
        let places = table.get_mut(set)?;
        if places.iter().any(|place| place.found(id, self.mark, message).is_some()) {
            return None; // the same value twice in one fetch
        }
        places.rotate_right(1);
        *places.first_mut()? = Place { id, kept: Some(kept) };
        drop(table);
        let mut sets = self.sets();
        if sets.len() <= SETS_NOTED {
            sets.push(u16::try_from(set).ok()?);
        }
        Some(())
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        let table = table();
        let kept = table.iter().flatten().filter_map(|place| place.kept.as_ref());
        kept.filter(|kept| kept.mark == self.mark).count()
    }

    /// How many messages were opened with one.
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Relaxed)
    }

    fn sets(&self) -> MutexGuard<'_, Vec<u16>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wipe(&self, places: &mut [Place; WAYS]) {
        for place in places {
            if place.kept.as_ref().is_some_and(|kept| kept.mark == self.mark) {
                *place = Place::default();
            }
        }
    }
}

impl Drop for DataKeyCache {
    fn drop(&mut self) {
        let sets = self.sets();
        if sets.is_empty() {
            return;
        }
        let mut table = table();
        if sets.len() > SETS_NOTED {
            table.iter_mut().for_each(|places| self.wipe(places));
            return;
        }
        for set in &*sets {
            if let Some(places) = table.get_mut(usize::from(*set)) {
                self.wipe(places);
            }
        }
    }
}

/// The first bytes of the message id, and the set that they choose.
fn place_of(message: &Message<'_>) -> Option<(u64, usize)> {
    let id = u64::from_le_bytes(*message.id.first_chunk()?);
    let set = id.checked_rem(u64::try_from(SETS).ok()?)?;
    Some((id, usize::try_from(set).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEPT, SETS_NOTED, WAYS};
    use crate::keys::BranchKey;
    use crate::message::{Message, RANDOM_BYTES};
    use crate::sealing::{Sealed, open_each, random, seal, sealed_size};

    const CONTEXT: &[u8] = b"\0\x01\0\x01k\0\x01v";

    fn key() -> Option<BranchKey> {
        Some(BranchKey::new(b"tenant/1", [7; 16], &[1; 32])?.keeping_data_keys())
    }

    /// A message whose id starts with so many.
    fn sealed(key: &BranchKey, number: u64, context: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = random(1)?;
        bytes.get_mut(32..40)?.copy_from_slice(&number.to_le_bytes());
        let bytes: &[u8; RANDOM_BYTES] = bytes.as_slice().try_into().ok()?;
        let mut message = vec![0; sealed_size(b"value", context, key)?];
        seal(b"value", context, key, bytes, &mut message)?;
        Some(message)
    }

    /// Opens a message as Python has it opened; whether with what was kept.
    fn opened(key: &BranchKey, bytes: &[u8], context: &[u8]) -> Option<bool> {
        let message = Message::read(bytes, context, &key.id)?;
        let data_keys = key.data_keys.as_ref()?;
        let kept = data_keys.find(&message);
        let cipher = kept.as_ref().map(|kept| &kept.cipher);
        let mut out = [0; 5];
        if let Some(derived) = (Sealed { message, context, key, cipher }).open(&mut out)? {
            data_keys.keep(&message, derived);
        }
        assert_eq!(&out, b"value");
        Some(kept.is_some())
    }

    fn kept(key: &BranchKey) -> usize {
        key.data_keys.as_ref().map_or(0, super::DataKeyCache::kept)
    }

    // One test, since there is one table: others would count what this one keeps.
    #[test]
    fn it_is_bounded_and_of_one_branch_key_object() -> Result<(), &'static str> {
        let all = || {
            let (key, other) = (key()?, key()?);
            let message = sealed(&key, 1, CONTEXT)?;
            assert_eq!(opened(&key, &message, CONTEXT), Some(false));
            assert_eq!(opened(&key, &message, CONTEXT), Some(true));
            assert_eq!((kept(&key), kept(&other)), (1, 0));

            // Another object of the same branch key finds nothing of it, and drops only its own.
            assert_eq!(opened(&other, &message, CONTEXT), Some(false));
            assert_eq!(opened(&other, &message, CONTEXT), Some(true));
            drop(other);
            assert_eq!(opened(&key, &message, CONTEXT), Some(true));

            // No message id makes room for itself but in its own set.
            let set: Vec<_> =
                (0..20).filter_map(|number| sealed(&key, number * 1024 + 1, CONTEXT)).collect();
            for one in &set {
                assert_eq!(opened(&key, one, CONTEXT), Some(false));
            }
            assert_eq!(kept(&key), WAYS);
            assert_eq!(opened(&key, set.last()?, CONTEXT), Some(true));
            assert_eq!(opened(&key, set.first()?, CONTEXT), Some(false));

            // A long header is not kept.
            let long = [CONTEXT, &[0; 1024]].concat();
            let message = sealed(&key, 5, &long)?;
            assert_eq!(opened(&key, &message, &long), Some(false));
            assert_eq!(opened(&key, &message, &long), Some(false));

            // More sets than are noted one by one are wiped as well.
            for number in 0..u64::try_from(MOST_KEPT + SETS_NOTED).ok()? {
                opened(&key, &sealed(&key, number, CONTEXT)?, CONTEXT)?;
            }
            assert!(kept(&key) <= MOST_KEPT);
            let places =
                || super::table().iter().flatten().filter(|one| one.kept.is_some()).count();
            assert_eq!(places(), kept(&key));
            drop(key);
            assert_eq!(places(), 0);
            Some(())
        };
        all().ok_or("was not sealed or opened")
    }

    #[test]
    fn known_and_unknown_messages_open_side_by_side() -> Result<(), &'static str> {
        let all = || {
            let key = BranchKey::new(b"tenant/1", [7; 16], &[1; 32])?;
            let bytes: Vec<_> =
                (0..21).filter_map(|number| sealed(&key, number, CONTEXT)).collect();
            let mut work: Vec<_> = bytes
                .iter()
                .map(|bytes| {
                    let message = Message::read(bytes, CONTEXT, &key.id)?;
                    Some(Sealed { message, context: CONTEXT, key: &key, cipher: None })
                })
                .collect();
            let first = open_each(&work, true)?;
            assert_eq!(first.ciphers.len(), 21);
            for (number, cipher) in first.ciphers.iter().filter(|(number, _)| number % 3 == 0) {
                work.get_mut(*number)?.as_mut()?.cipher = Some(cipher);
            }
            let again = open_each(&work, true)?;
            assert_eq!(again.ciphers.len(), 14);
            assert!(again.iter().all(|one| one == Some(b"value")));

            // A cipher of another message opens nothing.
            for (one, (_, cipher)) in work.iter_mut().zip(first.ciphers.iter().rev()).take(10) {
                one.as_mut()?.cipher = Some(cipher);
            }
            assert!(open_each(&work, true)?.iter().take(10).all(|one| one.is_none()));
            Some(())
        };
        all().ok_or("was not sealed or opened")
    }
}
