//! The few vector operations that templates are written over; each instruction set lowers them to its own expressions.

use proc_macro2::TokenStream;

use crate::isa::Isa;
use crate::lower;

/// How one instruction set spells the operations of a template, as Rust expressions.
///
/// A *vector* is [`Isa::vector_bytes`] wide: bytes of packed codes or of activations, or the same bits as 32-bit *lanes*
/// (one output row each). Arguments are expressions; pointers are `*const u8`, `*const i8` and `*mut i32`.
///
/// What some methods need and not every instruction set has stands in traits of its own, which the methods at the end
/// of this one lead to.
pub trait Lowering {
    /// Attributes for the kernel, such as `#[target_feature(…)]`; it is compiled with these features.
    fn attributes(&self, features: &[&str]) -> TokenStream {
        lower::target_feature(features)
    }
    /// The `use` lines that the expressions need.
    fn imports(&self) -> TokenStream;
    /// A vector of packed codes at `pointer`.
    fn load(&self, pointer: TokenStream) -> TokenStream;
    /// `byte` in every byte.
    fn splat_byte(&self, byte: u8) -> TokenStream;
    /// Bitwise and.
    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Every byte shifted right by `bits` < 8; what crosses from the byte above is for a mask to remove.
    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream;
    /// Four activations at `pointer`, repeated in every lane.
    fn broadcast(&self, pointer: TokenStream) -> TokenStream;
    /// Zero in every lane.
    fn zero(&self) -> TokenStream;
    /// `value: i32` in every lane.
    fn splat(&self, value: TokenStream) -> TokenStream;
    /// Lane-wise sum.
    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Lane-wise difference.
    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Lanes shifted left by `bits`.
    fn shift_left(&self, a: TokenStream, bits: u32) -> TokenStream;
    /// Lanes shifted right by `bits`, sign kept.
    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream;
    /// The lanes at `pointer: *const u8`.
    fn load_lanes(&self, pointer: TokenStream) -> TokenStream {
        self.load(pointer)
    }
    /// Lanes times a constant.
    fn times(&self, a: TokenStream, factor: i32) -> TokenStream;
    /// Stores the lanes at `pointer`.
    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream;

    /// Asks for the line at `pointer`, which may be anywhere, to be brought into a cache. `None` where nothing does.
    fn prefetch(&self, pointer: TokenStream, cache: Cache) -> Option<TokenStream> {
        let _ = (pointer, cache);
        None
    }
    /// For codes of several trits: what decodes them by looking up bytes. `None` where nothing does.
    fn lookups(&self) -> Option<&dyn Lookups> {
        None
    }
    /// For base 3: digit `q` of every byte, the first counting most. `None` where nothing extracts it.
    fn digit(&self, codes: TokenStream, q: usize) -> Option<TokenStream> {
        let _ = (codes, q);
        None
    }
    /// For [`Method::Dot`](crate::Method::Dot).
    fn dots(&self) -> Option<&dyn Dots> {
        None
    }
    /// For [`Method::Mad`](crate::Method::Mad).
    fn halves(&self) -> Option<&dyn Halves> {
        None
    }
    /// For [`Method::Lut`](crate::Method::Lut) with a table for each lookup.
    fn shuffles(&self) -> Option<&dyn Shuffles> {
        None
    }
    /// For [`Method::Lut`](crate::Method::Lut) with one table for the four lookups of a lane.
    fn permutes(&self) -> Option<&dyn Permutes> {
        None
    }
    /// For [`Method::Tile`](crate::Method::Tile) within vectors.
    fn pairs(&self) -> Option<&dyn Pairs> {
        None
    }
    /// For [`Method::Tile`](crate::Method::Tile) in tile registers.
    fn tiles(&self) -> Option<&dyn Tiles> {
        None
    }
}

/// A cache to bring weights into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The smallest.
    First,
    /// The next.
    Second,
}

