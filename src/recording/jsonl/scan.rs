//! The grammar of JSON (RFC 8259), walked once, without building anything.
//!
//! A [`Scanner`] accepts what serde_json accepts for a value that nobody looks into, down to the depth that
//! serde_json allows for one that somebody does. What it sees it tells to a [`Visitor`]; one that knows
//! which key comes next says so, and then a key costs one comparison of bytes.

use std::borrow::Cow;
use std::fmt;

use self::runs::{digit_count, plain_length, short_number};

mod runs;

/// How deep values may be nested, the outermost counted as 1. It is serde_json's limit.
pub(super) const MAX_DEPTH: u32 = 127;

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Object,
    Array,
}

/// What a text is not, that JSON has to be. The place is [`Scanner::at`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    End,
    Value,
    Key,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    Control,
    Escape,
    Digit,
    Depth,
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::End => "it ends too early",
            Fault::Value => "a value was expected",
            Fault::Key => "a key in quotes was expected",
            Fault::Colon => "a colon was expected",
            Fault::CommaOrBrace => "a comma or } was expected",
            Fault::CommaOrBracket => "a comma or ] was expected",
            Fault::Control => "a control character stands in a string",
            Fault::Escape => "an escape that JSON does not have stands in a string",
            Fault::Digit => "a digit was expected",
            Fault::Depth => "values are nested deeper than 127 levels",
            Fault::Trailing => "something follows after the end of the object",
        })
    }
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Text<'a> {
    /// As it is spelled, escapes and all.
    pub raw: &'a str,
    /// Whether there are escapes in it.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// What it says; `None` where it names half a character (a lone surrogate), which is correct JSON, but
    /// no text.
    pub fn decode(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        serde_json::from_str(&format!("\"{}\"", self.raw)).ok().map(Cow::Owned)
    }
}

/// Is told what is in a value.
pub(super) trait Visitor {
    /// What the visitor knows a value by.
    type Place: Copy;
    /// What it remembers of an object while that is open.
    type Object;

    /// There is a null, a boolean, a number or a string at `place`.
    fn scalar(&mut self, place: Self::Place, kind: Kind);

    /// An array begins at `place`. The answer is the place of its elements.
    fn array(&mut self, place: Self::Place) -> Self::Place;

    /// An object begins at `place`.
    fn open(&mut self, place: Self::Place) -> Self::Object;

    /// The key that probably comes next, with its closing quote. It holds nothing that needs an escape.
    fn expected(&self, object: &Self::Object) -> Option<&str>;

    /// The key came that [`expected`](Self::expected) has named. The answer is the place of its value.
    fn expected_came(&mut self, object: &mut Self::Object) -> Self::Place;

    /// A key came. The answer is the place of its value.
    fn field(&mut self, object: &mut Self::Object, key: Text<'_>) -> Self::Place;

    /// The object is at its end.
    fn close(&mut self, object: Self::Object);
}

/// The visitor that has no interest in anything.
pub(super) struct Ignore;

impl Visitor for Ignore {
    type Place = ();
    type Object = ();

    fn scalar(&mut self, (): (), _: Kind) {}
    fn array(&mut self, (): ()) {}
    fn open(&mut self, (): ()) {}
    fn expected(&self, (): &()) -> Option<&str> {
        None
    }
    fn expected_came(&mut self, (): &mut ()) {}
    fn field(&mut self, (): &mut (), _: Text<'_>) {}
    fn close(&mut self, (): ()) {}
}

/// Goes through a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, depth: 0 }
    }

    /// How many bytes are behind it.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` to where the scanner is.
    pub fn since(&self, start: usize) -> &'a str {
        // Both are ends of tokens, and tokens begin and end with ASCII.
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next byte that is no white space, which stays the next one.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Goes through one value.
    ///
    /// # Errors
    /// Where it is no JSON. The scanner then stands at the place.
    #[inline]
    pub fn value<V: Visitor>(&mut self, visitor: &mut V, place: V::Place) -> Result<(), Fault> {
        let kind = match self.peek().ok_or(Fault::End)? {
            b'"' => {
                self.at += 1;
                self.string_rest()?;
                Kind::String
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Kind::Number
            }
            b'{' => return self.object(visitor, place),
            b'[' => return self.array(visitor, place),
            b't' => self.literal("true", Kind::Boolean)?,
            b'f' => self.literal("false", Kind::Boolean)?,
            b'n' => self.literal("null", Kind::Null)?,
            _ => return Err(Fault::Value),
        };
        visitor.scalar(place, kind);
        Ok(())
    }

