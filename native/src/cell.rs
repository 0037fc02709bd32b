//! What a statement delivers: the key of a row, and the message that was sealed for the row.
//!
//! `<tag> ':' <key part> ':' ... <message>`, as `encfields.message.cell` describes it.

use std::ops::Range;

const SEPARATOR: u8 = b':';

/// How one part of a row's key stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// In decimal digits.
    Integer,
    /// In lower case and hyphenated.
    Uuid,
    /// In 32 digits in lower case.
    UuidDigits,
    /// The same, each digit's ASCII code in hexadecimal.
    UuidDigitsHex,
    /// The text's UTF-8 in hexadecimal.
    TextHex,
    /// The bytes in hexadecimal.
    BinaryHex,
}

impl KeyForm {
    /// The form that Python calls by this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "integer" => Self::Integer,
            "uuid" => Self::Uuid,
            "uuid-digits" => Self::UuidDigits,
            "uuid-digits-hex" => Self::UuidDigitsHex,
            "text-hex" => Self::TextHex,
            "binary-hex" => Self::BinaryHex,
            _ => return None,
        })
    }

    /// Appends the canonical text, in UTF-8, of a part that is delivered in this form.
    ///
    /// Returns `None` for a part of another form, which could be another row's key.
    fn write_canonical(self, part: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Integer => is_integer(part).then(|| out.extend_from_slice(part)),
            Self::Uuid => is_uuid(part).then(|| out.extend_from_slice(part)),
            Self::UuidDigits => write_hyphenated(part, out),
            Self::UuidDigitsHex => write_hyphenated(&unhexed(part)?, out),
            Self::TextHex => {
                let text = unhexed(part)?;
                std::str::from_utf8(&text).is_ok().then(|| out.extend_from_slice(&text))
            }
            Self::BinaryHex => (part.len().is_multiple_of(2)
                && part.iter().all(u8::is_ascii_hexdigit))
            .then(|| out.extend(part.iter().map(u8::to_ascii_lowercase))),
        }
    }
}

/// Without a sign: a negative key is left to Python.
fn is_integer(part: &[u8]) -> bool {
    match part {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_lower_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_uuid(part: &[u8]) -> bool {
    part.len() == 36
        && part.iter().enumerate().all(|(place, &byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_lower_digit(byte),
        })
}

fn write_hyphenated(digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if digits.len() != 32 || !digits.iter().all(|&byte| is_lower_digit(byte)) {
        return None;
    }
    for (place, &digit) in digits.iter().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(digit);
    }
    Some(())
}

fn unhexed(part: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = part.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(hex_value(high)? << 4 | hex_value(low)?)).collect()
}

fn hex_value(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

/// A piece of the branch key id that a row demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Stands for itself.
    Text(Box<[u8]>),
    /// Stands for the part of the row's key at that place.
    Part(usize),
}

/// How the cells of one encrypted column are read.
pub struct Cells {
    /// What a cell of the column starts with.
    pub tag: Box<[u8]>,
    /// The start of the column's context.
    pub head: Box<[u8]>,
    /// In the context's order: each identity column's place in the row's key, and its name.
    pub parts: Box<[(usize, Box<[u8]>)]>,
    /// How each part of the row's key is delivered.
    pub forms: Box<[KeyForm]>,
    /// The branch key id that a row demands.
    pub key: Box<[Piece]>,
}

/// The places that cells were delivered from, one after the other in one buffer.
#[derive(Default)]
pub struct Places {
    bytes: Vec<u8>,
    texts: Vec<Range<usize>>,
}

impl Places {
    /// Has room for so many places of a usual size.
    pub fn of(count: usize) -> Self {
        Self { bytes: Vec::with_capacity(count.saturating_mul(192)), texts: Vec::new() }
    }

    fn at(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }

    /// Appends the text of a part of the row's key.
    fn repeat(&mut self, text: Range<usize>) {
        self.bytes.extend_from_within(text);
    }
}

/// What a cell says: the place that it was delivered from, and the message found there.
pub struct Cell<'a> {
    context: Range<usize>,
    key_id: Range<usize>,
    /// What was found there.
    pub message: &'a [u8],
}

impl Cell<'_> {
    /// The serialised encryption context of the place.
    pub fn context<'p>(&self, places: &'p Places) -> &'p [u8] {
        places.at(&self.context)
    }

    /// The branch key id that the place demands.
    pub fn key_id<'p>(&self, places: &'p Places) -> &'p [u8] {
        places.at(&self.key_id)
    }
}

impl Cells {
    /// Takes a cell apart; `None` if it is of another column or form.
    pub fn read<'a>(&self, cell: &'a [u8], places: &mut Places) -> Option<Cell<'a>> {
        let mut rest = after_separator(cell.strip_prefix(&*self.tag)?)?;
        places.texts.clear();
        for form in &self.forms {
            let end = rest.iter().position(|&byte| byte == SEPARATOR)?;
            let (part, after) = rest.split_at_checked(end)?;
            let start = places.bytes.len();
            form.write_canonical(part, &mut places.bytes)?;
            places.texts.push(start..places.bytes.len());
            rest = after_separator(after)?;
        }
        let context = self.write_context(places)?;
        Some(Cell { context, key_id: self.write_key_id(places)?, message: rest })
    }

    fn write_context(&self, places: &mut Places) -> Option<Range<usize>> {
        let start = places.bytes.len();
        places.bytes.extend_from_slice(&self.head);
        for (place, name) in &self.parts {
            let text = places.texts.get(*place)?.clone();
            places.bytes.extend_from_slice(name);
            places.bytes.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            places.repeat(text);
        }
        Some(start..places.bytes.len())
    }

    fn write_key_id(&self, places: &mut Places) -> Option<Range<usize>> {
        let start = places.bytes.len();
        for piece in &self.key {
            match piece {
                Piece::Text(text) => places.bytes.extend_from_slice(text),
                Piece::Part(place) => {
                    let text = places.texts.get(*place)?.clone();
                    if !places.at(&text).iter().all(|&byte| is_plain(byte)) {
                        return None; // it would have to be percent-encoded: left to Python
                    }
                    places.repeat(text);
                }
            }
        }
        Some(start..places.bytes.len())
    }
}