/// Bytes looked up by bytes.
pub trait Lookups {
    /// A table of 16 bytes, for [`Lookups::lookup`].
    fn table(&self, entries: [u8; 16]) -> TokenStream;
    /// For every byte of `indices`, all below 16, the entry of `table`.
    fn lookup(&self, table: TokenStream, indices: TokenStream) -> TokenStream;
    /// A bit for each byte, from `pointer` on and there from bit 4 · `nibble` on, as 0xff where it is set and 0 where not.
    fn expand(&self, pointer: TokenStream, nibble: usize) -> TokenStream;
    /// Bitwise exclusive or.
    fn xor(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Byte-wise sum.
    fn add_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Byte-wise difference.
    fn sub_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream;
}

/// A native four-way dot product.
pub trait Dots {
    /// Lanes of `sum` plus the dot product of the lane's four codes and four signed activations, without saturation.
    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream;
}

/// Products in 16 bits, widened to lanes before they can overflow.
pub trait Halves {
    /// Products of codes and activations, few enough of them summed that 63 calls fit 16 bits.
    fn mad(&self, codes: TokenStream, activations: TokenStream) -> TokenStream;
    /// The same, added to `sum`.
    fn mad_add(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream;
    /// In each lane, the sum of what belongs to its row.
    fn widen(&self, sum: TokenStream) -> TokenStream;
}

/// Lookups of the same index position in many rows at once.
///
/// Four vectors of lanes hold four bytes of as many rows as a vector has bytes. *Planes* are those bytes sorted by their
/// place in the lane: plane j holds byte j of each row, rows in an order of the instruction set's own, which
/// [`Shuffles::low_lanes`] and [`Shuffles::high_lanes`] of [`Shuffles::low_halves`] and [`Shuffles::high_halves`] lead
/// back from to the four vectors.
pub trait Shuffles: Lookups {
    /// Binds the variables `planes` to the planes of the four vectors from `pointer` on, which lie side by side.
    fn planes(&self, pointer: TokenStream, planes: [TokenStream; 4]) -> TokenStream;
    /// The 16 bytes at `pointer` as a table for [`Lookups::lookup`].
    fn load_table(&self, pointer: TokenStream) -> TokenStream;
    /// Four bits a row, from `pointer` on, as bytes in the order of the planes: in both halves of a byte may be rows.
    fn signs(&self, pointer: TokenStream) -> TokenStream;
    /// The bit of plane j of every row, for [`Shuffles::test`].
    fn sign_bits(&self, j: usize) -> TokenStream;
    /// 0xff in the bytes of `signs` in which one of `bits` is set, 0 in others.
    fn test(&self, signs: TokenStream, bits: TokenStream) -> TokenStream;
    /// Low and high bytes of one half of the rows as 16-bit numbers.
    fn low_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream;
    /// The same of the other half.
    fn high_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream;
    /// Zero in every 16-bit number.
    fn zero_halves(&self) -> TokenStream;
    /// Sums of 16-bit numbers.
    fn add_halves(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// One half of the 16-bit numbers as lanes.
    fn low_lanes(&self, halves: TokenStream) -> TokenStream;
    /// The other half.
    fn high_lanes(&self, halves: TokenStream) -> TokenStream;
}

/// Lookups in 64 entries, a quarter for each byte of a lane.
pub trait Permutes {
    /// Bitwise or.
    fn or(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// In every lane the bytes 0, 16, 32, 48: where the quarters of a table begin.
    fn quarters(&self) -> TokenStream;
    /// The 64 bytes at `pointer` as a table.
    fn load_table(&self, pointer: TokenStream) -> TokenStream;
    /// For every byte of `indices` the entry of `table` that its lowest six bits name.
    fn permute(&self, table: TokenStream, indices: TokenStream) -> TokenStream;
    /// A bit for each byte, from `pointer` on, as `minus` where it is set and `plus` where not.
    fn choose(&self, pointer: TokenStream, plus: TokenStream, minus: TokenStream) -> TokenStream;
}

/// Products of pairs of rows and pairs of tokens.
pub trait Pairs {
    /// Eight activations of each of two tokens, at two pointers.
    fn load_pair(&self, first: TokenStream, second: TokenStream) -> TokenStream;
    /// Codes of columns 0 … 3 and 4 … 7 of four rows, as all eight columns of the first two rows.
    fn low_pair(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// The same of the other two rows.
    fn high_pair(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// `sum` plus the products of two rows of eight codes and two tokens' activations: row by row, a lane a token.
    fn multiply(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream;
    /// Of the products of the first two rows and of the other two, those of the first token, a lane a row.
    fn first_token(&self, low: TokenStream, high: TokenStream) -> TokenStream;
    /// The same of the second token.
    fn second_token(&self, low: TokenStream, high: TokenStream) -> TokenStream;
}

/// Products in tile registers, which are named by their numbers.
pub trait Tiles {
    /// Shapes the tiles, so many of each kind: the first hold sums, `tokens` (16 at most) by 16 rows; the next hold codes,
    /// four columns of 16 rows in each of theirs; the last hold `columns` activations of each token.
    fn configure(&self, tokens: usize, counts: [usize; 3], columns: usize) -> TokenStream;
    /// Gives the tiles back.
    fn release(&self) -> TokenStream;
    /// Sets a tile to zero.
    fn zero(&self, tile: usize) -> TokenStream;
    /// Loads a tile from its rows, `stride` bytes apart.
    fn load(&self, tile: usize, pointer: TokenStream, stride: TokenStream) -> TokenStream;
    /// Stores a tile.
    fn store(&self, tile: usize, pointer: TokenStream, stride: TokenStream) -> TokenStream;
    /// Adds to `sum` the products of signed activations, a row a token, and unsigned codes, four columns a row.
    fn multiply(&self, sum: usize, activations: usize, codes: usize) -> TokenStream;
}

/// The lowering of an instruction set.
pub fn lowering(isa: Isa) -> &'static dyn Lowering {
    match isa {
        Isa::Scalar => &lower::Scalar,
        Isa::Avx2 => &lower::X86::AVX2,
        Isa::AvxVnni => &lower::X86::AVXVNNI,
        Isa::Avx512Bw => &lower::X86::AVX512BW,
        Isa::Avx512Vnni => &lower::X86::AVX512VNNI,
        Isa::Amx => &lower::X86::AMX,
        Isa::Neon => &lower::Arm::NEON,
        Isa::NeonDot => &lower::Arm::NEONDOT,
        Isa::NeonI8mm => &lower::Arm::NEONI8MM,
    }
}