    /// Goes over the brace at which an object begins. The answer is whether it has a member.
    pub fn open_object(&mut self) -> Result<bool, Fault> {
        self.enter()?;
        if self.peek().ok_or(Fault::End)? == b'}' {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    /// Goes over a key and the colon behind it.
    pub fn key(&mut self) -> Result<Text<'a>, Fault> {
        self.open_key()?;
        let key = self.string_rest()?;
        self.colon()?;
        Ok(key)
    }

    /// Goes over what stands behind a member. The answer is whether there is another one.
    #[inline(always)]
    pub fn another_member(&mut self) -> Result<bool, Fault> {
        self.another(b'}', Fault::CommaOrBrace)
    }

    /// Takes it as an error if anything but white space is left.
    pub fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_some() { Err(Fault::Trailing) } else { Ok(()) }
    }

    fn object<V: Visitor>(&mut self, visitor: &mut V, place: V::Place) -> Result<(), Fault> {
        let mut object = visitor.open(place);
        let mut more = self.open_object()?;
        while more {
            self.open_key()?;
            let field = match visitor.expected(&object) {
                Some(key) if self.starts_with(key) => {
                    self.at += key.len();
                    visitor.expected_came(&mut object)
                }
                _ => {
                    let key = self.string_rest()?;
                    visitor.field(&mut object, key)
                }
            };
            self.colon()?;
            self.value(visitor, field)?;
            more = self.another_member()?;
        }
        visitor.close(object);
        Ok(())
    }

    fn array<V: Visitor>(&mut self, visitor: &mut V, place: V::Place) -> Result<(), Fault> {
        let element = visitor.array(place);
        self.enter()?;
        if self.peek().ok_or(Fault::End)? == b']' {
            self.leave();
            return Ok(());
        }
        loop {
            self.value(visitor, element)?;
            if !self.another(b']', Fault::CommaOrBracket)? {
                return Ok(());
            }
        }
    }

