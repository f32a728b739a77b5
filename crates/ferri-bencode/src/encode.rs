//! Writing bencode into a buffer.

/// Appends values to a buffer; what was written is always canonical as far as it goes.
///
/// The caller closes what it opens and gives keys in order; debug builds assert both.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    /// The containers that are open; for a dictionary, its latest key. Kept in debug builds only.
    #[cfg(debug_assertions)]
    open: Vec<Open>,
}

#[cfg(debug_assertions)]
#[derive(Debug)]
enum Open {
    List,
    Dict { last: Option<Vec<u8>>, value_due: bool },
}

impl Encoder {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues behind what `out` already holds.
    pub fn append_to(out: Vec<u8>) -> Self {
        Self { out, ..Self::default() }
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.value_begins();
        self.out.push(b'i');
        self.decimal(value);
        self.out.push(b'e');
        self
    }

    /// A string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.value_begins();
        self.string(value);
        self
    }

    /// Opens a list.
    pub fn begin_list(&mut self) -> &mut Self {
        self.value_begins();
        #[cfg(debug_assertions)]
        self.open.push(Open::List);
        self.out.push(b'l');
        self
    }

    /// Opens a dictionary.
    pub fn begin_dict(&mut self) -> &mut Self {
        self.value_begins();
        #[cfg(debug_assertions)]
        self.open.push(Open::Dict { last: None, value_due: false });
        self.out.push(b'd');
        self
    }

    /// The key of the value that comes next. Keys must come in ascending order of their bytes.
    pub fn key(&mut self, key: &[u8]) -> &mut Self {
        #[cfg(debug_assertions)]
        self.key_begins(key);
        self.string(key);
        self
    }

    /// Closes the innermost list or dictionary.
    pub fn end(&mut self) -> &mut Self {
        #[cfg(debug_assertions)]
        match self.open.pop() {
            Some(Open::Dict { value_due, .. }) => {
                debug_assert!(!value_due, "a key was left without its value");
            }
            Some(Open::List) => {}
            None => debug_assert!(false, "nothing is open"),
        }
        self.out.push(b'e');
        self
    }

    /// A value that is encoded already.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.value_begins();
        self.out.extend_from_slice(encoded);
        self
    }

    /// What has been written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// The finished document.
    pub fn into_bytes(self) -> Vec<u8> {
        #[cfg(debug_assertions)]
        debug_assert!(self.open.is_empty(), "a list or dictionary was left open");
        self.out
    }

    fn string(&mut self, value: &[u8]) {
        self.decimal(value.len());
        self.out.push(b':');
        self.out.extend_from_slice(value);
    }

    fn decimal(&mut self, value: impl std::fmt::Display) {
        use std::io::Write as _;
        write!(self.out, "{value}").expect("a vector takes every write");
    }

    #[cfg(debug_assertions)]
    fn value_begins(&mut self) {
        if let Some(Open::Dict { value_due, .. }) = self.open.last_mut() {
            debug_assert!(*value_due, "a dictionary takes a key first");
            *value_due = false;
        }
    }

    #[cfg(not(debug_assertions))]
    #[allow(clippy::needless_pass_by_ref_mut, clippy::unused_self)]
    fn value_begins(&mut self) {}

    #[cfg(debug_assertions)]
    fn key_begins(&mut self, key: &[u8]) {
        let Some(Open::Dict { last, value_due }) = self.open.last_mut() else {
            debug_assert!(false, "a key outside of a dictionary");
            return;
        };
        debug_assert!(!*value_due, "two keys in a row");
        debug_assert!(last.as_deref().is_none_or(|last| last < key), "keys out of order");
        *last = Some(key.to_vec());
        *value_due = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_written_in_its_only_form() {
        let mut encoder = Encoder::new();
        encoder.begin_dict();
        encoder.key(b"").int(i64::MIN);
        encoder.key(b"a").begin_list().int(0).bytes(b"spam").begin_list().end().end();
        encoder.key(b"b").begin_dict().end();
        encoder.key(b"c").raw(b"i7e");
        encoder.end();
        let expected = b"d0:i-9223372036854775808e1:ali0e4:spamlee1:bde1:ci7ee";
        assert_eq!(encoder.as_bytes(), expected);
        assert_eq!(encoder.into_bytes(), expected);
    }

    #[test]
    fn a_buffer_is_continued() {
        let mut encoder = Encoder::append_to(b"20:".to_vec());
        encoder.int(1);
        assert_eq!(encoder.into_bytes(), b"20:i1e");
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "keys out of order")]
    fn keys_out_of_order_are_a_bug_of_the_caller() {
        let mut encoder = Encoder::new();
        encoder.begin_dict().key(b"b").int(1).key(b"a");
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "left open")]
    fn a_list_left_open_is_a_bug_of_the_caller() {
        let mut encoder = Encoder::new();
        encoder.begin_list();
        encoder.into_bytes();
    }
}
