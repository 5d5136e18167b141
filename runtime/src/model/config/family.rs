//! What tells architectures apart that are otherwise one: a row of data each, and no forward pass of its own.
//!
//! Facts of every row: llama.cpp's graphs and loaders (`src/models/*.cpp`), and, for the norms before projections,
//! bitnet.cpp's converter of embedding models (`utils/convert-bitnet-embedding-to-gguf.py`).

use crate::model::rope::Pairing;

/// What the name of an architecture alone says. All else is in a file's keys and tensors.
#[derive(Debug)]
pub struct Family {
    /// The value of `general.architecture`.
    pub architecture: &'static str,
    /// Which elements rope rotates together.
    pub pairing: Pairing,
    /// Norms of what projections read.
    pub(super) input_norms: InputNorms,
    /// Whether queries and keys are normalised head by head, before rope.
    pub head_norms: bool,
    /// Whether what a branch computed is normalised before it joins the residual stream.
    pub post_norms: bool,
    /// Whether the head may have a bias.
    pub head_bias: bool,
    /// Whether the feed-forward network is a mixture of experts.
    pub experts: bool,
    /// Where the file does not name an activation.
    pub(super) activation: ActivationRule,
    /// What embeddings, branches and logits are multiplied by.
    pub(super) scales: ScaleRule,
    /// How queries are scaled where the file does not say it.
    pub(super) query_scale: QueryScaleRule,
    /// Layers that see only the latest tokens, where the architecture knows such.
    pub(super) window: Option<WindowRule>,
    /// Whether logits may be squeezed into a range.
    pub(super) logit_cap: bool,
}

/// Norms of what projections read: each projection with the norm's tensor, both as they are called in a layer.
pub type Norms = &'static [(&'static str, &'static str)];

#[derive(Debug)]
pub(super) enum InputNorms {
    /// Every file has them.
    Always(Norms),
    /// A file has all of them or none.
    Maybe(Norms),
}

#[derive(Debug)]
pub(super) enum ActivationRule {
    Silu,
    Gelu,
    /// Two models share the architecture, and only their tokenizers tell them apart.
    ByTokenizer,
}

#[derive(Debug, PartialEq)]
pub(super) enum ScaleRule {
    /// Nothing is scaled.
    Plain,
    /// Embeddings are multiplied by the root of their width.
    RootOfWidth,
    /// Embeddings, branches and logits are, by keys.
    MiniCpm,
}

#[derive(Debug)]
pub(super) enum QueryScaleRule {
    /// 1/√key length.
    KeyLength,
    /// The same, but of embedding width / heads in the model of so many layers.
    Gemma { of_width_at: usize },
}

#[derive(Debug)]
pub(super) struct WindowRule {
    /// Which layer of how many sees the whole context, counted from 1, where the file gives no pattern.
    pub period: Option<usize>,
    /// Rope's base in layers that see a window, where the file gives none; `None`: as in the others.
    pub base: Option<f32>,
    /// Whether rope's scaling holds in layers that see a window.
    pub scaled: bool,
    /// Whether layers that see the whole context tell positions apart.
    pub rope_of_whole: bool,
}

const NO_NORMS: InputNorms = InputNorms::Always(&[]);
const SUB_NORMS: InputNorms = InputNorms::Always(&[("attn_output", "attn_sub_norm"), ("ffn_down", "ffn_sub_norm")]);
const NORMS_IN: InputNorms = InputNorms::Maybe(&[
    ("attn_q", "attn_q_norm_in"),
    ("attn_k", "attn_k_norm_in"),
    ("attn_v", "attn_v_norm_in"),
    ("attn_output", "attn_output_norm_in"),
    ("ffn_gate", "ffn_gate_norm_in"),
    ("ffn_up", "ffn_up_norm_in"),
    ("ffn_down", "ffn_down_norm_in"),
]);

/// What most have in common.
const PLAIN: Family = Family {
    architecture: "",
    pairing: Pairing::Halves,
    input_norms: NO_NORMS,
    head_norms: false,
    post_norms: false,
    head_bias: false,
    experts: false,
    activation: ActivationRule::Silu,
    scales: ScaleRule::Plain,
    query_scale: QueryScaleRule::KeyLength,
    window: None,
    logit_cap: false,
};

/// Every architecture that can be run.
pub static FAMILIES: [Family; 9] = [
    Family { architecture: "llama", pairing: Pairing::Adjacent, ..PLAIN },
    Family { architecture: "bitnet", input_norms: SUB_NORMS, ..PLAIN },
    Family { architecture: "bitnet-25", input_norms: SUB_NORMS, activation: ActivationRule::ByTokenizer, ..PLAIN },
    Family { architecture: "bitnet-b1.58", input_norms: SUB_NORMS, activation: ActivationRule::ByTokenizer, ..PLAIN },
    Family { architecture: "qwen2", head_bias: true, ..PLAIN },
    Family { architecture: "qwen3", head_norms: true, input_norms: NORMS_IN, ..PLAIN },
    Family {
        architecture: "gemma3",
        input_norms: NORMS_IN,
        head_norms: true,
        post_norms: true,
        activation: ActivationRule::Gelu,
        scales: ScaleRule::RootOfWidth,
        // The model of 27 billion weights.
        query_scale: QueryScaleRule::Gemma { of_width_at: 62 },
        window: Some(WindowRule { period: Some(6), base: Some(10_000.0), scaled: false, rope_of_whole: true }),
        logit_cap: true,
        ..PLAIN
    },
    Family { architecture: "minicpm", pairing: Pairing::Adjacent, scales: ScaleRule::MiniCpm, ..PLAIN },
    Family {
        architecture: "maple",
        head_norms: true,
        experts: true,
        window: Some(WindowRule { period: None, base: None, scaled: true, rope_of_whole: false }),
        ..PLAIN
    },
];

impl Family {
    /// The family of an architecture.
    pub fn of(architecture: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.architecture == architecture)
    }
}