    fn enter(&mut self) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::Depth);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    #[inline(always)]
    fn another(&mut self, close: u8, fault: Fault) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.leave();
                Ok(false)
            }
            Some(_) => Err(fault),
            None => Err(Fault::End),
        }
    }

    #[inline(always)]
    fn open_key(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::Key),
            None => Err(Fault::End),
        }
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::Colon),
            None => Err(Fault::End),
        }
    }

    #[inline(always)]
    fn starts_with(&self, what: &str) -> bool {
        self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(what.as_bytes()))
    }

    fn literal(&mut self, literal: &str, kind: Kind) -> Result<Kind, Fault> {
        if self.starts_with(literal) {
            self.at += literal.len();
            return Ok(kind);
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        Err(if literal.starts_with(rest) { Fault::End } else { Fault::Value })
    }

    /// Goes to behind the closing quote of a string whose opening quote is behind already.
    #[inline]
    fn string_rest(&mut self) -> Result<Text<'a>, Fault> {
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain_length(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return Err(Fault::Control),
                None => return Err(Fault::End),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), Fault> {
        let after = self.text.as_bytes().get(self.at + 1..).unwrap_or_default();
        match after {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [b'u', hex @ ..] => {
                let hex = &hex[..hex.len().min(4)];
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Fault::Escape);
                }
                if hex.len() < 4 {
                    return Err(Fault::End);
                }
                self.at += 6;
            }
            [_, ..] => return Err(Fault::Escape),
            [] => return Err(Fault::End),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        let byte = |scanner: &Self| scanner.text.as_bytes().get(scanner.at).copied();
        if byte(self) == Some(b'-') {
            self.at += 1;
        }
        if let Some(length) = short_number(self.text.as_bytes().get(self.at..).unwrap_or_default()) {
            self.at += length;
            return Ok(());
        }
        // No digit follows a leading zero: the caller finds neither comma nor end there.
        match byte(self) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if byte(self) == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(byte(self), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(byte(self), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        match digit_count(self.text.as_bytes().get(self.at..).unwrap_or_default()) {
            0 if self.at >= self.text.len() => Err(Fault::End),
            0 => Err(Fault::Digit),
            count => {
                self.at += count;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    fn scan(text: &str) -> Result<(), Fault> {
        let mut scanner = Scanner::new(text);
        scanner.value(&mut Ignore, ())?;
        scanner.end()
    }

    /// How deep brackets are nested, as a text-level upper bound that is exact for JSON.
    fn depth(text: &str) -> usize {
        let (mut depth, mut deepest, mut in_string, mut skip) = (0_usize, 0, false, false);
        for byte in text.bytes() {
            match byte {
                _ if skip => skip = false,
                b'\\' if in_string => skip = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }

    fn same_as_serde_json(text: &str) {
        let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok() && depth(text) <= MAX_DEPTH as usize;
        assert_eq!(scan(text).is_ok(), theirs, "{text:?}: {:?}", scan(text));
        if serde_json::from_str::<Value>(text).is_ok() {
            assert_eq!(scan(text), Ok(()), "{text:?}");
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "[ -~]{0,200}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((".{0,8}", inner), 0..8)
                    .prop_map(|members| { Value::Object(members.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn documents_are_accepted_however_they_are_printed(value in document()) {
            assert_eq!(scan(&value.to_string()), Ok(()));
            assert_eq!(scan(&serde_json::to_string_pretty(&value).unwrap()), Ok(()));
        }

        #[test]
        fn what_is_accepted_is_what_serde_json_accepts(
            value in document(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), r#"[-+.0-9eE"\\{}\[\],:untrfals \x00-\x1f]{0,3}"#), 1..4),
        ) {
            let mut text: Vec<char> = value.to_string().chars().collect();
            for (index, edit) in edits {
                let at = index.index(text.len().max(1)).min(text.len());
                let end = (at + usize::from(edit.len() < 3)).min(text.len());
                text.splice(at..end, edit.chars());
            }
            same_as_serde_json(&text.into_iter().collect::<String>());
        }

        #[test]
        fn soups_of_tokens_are_judged_as_serde_json_does(
            text in r#"(\{|\}|\[|\]|,|:|"a"|"\\u00e9"|"\\ud800"|"\\x"|1|-0|01|1\.|1e5|1e999|true|fals|null| ){0,12}"#,
        ) {
            same_as_serde_json(&text);
        }

        #[test]
        fn numbers_are_judged_as_serde_json_does(
            number in "-{0,2}([0-9]{0,3}|[0-9]{0,20})\\.{0,2}([0-9]{0,3}|[0-9]{0,20})([eE][-+]?[0-9]{0,3})?",
            behind in "[],} ex\"]",
        ) {
            same_as_serde_json(&number);
            same_as_serde_json(&format!("[{number}, 1, 2, 3]"));
            same_as_serde_json(&format!("[{number}]       "));
            same_as_serde_json(&format!("[{{\"a\":{number}}},  7, {number}{behind} 1, 2]"));
        }
    }

    #[test]
    fn a_text_may_be_nested_127_deep() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for depth in [1, 126, 127, 128, 129, 100_000] {
                assert_eq!(scan(&nested(depth)).is_ok(), depth <= 127, "{depth}");
                assert_eq!(serde_json::from_str::<Value>(&nested(depth)).is_ok(), depth <= 127, "{depth}");
            }
        }
    }

    #[test]
    fn a_text_that_is_cut_off_is_told_from_a_wrong_one() {
        let text = r#"{"a": [1, -2.5e-3, true, null, "x\u00e9\n"], "b": {}}"#;
        assert_eq!(scan(text), Ok(()));
        for end in 0..text.len() {
            assert_eq!(scan(&text[..end]), Err(Fault::End), "{}", &text[..end]);
        }
        assert_eq!(scan("{\"a\" 1}"), Err(Fault::Colon));
        assert_eq!(scan("[1 2]"), Err(Fault::CommaOrBracket));
        assert_eq!(scan("NaN"), Err(Fault::Value));
        assert_eq!(scan("1 x"), Err(Fault::Trailing));
        assert_eq!(scan("\"\t\""), Err(Fault::Control));
        assert_eq!(scan(r#""\x""#), Err(Fault::Escape));
        assert_eq!(scan(r#""\uzz""#), Err(Fault::Escape));
        assert_eq!(scan("{1:2}"), Err(Fault::Key));
        assert_eq!(scan("1.x"), Err(Fault::Digit));
    }

    #[test]
    fn a_string_says_what_it_spells() {
        let decode = |raw, escaped| Text { raw, escaped }.decode();
        assert_eq!(decode("/imu", false).as_deref(), Some("/imu"));
        assert_eq!(decode(r"\u002fimu\n", true).as_deref(), Some("/imu\n"));
        assert_eq!(decode(r"\ud800", true), None);
    }
}
