//! x86-64: 256-bit vectors of AVX2, 512-bit ones of AVX-512 (Intel SDM vol. 2; intrinsics guide).

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use super::amx::Amx;
use super::{bits_literal, byte_literal, intrinsic};
use crate::isa::Isa;
use crate::vector::{Cache, Dots, Halves, Lookups, Lowering, Permutes, Shuffles, Tiles};

/// One instruction set of the family.
pub(crate) struct X86 {
    isa: Isa,
    bits: usize,
    /// The intrinsic of `vpdpbusd`.
    dot: Option<&'static str>,
    /// Whether bytes are looked up in 64 entries.
    permutes: bool,
    tiles: Option<Amx>,
}

impl X86 {
    pub(crate) const AVX2: X86 = X86 { isa: Isa::Avx2, bits: 256, dot: None, permutes: false, tiles: None };
    pub(crate) const AVXVNNI: X86 = X86 { isa: Isa::AvxVnni, dot: Some("_mm256_dpbusd_avx_epi32"), ..X86::AVX2 };
    pub(crate) const AVX512BW: X86 = X86 { isa: Isa::Avx512Bw, bits: 512, ..X86::AVX2 };
    pub(crate) const AVX512VNNI: X86 =
        X86 { isa: Isa::Avx512Vnni, dot: Some("_mm512_dpbusd_epi32"), permutes: true, ..X86::AVX512BW };
    pub(crate) const AMX: X86 = X86 { isa: Isa::Amx, tiles: Some(Amx), ..X86::AVX512BW };

    /// `_mm256_NAME` or `_mm512_NAME`.
    fn name(&self, name: &str) -> Ident {
        intrinsic(format!("_mm{}_{name}", self.bits))
    }

    /// The same for an operation on the vector as a whole: `_mm256_NAME_si256`.
    fn whole(&self, name: &str) -> Ident {
        intrinsic(format!("_mm{0}_{name}_si{0}", self.bits))
    }

