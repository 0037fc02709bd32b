//! What a statement delivers: the key of a row, and the message that was sealed for the row.
//!
//! `<tag> ':' <key part> ':' ... <message>`, as `encfields.message.cell` describes it.

use std::borrow::Cow;

use crate::message::u16_of;

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

    /// The canonical text, in UTF-8, of a part that is delivered in this form.
    ///
    /// Returns `None` for a part of another form, which could be another row's key.
    pub fn canonical(self, part: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Integer => is_integer(part).then_some(Cow::Borrowed(part)),
            Self::Uuid => is_uuid(part).then_some(Cow::Borrowed(part)),
            Self::UuidDigits => hyphenated(part).map(Cow::Owned),
            Self::UuidDigitsHex => hyphenated(&unhexed(part)?).map(Cow::Owned),
            Self::TextHex => {
                let text = unhexed(part)?;
                std::str::from_utf8(&text).is_ok().then_some(Cow::Owned(text))
            }
            Self::BinaryHex => (part.len().is_multiple_of(2)
                && part.iter().all(u8::is_ascii_hexdigit))
            .then(|| Cow::Owned(part.to_ascii_lowercase())),
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

fn hyphenated(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() != 32 || !digits.iter().all(|&byte| is_lower_digit(byte)) {
        return None;
    }
    let mut text = Vec::with_capacity(36);
    for (place, &digit) in digits.iter().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push(b'-');
        }
        text.push(digit);
    }
    Some(text)
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

/// What a cell says: the place that it was delivered from, and the message found there.
pub struct Cell<'a> {
    /// The serialised encryption context of the place.
    pub context: Vec<u8>,
    /// The branch key id that the place demands.
    pub key_id: Vec<u8>,
    /// What was found there.
    pub message: &'a [u8],
}

impl Cells {
    /// Takes a cell apart; `None` if it is of another column or form.
    pub fn read<'a>(&self, cell: &'a [u8]) -> Option<Cell<'a>> {
        let mut rest = after_separator(cell.strip_prefix(&*self.tag)?)?;
        let mut texts = Vec::with_capacity(self.forms.len());
        for form in &self.forms {
            let end = rest.iter().position(|&byte| byte == SEPARATOR)?;
            let (part, after) = rest.split_at_checked(end)?;
            texts.push(form.canonical(part)?);
            rest = after_separator(after)?;
        }
        let context = self.context(&texts)?;
        Some(Cell { context, key_id: self.key_id(&texts)?, message: rest })
    }

    fn context(&self, texts: &[Cow<'_, [u8]>]) -> Option<Vec<u8>> {
        let mut context = Vec::with_capacity(256);
        context.extend_from_slice(&self.head);
        for (place, name) in &self.parts {
            let text = texts.get(*place)?;
            context.extend_from_slice(name);
            context.extend_from_slice(&u16_of(text)?);
            context.extend_from_slice(text);
        }
        Some(context)
    }

    fn key_id(&self, texts: &[Cow<'_, [u8]>]) -> Option<Vec<u8>> {
        let mut id = Vec::with_capacity(64);
        for piece in &self.key {
            match piece {
                Piece::Text(text) => id.extend_from_slice(text),
                Piece::Part(place) => {
                    let text = texts.get(*place)?;
                    if !text.iter().all(|&byte| is_plain(byte)) {
                        return None; // it would have to be percent-encoded: left to Python
                    }
                    id.extend_from_slice(text);
                }
            }
        }
        Some(id)
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
    use super::{Cells, KeyForm, Piece};

    fn canonical(form: KeyForm, part: &str) -> Option<String> {
        let text = form.canonical(part.as_bytes())?;
        std::str::from_utf8(&text).ok().map(str::to_owned)
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
        let cell = cells.read(b"abcdef:42:4142:mes:sage").ok_or("is none of the column")?;
        assert_eq!(cell.context, b"headb\0\x02ABa\0\x0242");
        assert_eq!(cell.key_id, b"tenant/42");
        assert_eq!(cell.message, b"mes:sage");
        Ok(())
    }

    #[test]
    fn a_cell_of_another_column_or_form_is_none() {
        let key = [Piece::Part(1)];
        let cells = cells(&[KeyForm::Integer, KeyForm::TextHex], &key);
        assert!(cells.read(b"abcdef:42:41:message").is_some());
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
            assert!(cells.read(cell).is_none(), "{cell:?}");
        }
    }
}
