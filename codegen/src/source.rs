//! From kernels to source text: functions, the modules that hold them, and the table that lists them.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use crate::isa::Isa;
use crate::kernel::{KernelError, KernelId, Tile};
use crate::template;
use crate::vector::lowering;

impl KernelId {
    /// The kernel as formatted Rust source: one documented function.
    ///
    /// # Errors
    /// Where [`KernelId::check`] refuses the kernel.
    pub fn source(&self) -> Result<String, KernelError> {
        let function = self.function()?;
        Ok(format(quote!(#function)))
    }

    /// 16 hexadecimal digits that change when the source does (FNV-1a): ties a measurement to what was measured.
    ///
    /// # Errors
    /// Where [`KernelId::check`] refuses the kernel.
    pub fn source_hash(&self) -> Result<String, KernelError> {
        let hash = self
            .source()?
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Ok(format!("{hash:016x}"))
    }

    fn function(&self) -> Result<TokenStream, KernelError> {
        self.check()?;
        let template::Kernel { body, tally } = template::product(self)?;
        let name = format_ident!("{}", self.to_string());
        let attributes = lowering(self.isa).attributes();
        let Tile { mr, nr, kb, ku } = self.tile;
        let products = usize::from(mr) * usize::from(nr) * usize::from(kb);
        let doc = [
            format!(" Tile: {mr} token(s) × {nr} rows, {kb} columns a turn, {ku} accumulator(s) an output."),
            format!(" Weights: layout `{}`.", self.layout()),
            format!(" A turn: {products} products of weights and activations by {tally}."),
        ];
        Ok(quote! {
            #(#[doc = #doc])*
            ///
            /// # Safety
            /// The machine has the features enabled here, and `args` is as [`Args`] states, for this tile.
            #attributes
            pub unsafe fn #name(args: &Args) {
                comment!("SAFETY: every access lies in a range that `Args` promises.");
                unsafe { #body }
            }
        })
    }

    /// The value as a Rust expression.
    fn expression(&self) -> TokenStream {
        let KernelId { op, weights, tile, isa, method } = self;
        let [op, weights, isa, method] =
            [format!("{op:?}"), format!("{weights:?}"), format!("{isa:?}"), format!("{method:?}")]
                .map(|variant| format_ident!("{variant}"));
        let [mr, nr, kb, ku] = [tile.mr, tile.nr, tile.kb, tile.ku].map(proc_macro2::Literal::u16_unsuffixed);
        quote!(KernelId {
            op: Op::#op,
            weights: Weights::#weights,
            tile: Tile { mr: #mr, nr: #nr, kb: #kb, ku: #ku },
            isa: Isa::#isa,
            method: Method::#method,
        })
    }
}

/// The source file that holds a menu of kernels: a module for each instruction set, and `KERNELS`, the table of all.
///
/// The file is to be included where `Args`, `Kernel` and this crate's value types are in scope.
///
/// # Errors
/// The first kernel that cannot be generated.
pub fn menu_source(menu: &[KernelId]) -> Result<String, KernelError> {
    let mut modules = TokenStream::new();
    let mut rows = TokenStream::new();
    for isa in Isa::ALL {
        let kernels: Vec<_> = menu.iter().filter(|id| id.isa == isa).collect();
        if kernels.is_empty() {
            continue;
        }
        let functions = kernels.iter().map(|id| id.function()).collect::<Result<Vec<_>, _>>()?;
        let (module, imports) = (format_ident!("{}", isa.name()), lowering(isa).imports());
        let doc = format!(" Kernels for {isa}.");
        modules.extend(quote! {
            #[doc = #doc]
            #[allow(non_snake_case)]
            mod #module {
                use super::Args;
                #imports
                #(#functions)*
            }
        });
        for id in kernels {
            let (name, value, hash) = (format_ident!("{}", id.to_string()), id.expression(), id.source_hash()?);
            rows.extend(quote!(Kernel::new(#value, #hash, #module::#name),));
        }
    }
    Ok(format(quote! {
        #modules
        /// Every kernel that was compiled in.
        pub(super) static KERNELS: &[Kernel] = &[#rows];
    }))
}

/// Parses the tokens back, which proves that they are Rust, and lays them out; `comment!("…")` becomes a comment.
fn format(tokens: TokenStream) -> String {
    let file = match syn::parse2::<syn::File>(tokens) {
        Ok(file) => file,
        Err(error) => unreachable!("a template emitted what is not Rust: {error}"),
    };
    let text = prettyplease::unparse(&file);
    let mut source = String::with_capacity(text.len());
    for line in text.lines() {
        let code = line.trim_start();
        match code.strip_prefix("comment!(\"").and_then(|rest| rest.strip_suffix("\");")) {
            Some(comment) => {
                let indent = &line[..line.len() - code.len()];
                source.push_str(&format!("{indent}// {comment}\n"));
            }
            None => {
                source.push_str(line);
                source.push('\n');
            }
        }
    }
    source
}