    /// 16 bytes in every 128-bit part.
    fn repeat(&self, sixteen: TokenStream) -> TokenStream {
        match self.bits {
            256 => quote!(_mm256_broadcastsi128_si256(#sixteen)),
            _ => quote!(_mm512_broadcast_i32x4(#sixteen)),
        }
    }

    /// Functions that expressions call, for one width of vectors.
    fn functions(&self) -> TokenStream {
        let attribute = self.attributes(self.isa.features());
        let vector = intrinsic(format!("__m{}i", self.bits));
        let (load, shuffle) = (self.whole("loadu"), self.name("shuffle_epi8"));
        let [low32, high32, low64, high64] =
            ["unpacklo_epi32", "unpackhi_epi32", "unpacklo_epi64", "unpackhi_epi64"].map(|name| self.name(name));
        let bytes = self.bits / 8;
        let gather = self.repeat(quote!(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
        let (expand, spread) = match self.bits {
            256 => (
                quote! {
                    let bits = _mm256_set1_epi32(unsafe { pointer.cast::<i32>().read_unaligned() });
                    let spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
                    let each = _mm256_set1_epi64x(0x8040201008040201u64 as i64);
                    let own = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), each);
                    _mm256_cmpeq_epi8(own, each)
                },
                quote! {
                    let signs = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(pointer.cast()) });
                    let order = _mm256_setr_epi8(
                        0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13,
                        2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15,
                    );
                    _mm256_shuffle_epi8(signs, order)
                },
            ),
            _ => (
                quote!(_mm512_movm_epi8(unsafe { pointer.cast::<u64>().read_unaligned() })),
                quote! {
                    let signs = _mm512_castsi256_si512(unsafe { _mm256_loadu_si256(pointer.cast()) });
                    let pairs = _mm512_set_epi16(
                        15, 15, 11, 11, 7, 7, 3, 3, 14, 14, 10, 10, 6, 6, 2, 2,
                        13, 13, 9, 9, 5, 5, 1, 1, 12, 12, 8, 8, 4, 4, 0, 0,
                    );
                    let order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13));
                    _mm512_shuffle_epi8(_mm512_permutexvar_epi16(pairs, signs), order)
                },
            ),
        };
        let eighth = bytes / 8;
        let expand_doc =
            format!(" A bit for each byte, as 0xff or 0.\n\n # Safety\n {eighth} bytes at `pointer` are readable.");
        let spread_doc = format!(
            " Four bits a row, as bytes in the order of the planes; rows 2i and 2i + 1 share a byte.\n\n # Safety\n {} bytes at `pointer` are readable.",
            bytes / 2
        );
        let planes_doc = format!(
            " Bytes 0 to 3 of all lanes of four vectors, each in a vector.\n\n # Safety\n {} bytes at `pointer` are readable.",
            4 * bytes
        );
        quote! {
            #[doc = #planes_doc]
            #[inline]
            #[allow(dead_code)]
            #attribute
            unsafe fn planes(pointer: *const u8) -> [#vector; 4] {
                comment!("SAFETY: the caller's promise.");
                let vectors = unsafe { [0, 1, 2, 3].map(|i| #load(pointer.add(#bytes * i).cast())) };
                comment!("Equal bytes of four lanes side by side, then equal groups of four.");
                let gather = #gather;
                let [a, b, c, d] = [
                    #shuffle(vectors[0], gather),
                    #shuffle(vectors[1], gather),
                    #shuffle(vectors[2], gather),
                    #shuffle(vectors[3], gather),
                ];
                let (ab, cd) = (#low32(a, b), #low32(c, d));
                let (ef, gh) = (#high32(a, b), #high32(c, d));
                [#low64(ab, cd), #high64(ab, cd), #low64(ef, gh), #high64(ef, gh)]
            }
            #[doc = #expand_doc]
            #[inline]
            #[allow(dead_code)]
            #attribute
            unsafe fn expand(pointer: *const u8) -> #vector {
                comment!("SAFETY: the caller's promise.");
                #expand
            }
            #[doc = #spread_doc]
            #[inline]
            #[allow(dead_code)]
            #attribute
            unsafe fn spread(pointer: *const u8) -> #vector {
                comment!("SAFETY: the caller's promise.");
                #spread
            }
        }
    }
}

impl Lowering for X86 {
    fn imports(&self) -> TokenStream {
        let (functions, tiles) = (self.functions(), self.tiles.as_ref().map(Amx::items));
        quote! {
            use core::arch::x86_64::*;
            #functions
            #tiles
        }
    }

    fn load(&self, pointer: TokenStream) -> TokenStream {
        let load = self.whole("loadu");
        quote!(#load(#pointer.cast()))
    }

    fn splat_byte(&self, byte: u8) -> TokenStream {
        let (splat, byte) = (self.name("set1_epi8"), byte_literal(byte));
        quote!(#splat(#byte))
    }

    fn and(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let and = self.whole("and");
        quote!(#and(#a, #b))
    }

    fn shift_right(&self, a: TokenStream, bits: u32) -> TokenStream {
        let (shift, bits) = (self.name("srli_epi16"), bits_literal(bits));
        quote!(#shift::<#bits>(#a))
    }

    fn broadcast(&self, pointer: TokenStream) -> TokenStream {
        let splat = self.name("set1_epi32");
        quote!(#splat(#pointer.cast::<i32>().read_unaligned()))
    }

    fn zero(&self) -> TokenStream {
        let zero = self.whole("setzero");
        quote!(#zero())
    }

    fn splat(&self, value: TokenStream) -> TokenStream {
        let splat = self.name("set1_epi32");
        quote!(#splat(#value))
    }

    fn add(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let add = self.name("add_epi32");
        quote!(#add(#a, #b))
    }

    fn sub(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let sub = self.name("sub_epi32");
        quote!(#sub(#a, #b))
    }

    fn shift_left(&self, a: TokenStream, bits: u32) -> TokenStream {
        let (shift, bits) = (self.name("slli_epi32"), bits_literal(bits));
        quote!(#shift::<#bits>(#a))
    }

    fn shift_right_signed(&self, a: TokenStream, bits: u32) -> TokenStream {
        let (shift, bits) = (self.name("srai_epi32"), bits_literal(bits));
        quote!(#shift::<#bits>(#a))
    }

    fn times(&self, a: TokenStream, factor: i32) -> TokenStream {
        let (multiply, splat, factor) =
            (self.name("mullo_epi32"), self.name("set1_epi32"), Literal::i32_unsuffixed(factor));
        quote!(#multiply(#a, #splat(#factor)))
    }

    fn store(&self, pointer: TokenStream, a: TokenStream) -> TokenStream {
        let store = self.whole("storeu");
        quote!(#store(#pointer.cast(), #a))
    }

    fn prefetch(&self, pointer: TokenStream, cache: Cache) -> Option<TokenStream> {
        let hint = match cache {
            Cache::First => quote!(_MM_HINT_T0),
            Cache::Second => quote!(_MM_HINT_T1),
        };
        Some(quote!(_mm_prefetch::<#hint>(#pointer.cast())))
    }

    fn lookups(&self) -> Option<&dyn Lookups> {
        Some(self)
    }

    fn dots(&self) -> Option<&dyn Dots> {
        self.dot.map(|_| self as &dyn Dots)
    }

    fn halves(&self) -> Option<&dyn Halves> {
        Some(self)
    }

    fn shuffles(&self) -> Option<&dyn Shuffles> {
        Some(self)
    }

    fn permutes(&self) -> Option<&dyn Permutes> {
        self.permutes.then_some(self as &dyn Permutes)
    }

    fn tiles(&self) -> Option<&dyn Tiles> {
        self.tiles.as_ref().map(|tiles| tiles as &dyn Tiles)
    }
}

impl Lookups for X86 {
    fn table(&self, entries: [u8; 16]) -> TokenStream {
        let entries = entries.map(|entry| Literal::i8_unsuffixed(entry as i8));
        self.repeat(quote!(_mm_setr_epi8(#(#entries),*)))
    }

    fn lookup(&self, table: TokenStream, indices: TokenStream) -> TokenStream {
        let shuffle = self.name("shuffle_epi8");
        quote!(#shuffle(#table, #indices))
    }

    fn expand(&self, pointer: TokenStream, _nibble: usize) -> TokenStream {
        quote!(expand(#pointer))
    }

    fn xor(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let xor = self.whole("xor");
        quote!(#xor(#a, #b))
    }

    fn add_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let add = self.name("add_epi8");
        quote!(#add(#a, #b))
    }

    fn sub_bytes(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let sub = self.name("sub_epi8");
        quote!(#sub(#a, #b))
    }
}

impl Dots for X86 {
    fn dot(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        let dot = self.dot.map(|name| intrinsic(name.into()));
        quote!(#dot(#sum, #codes, #activations))
    }
}

/// `vpmaddubsw` sums two products, each at most 2 · 128 in magnitude.
impl Halves for X86 {
    fn mad(&self, codes: TokenStream, activations: TokenStream) -> TokenStream {
        let mad = self.name("maddubs_epi16");
        quote!(#mad(#codes, #activations))
    }

    fn mad_add(&self, sum: TokenStream, codes: TokenStream, activations: TokenStream) -> TokenStream {
        let (add, product) = (self.name("add_epi16"), self.mad(codes, activations));
        quote!(#add(#sum, #product))
    }

    fn widen(&self, sum: TokenStream) -> TokenStream {
        let (mad, splat) = (self.name("madd_epi16"), self.name("set1_epi16"));
        quote!(#mad(#sum, #splat(1)))
    }
}

/// Sorting into planes transposes within 128 bits, and unpacking twice undoes just that.
impl Shuffles for X86 {
    fn planes(&self, pointer: TokenStream, planes: [TokenStream; 4]) -> TokenStream {
        quote!(let [#(#planes),*] = planes(#pointer);)
    }

    fn load_table(&self, pointer: TokenStream) -> TokenStream {
        self.repeat(quote!(_mm_loadu_si128(#pointer.cast())))
    }

    fn signs(&self, pointer: TokenStream) -> TokenStream {
        quote!(spread(#pointer))
    }

    fn sign_bits(&self, j: usize) -> TokenStream {
        let (splat, bits) = (self.name("set1_epi16"), Literal::u16_suffixed(1 << j | 1 << (12 + j)));
        quote!(#splat(#bits as i16))
    }

    fn test(&self, signs: TokenStream, bits: TokenStream) -> TokenStream {
        match self.bits {
            256 => quote!(_mm256_cmpeq_epi8(_mm256_and_si256(#signs, #bits), #bits)),
            _ => quote!(_mm512_movm_epi8(_mm512_test_epi8_mask(#signs, #bits))),
        }
    }

    fn low_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        let unpack = self.name("unpacklo_epi8");
        quote!(#unpack(#low, #high))
    }

    fn high_halves(&self, low: TokenStream, high: TokenStream) -> TokenStream {
        let unpack = self.name("unpackhi_epi8");
        quote!(#unpack(#low, #high))
    }

    fn zero_halves(&self) -> TokenStream {
        self.zero()
    }

    fn add_halves(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let add = self.name("add_epi16");
        quote!(#add(#a, #b))
    }

    fn low_lanes(&self, halves: TokenStream) -> TokenStream {
        let (shift, unpack) = (self.name("srai_epi32"), self.name("unpacklo_epi16"));
        quote!(#shift::<16>(#unpack(#halves, #halves)))
    }

    fn high_lanes(&self, halves: TokenStream) -> TokenStream {
        let (shift, unpack) = (self.name("srai_epi32"), self.name("unpackhi_epi16"));
        quote!(#shift::<16>(#unpack(#halves, #halves)))
    }
}

/// AVX-512 VBMI.
impl Permutes for X86 {
    fn or(&self, a: TokenStream, b: TokenStream) -> TokenStream {
        let or = self.whole("or");
        quote!(#or(#a, #b))
    }

    fn quarters(&self) -> TokenStream {
        let splat = self.name("set1_epi32");
        quote!(#splat(0x30201000))
    }

    fn load_table(&self, pointer: TokenStream) -> TokenStream {
        self.load(pointer)
    }

    fn permute(&self, table: TokenStream, indices: TokenStream) -> TokenStream {
        let permute = self.name("permutexvar_epi8");
        quote!(#permute(#indices, #table))
    }

    fn choose(&self, pointer: TokenStream, plus: TokenStream, minus: TokenStream) -> TokenStream {
        let blend = self.name("mask_blend_epi8");
        quote!(#blend(#pointer.cast::<u64>().read_unaligned(), #plus, #minus))
    }
}
