//! The few vector operations that templates are written over; each instruction set lowers them to its own expressions.

use proc_macro2::TokenStream;

use crate::isa::Isa;
use crate::lower;

/// How one instruction set spells the operations of a template, as Rust expressions.
///
/// A *vector* is [`Isa::vector_bytes`] wide: bytes of packed codes or of activations, or the same bits as 32-bit *lanes*
/// (one output row each), or as 16-bit *halves*. Arguments are expressions; pointers are `*const u8`, `*const i8` and
/// `*mut i32`.
pub trait Lowering {
    /// Attributes for the kernel, such as `#[target_feature(…)]`.
    fn attributes(&self) -> TokenStream;
    /// The `use` lines that the expressions need.
    fn imports(&self) -> TokenStream;
    /// A vector of packed codes at `pointer`.
    fn load(&self, pointer: TokenStream) -> TokenStream;
    /// `byte` in every byte.
    fn splat_byte(&self, byte: u8) -> TokenStream;
    /// Bitwise and.
    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Every 16-bit half shifted right by `bits` < 8; what crosses from the upper byte is for a mask to remove.
    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream;
    /// Four activations at `pointer`, repeated in every lane.
    fn broadcast(&self, pointer: TokenStream) -> TokenStream;
    /// Zero in every lane or half.
    fn zero(&self) -> TokenStream;
    /// `value: i32` in every lane.
    fn splat(&self, value: TokenStream) -> TokenStream;
    /// Lane-wise sum.
    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Lane-wise difference.
    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// Lanes shifted right by `bits`, sign kept.
    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream;
    /// Stores the lanes at `pointer`.
    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream;
    /// For [`Method::Dot`](crate::Method::Dot): lanes of `sum` plus the dot product of the lane's four unsigned codes
    /// and four signed activations, without saturation. `None` where the instruction set lacks it.
    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> Option<TokenStream> {
        let _ = (sum, codes, activations);
        None
    }
    /// What [`Method::Mad`](crate::Method::Mad) needs. `None` where the instruction set has no such kernels.
    fn halves(&self) -> Option<&dyn Halves> {
        None
    }
}

/// Operations on 16-bit halves, for products that are widened in two steps.
pub trait Halves {
    /// In each half, the sum of the products of two unsigned codes and two signed activations.
    fn mad(&self, codes: TokenStream, activations: TokenStream) -> TokenStream;
    /// Half-wise sum.
    fn add_halves(&self, a: TokenStream, b: TokenStream) -> TokenStream;
    /// In each lane, the sum of its two signed halves.
    fn widen(&self, a: TokenStream) -> TokenStream;
}

/// The lowering of an instruction set.
pub fn lowering(isa: Isa) -> &'static dyn Lowering {
    match isa {
        Isa::Scalar => &lower::Scalar,
        Isa::Avx2 => &lower::Avx2,
        Isa::AvxVnni => &lower::AvxVnni,
        Isa::Avx512Vnni => &lower::Avx512Vnni,
    }
}
