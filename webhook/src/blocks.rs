//! Looks at JSON sixty-four bytes at a time, with the widest instructions that the processor turns out to have.
//!
//! Each comparison of a block comes as a number, a bit for each byte; what follows is arithmetic on those.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x16, u8x64};

/// Bytes that are looked at together.
pub(crate) const BLOCK: usize = 64;

type Block = [u8; BLOCK];

/// How long the object or the list is that JSON begins with: to the bracket that closes the first one.
pub(crate) fn nested(json: &[u8]) -> Option<usize> {
    dispatch!(Level::new(), simd => nested_by(simd, json))
}

#[inline(always)]
fn nested_by<S: Simd>(simd: S, json: &[u8]) -> Option<usize> {
    simd.vectorize(
        #[inline(always)]
        || {
            let mut nesting = Nesting::default();
            let (blocks, rest) = json.as_chunks::<BLOCK>();
            for (position, block) in blocks.iter().enumerate() {
                if let Some(length) = nesting.end(simd, block) {
                    return Some(position * BLOCK + length);
                }
            }
            let length = nesting.end(simd, &filled(rest))?;
            Some(blocks.len() * BLOCK + length)
        },
    )
}

/// The position of the first quote, backslash or control character.
pub(crate) fn special(text: &[u8]) -> Option<usize> {
    let (parts, rest) = text.as_chunks::<16>();
    let simd = Level::baseline();
    dispatch!(simd, simd => special_in(simd, parts)).or_else(|| {
        let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        Some(text.len() - rest.len() + found)
    })
}

#[inline(always)]
fn special_in<S: Simd>(simd: S, parts: &[[u8; 16]]) -> Option<usize> {
    parts.iter().enumerate().find_map(|(position, part)| {
        let bytes = u8x16::from_slice(simd, part);
        let found = bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_lt(0x20);
        let found = found.to_bitmask();
        (found != 0).then(|| position * 16 + found.trailing_zeros() as usize)
    })
}

/// A block, the last one filled up.
#[inline(always)]
fn filled(bytes: &[u8]) -> Block {
    bytes.try_into().unwrap_or_else(|_| {
        let mut block = [b' '; BLOCK];
        block[..bytes.len()].copy_from_slice(bytes);
        block
    })
}

/// Where quotes, backslashes, opening and closing brackets are in a block.
#[inline(always)]
fn masks<S: Simd>(simd: S, block: &Block) -> [u64; 4] {
    let bytes = u8x64::from_slice(simd, block);
    // `[` and `{` differ in this bit alone, and so do `]` and `}`.
    let brackets = bytes | u8x64::splat(simd, 0x20);
    [
        bytes.simd_eq(b'"').to_bitmask(),
        bytes.simd_eq(b'\\').to_bitmask(),
        brackets.simd_eq(b'{').to_bitmask(),
        brackets.simd_eq(b'}').to_bitmask(),
    ]
}

/// How far into brackets a scan is, from one block to the next.
#[derive(Default)]
struct Nesting {
    depth: u32,
    texts: Texts,
}

impl Nesting {
    /// The position after the bracket that closes the first one, where it is in this block.
    #[inline(always)]
    fn end<S: Simd>(&mut self, simd: S, block: &Block) -> Option<usize> {
        let [quotes, backslashes, opening, closing] = masks(simd, block);
        let text = self.texts.inside(quotes, backslashes);
        let (opening, mut closing) = (opening & !text, closing & !text);
        if closing.count_ones() < self.depth {
            self.depth = self.depth + opening.count_ones() - closing.count_ones();
            return None;
        }
        let mut closed = 0;
        while closing != 0 {
            let below = (1_u64 << closing.trailing_zeros()) - 1;
            closed += 1;
            if self.depth + (opening & below).count_ones() <= closed {
                return Some(closing.trailing_zeros() as usize + 1);
            }
            closing &= closing - 1;
        }
        self.depth = self.depth + opening.count_ones() - closed;
        None
    }
}

/// How far into text a scan is, from one block to the next.
#[derive(Default)]
struct Texts {
    /// All ones within text.
    in_text: u64,
    /// One where the first byte of the next block is escaped.
    escaped: u64,
}

impl Texts {
    /// Which bytes are within text, the opening quote among them.
    #[inline(always)]
    fn inside(&mut self, quotes: u64, backslashes: u64) -> u64 {
        let quotes = quotes & !self.escapes(backslashes);
        let text = parity(quotes) ^ self.in_text;
        self.in_text = 0_u64.wrapping_sub(text >> 63);
        text
    }

    /// Which bytes are escaped: those after an odd number of backslashes.
    #[inline(always)]
    fn escapes(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.escaped);
        }
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.escaped;
        let follows = (backslashes << 1) | self.escaped;
        let odd_starts = backslashes & !EVEN & !follows;
        let (even_ends, overflow) = odd_starts.overflowing_add(backslashes);
        self.escaped = u64::from(overflow);
        (EVEN ^ (even_ends << 1)) & follows
    }
}

/// For each bit, whether an odd number of bits is set up to and with it.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
