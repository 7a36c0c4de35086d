//! Choices by the bytes of an input.

/// The bytes that are left.
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    /// A number below `end`; when the bytes have run out, always the last.
    pub fn below(&mut self, end: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return end - 1 };
        self.0 = rest;
        usize::from(first) % end
    }

    /// A place in so many bytes.
    pub fn place(&mut self, bytes: usize) -> usize {
        (self.below(256) << 8 | self.below(256)) % bytes.max(1)
    }
}
