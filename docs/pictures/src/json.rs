//! Reads the JSON of the bench: a list of objects whose values are numbers, texts, nulls, and lists of numbers.

use std::collections::BTreeMap;

/// An object without its lists and nulls.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object {
    numbers: BTreeMap<String, f64>,
    texts: BTreeMap<String, String>,
}

impl Object {
    /// Returns the number in a field. Returns `None` if the field is null or missing.
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.numbers.get(field).copied()
    }

    /// Returns the text in a field.
    ///
    /// # Errors
    ///
    /// Returns an error if the field is missing.
    pub(crate) fn text(&self, field: &str) -> Result<&str, String> {
        self.texts.get(field).map(String::as_str).ok_or(format!("a line has no {field:?}"))
    }
}

/// Reads a list of objects.
///
/// # Errors
///
/// Returns an error that names the position, in bytes, of the first character that is not as expected.
pub(crate) fn parse(text: &str) -> Result<Vec<Object>, String> {
    let mut rest = Rest { text, at: 0 };
    let mut objects = Vec::new();
    rest.expect('[')?;
    if !rest.accept(']') {
        loop {
            objects.push(rest.object()?);
            if !rest.accept(',') {
                rest.expect(']')?;
                break;
            }
        }
    }
    match rest.peek() {
        None => Ok(objects),
        Some(_) => Err(rest.error("the end")),
    }
}

/// The text, and the position up to which it has been read.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl Rest<'_> {
    fn object(&mut self) -> Result<Object, String> {
        let mut object = Object::default();
        self.expect('{')?;
        loop {
            let field = self.string()?;
            self.expect(':')?;
            match self.peek() {
                Some('"') => {
                    let text = self.string()?;
                    object.texts.insert(field, text);
                }
                Some('[') => self.numbers()?,
                Some('n') => self.null()?,
                _ => {
                    let number = self.number()?;
                    object.numbers.insert(field, number);
                }
            }
            if !self.accept(',') {
                return self.expect('}').map(|()| object);
            }
        }
    }

    /// Skips a list of numbers and nulls.
    fn numbers(&mut self) -> Result<(), String> {
        self.expect('[')?;
        if self.accept(']') {
            return Ok(());
        }
        loop {
            match self.peek() {
                Some('n') => self.null()?,
                _ => self.number().map(drop)?,
            }
            if !self.accept(',') {
                return self.expect(']');
            }
        }
    }

    fn null(&mut self) -> Result<(), String> {
        if !self.text[self.at..].starts_with("null") {
            return Err(self.error("a value"));
        }
        self.at += "null".len();
        Ok(())
    }

    fn number(&mut self) -> Result<f64, String> {
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest.find(|letter: char| !matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let number = &rest[..end.unwrap_or(rest.len())];
        let value = number.parse().map_err(|_| self.error("a value"))?;
        self.at += number.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.take() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(letter) => text.push(letter),
                None => return Err(self.error("the end of a text")),
            }
        }
    }

    /// Reads an escape that the bench writes: a quote, a backslash, or the code of a control character.
    fn escaped(&mut self) -> Result<char, String> {
        match self.take() {
            Some(letter @ ('"' | '\\')) => Ok(letter),
            Some('u') => {
                let code = self.text.get(self.at..self.at + 4).and_then(|code| u32::from_str_radix(code, 16).ok());
                let letter = code.and_then(char::from_u32).ok_or_else(|| self.error("four hexadecimal digits"))?;
                self.at += 4;
                Ok(letter)
            }
            _ => Err(self.error("an escape")),
        }
    }

    /// Skips white space. Returns the next character without reading it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.text[self.at..].chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    /// Reads the character if it is the next one after white space. Returns whether it is.
    fn accept(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.accept(wanted) { Ok(()) } else { Err(self.error(&format!("{wanted:?}"))) }
    }

    fn error(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.at)
    }
}
