//! From kernels to source text: functions, the modules that hold them, and the table that lists them.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::isa::Isa;
use crate::kernel::{KernelError, KernelId, Tile};
use crate::schedule::Schedule;
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
        // What the kernel calls is part of it, but for the lane of scalar kernels, which is written by hand.
        let source = self.source()? + &lowering(self.isa).imports().to_string();
        let hash = source
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Ok(format!("{hash:016x}"))
    }

    fn function(&self) -> Result<TokenStream, KernelError> {
        self.check()?;
        let template::Kernel { body, tally } = template::kernel(self)?;
        let name = format_ident!("{}", self.to_string());
        let attributes = lowering(self.isa).attributes(&self.features().collect::<Vec<_>>());
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
        let [mr, nr, kb, ku] = [tile.mr, tile.nr, tile.kb, tile.ku].map(Literal::u16_unsuffixed);
        quote!(KernelId {
            op: Op::#op,
            weights: Weights::#weights,
            tile: Tile { mr: #mr, nr: #nr, kb: #kb, ku: #ku },
            isa: Isa::#isa,
            method: Method::#method,
        })
    }
}

/// Kernels that were measured to be the best for a shape on a machine, to be compiled in as a row of `PICKS`.
#[derive(Clone, Debug)]
pub struct PickRow {
    /// Name of the machine.
    pub machine: String,
    /// Its architecture, vendor, family and model.
    pub microarchitecture: String,
    /// The instruction sets that it runs, plainest first; none where not all of them are known.
    pub isas: Vec<Isa>,
    /// Rows of the shape.
    pub n: usize,
    /// Columns of the shape.
    pub k: usize,
    /// Threads that shared the work.
    pub threads: usize,
    /// The kernels, all of one layout, and how each is run.
    pub kernels: Vec<(KernelId, Schedule)>,
    /// So many tokens or more that are left over go to one pass of the gemm.
    pub crossover: Option<usize>,
}

/// The source file that holds a menu of kernels: a module for each instruction set; `KERNELS`, the table of them;
/// `DEFAULTS`, those to use where nothing was measured; `PICKS`, what was measured.
///
/// The file is to be included where `Args`, `Kernel`, `Pick` and this crate's value types are in scope.
///
/// # Errors
/// The first kernel that cannot be generated.
pub fn menu_source(menu: &[KernelId], defaults: &[KernelId], picks: &[PickRow]) -> Result<String, KernelError> {
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
    let defaults = defaults.iter().map(KernelId::expression);
    let picks = picks.iter().map(|PickRow { machine, microarchitecture, isas, n, k, threads, kernels, crossover }| {
        let isas = isas.iter().map(|isa| format_ident!("{isa:?}"));
        let kernels = kernels.iter().map(|(id, Schedule { pieces, ahead })| {
            let (id, pieces, ahead) =
                (id.expression(), Literal::u16_unsuffixed(*pieces), Literal::u32_unsuffixed(*ahead));
            quote!((#id, tritune_codegen::Schedule { pieces: #pieces, ahead: #ahead }))
        });
        let [n, k, threads] = [n, k, threads].map(|number| Literal::usize_unsuffixed(*number));
        let crossover = match crossover.map(Literal::usize_unsuffixed) {
            Some(tokens) => quote!(Some(#tokens)),
            None => quote!(None),
        };
        quote!(Pick {
            machine: ::std::borrow::Cow::Borrowed(#machine),
            microarchitecture: ::std::borrow::Cow::Borrowed(#microarchitecture),
            isas: ::std::borrow::Cow::Borrowed(&[#(Isa::#isas),*]),
            n: #n,
            k: #k,
            threads: #threads,
            kernels: ::std::borrow::Cow::Borrowed(&[#(#kernels),*]),
            crossover: #crossover,
        })
    });
    Ok(format(quote! {
        #modules
        /// Every kernel that was compiled in.
        pub static KERNELS: &[Kernel] = &[#rows];
        /// The kernels to use where nothing was measured; those of an instruction set share a layout.
        pub(super) static DEFAULTS: &[KernelId] = &[#(#defaults),*];
        /// What was measured, on whatever machine.
        pub(super) static PICKS: &[Pick] = &[#(#picks),*];
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
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        // A long text stands on a line of its own between `comment!(` and `);`.
        let comment = match code {
            "comment!(" => lines.next().zip(lines.next()).map(|(text, _)| text.trim()),
            _ => code.strip_prefix("comment!(").and_then(|rest| rest.strip_suffix(");")),
        };
        match comment {
            Some(text) => {
                let indent = &line[..line.len() - code.len()];
                source.push_str(&format!("{indent}// {}\n", text.trim_matches('"')));
            }
            None => {
                source.push_str(line);
                source.push('\n');
            }
        }
    }
    source
}