fn after_separator(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[SEPARATOR])
}

/// Whether a byte stands in a branch key id as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-')
}

#[cfg(test)]
mod tests {
    use super::{Cells, KeyForm, Piece, Places};

    fn canonical(form: KeyForm, part: &str) -> Option<String> {
        let mut text = Vec::new();
        form.write_canonical(part.as_bytes(), &mut text)?;
        String::from_utf8(text).ok()
    }

    #[test]
    fn each_form_has_its_canonical_text() {
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        for (form, part, text) in [
            (KeyForm::Integer, "0", "0"),
            (KeyForm::Integer, "1029", "1029"),
            (KeyForm::Uuid, uuid, uuid),
            (KeyForm::UuidDigits, "0f8fad5bd9cb469fa16570867728950e", uuid),
            (
                KeyForm::UuidDigitsHex,
                "3066386661643562643963623436396661313635373038363737323839353065",
                uuid,
            ),
            (KeyForm::TextHex, "41C3A9", "Aé"),
            (KeyForm::TextHex, "", ""),
            (KeyForm::BinaryHex, "01FF", "01ff"),
        ] {
            assert_eq!(canonical(form, part).as_deref(), Some(text), "{form:?} of {part}");
        }
    }

    #[test]
    fn another_spelling_of_a_key_is_none() {
        for (form, part) in [
            (KeyForm::Integer, ""),
            (KeyForm::Integer, "007"),
            (KeyForm::Integer, "-0"),
            (KeyForm::Integer, "+1"),
            (KeyForm::Integer, "1 "),
            (KeyForm::Integer, "1e3"),
            (KeyForm::Integer, "!null!"),
            (KeyForm::Uuid, "0F8FAD5B-D9CB-469F-A165-70867728950E"),
            (KeyForm::Uuid, "0f8fad5bd9cb469fa16570867728950e"),
            (KeyForm::UuidDigits, "0f8fad5b-d9cb-469f-a165-70867728950e"),
            (KeyForm::UuidDigits, "0F8FAD5BD9CB469FA16570867728950E"),
            (KeyForm::UuidDigitsHex, "0f8fad5bd9cb469fa16570867728950e"),
            (KeyForm::TextHex, "4"),
            (KeyForm::TextHex, "4g"),
            (KeyForm::TextHex, "41 42"),
            (KeyForm::TextHex, "ff"),
            (KeyForm::TextHex, "eda080"),
            (KeyForm::BinaryHex, "0"),
            (KeyForm::BinaryHex, "0x"),
        ] {
            assert_eq!(canonical(form, part), None, "{form:?} of {part}");
        }
    }

    fn cells(forms: &[KeyForm], key: &[Piece]) -> Cells {
        Cells {
            tag: (*b"abcdef").into(),
            head: (*b"head").into(),
            parts: [(1, (*b"b").into()), (0, (*b"a").into())].into(),
            forms: forms.into(),
            key: key.into(),
        }
    }

    #[test]
    fn a_cell_says_the_place_that_it_is_from() -> Result<(), &'static str> {
        let key = [Piece::Text((*b"tenant/").into()), Piece::Part(0)];
        let cells = cells(&[KeyForm::Integer, KeyForm::TextHex], &key);
        let mut places = Places::default();
        for _ in 0..3 {
            let cell = b"abcdef:42:4142:mes:sage";
            let cell = cells.read(cell, &mut places).ok_or("is none of the column")?;
            assert_eq!(cell.context(&places), b"headb\0\x02ABa\0\x0242");
            assert_eq!(cell.key_id(&places), b"tenant/42");
            assert_eq!(cell.message, b"mes:sage");
            assert!(cells.read(b"abcdef:42:4g:message", &mut places).is_none());
        }
        Ok(())
    }

    #[test]
    fn a_cell_of_another_column_or_form_is_none() {
        let key = [Piece::Part(1)];
        let cells = cells(&[KeyForm::Integer, KeyForm::TextHex], &key);
        assert!(cells.read(b"abcdef:42:41:message", &mut Places::default()).is_some());
        for cell in [
            b"".as_slice(),
            b"abcdef",
            b"abcdef:",
            b"abcdeg:42:41:message",
            b"abcdefg:42:41:message",
            b"abcdef:42:message",
            b"abcdef:42:4g:message",
            b"abcdef:!null!:41:message",
            b"abcdef:42:2f:a text that would have to be percent-encoded",
        ] {
            assert!(cells.read(cell, &mut Places::default()).is_none(), "{cell:?}");
        }
    }
}
