//! What distinguishes the families of models: a row each, for what config.json and the tensors' names mean.

/// A family of models, by the classes of transformers that run it.
#[derive(Debug)]
pub(super) struct Family {
    /// Values of `architectures`.
    pub(super) classes: &'static [&'static str],
    /// `general.architecture` of the GGUF file.
    pub(super) architecture: &'static str,
    /// Rope rotates neighbours there, and halves in transformers: rows of queries and keys change places.
    pub(super) neighbours: bool,
    /// The vectors of a layer: name, GGUF's name, width.
    pub(super) norms: &'static [(&'static str, &'static str, Width)],
    /// Norms multiply by this more than their weights say.
    pub(super) norm_shift: f32,
    /// What `hidden_act` is where config.json does not say.
    pub(super) activation: &'static str,
    /// The architecture alone does not say the activation.
    pub(super) says_activation: bool,
    /// `rope_theta` where config.json does not say.
    pub(super) rope_base: f64,
    /// `head_dim` where config.json does not say; None: the hidden size over the heads.
    pub(super) head: Option<u32>,
    /// `max_position_embeddings` where config.json does not say.
    pub(super) context: Option<u32>,
    /// The class ternarises its matrices itself, whatever config.json says.
    pub(super) ternarises: bool,
    /// Head and embedding are one; keys of Gemma say which layers see a window, how queries are scaled, and where
    /// logits are capped.
    pub(super) gemma: bool,
    /// Keys of MiniCPM say how embedding, residual stream and logits are scaled.
    pub(super) minicpm: bool,
}

/// The length of a vector, a side of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Of the residual stream.
    Hidden,
    /// Of the feed-forward network.
    FeedForward,
    /// Of all heads of queries.
    Queries,
    /// Of all heads of keys, or of values.
    Keys,
    /// Of one head.
    Head,
}

const ATTN: (&str, &str, Width) = ("input_layernorm", "attn_norm", Width::Hidden);
const FFN: (&str, &str, Width) = ("post_attention_layernorm", "ffn_norm", Width::Hidden);
const Q: (&str, &str, Width) = ("self_attn.q_norm", "attn_q_norm", Width::Head);
const K: (&str, &str, Width) = ("self_attn.k_norm", "attn_k_norm", Width::Head);

/// What most families have.
const PLAIN: Family = Family {
    classes: &[],
    architecture: "",
    neighbours: false,
    norms: &[ATTN, FFN],
    norm_shift: 0.0,
    activation: "silu",
    says_activation: false,
    rope_base: 10_000.0,
    head: None,
    context: None,
    ternarises: false,
    gemma: false,
    minicpm: false,
};

/// Every family that is converted. Classes without a head (`Model`) are those of embedding models.
pub(super) const FAMILIES: [Family; 7] = [
    Family { classes: &["LlamaForCausalLM", "LLaMAForCausalLM"], architecture: "llama", neighbours: true, ..PLAIN },
    // 1bitLLM's own modeling_bitnet.py.
    Family {
        classes: &["BitnetForCausalLM"],
        architecture: "bitnet",
        norms: &[
            ATTN,
            ("self_attn.inner_attn_ln", "attn_sub_norm", Width::Queries),
            FFN,
            ("mlp.ffn_layernorm", "ffn_sub_norm", Width::FeedForward),
        ],
        says_activation: true,
        ternarises: true,
        ..PLAIN
    },
    // Microsoft's, in transformers.
    Family {
        classes: &["BitNetForCausalLM"],
        architecture: "bitnet-b1.58",
        norms: &[
            ATTN,
            ("self_attn.attn_sub_norm", "attn_sub_norm", Width::Queries),
            FFN,
            ("mlp.ffn_sub_norm", "ffn_sub_norm", Width::FeedForward),
        ],
        activation: "relu2",
        says_activation: true,
        rope_base: 500_000.0,
        ..PLAIN
    },
    Family { classes: &["Qwen2ForCausalLM"], architecture: "qwen2", ..PLAIN },
    Family {
        classes: &["Qwen3ForCausalLM", "Qwen3Model"],
        architecture: "qwen3",
        norms: &[ATTN, Q, K, FFN],
        head: Some(128),
        ..PLAIN
    },
    Family {
        classes: &["Gemma3ForCausalLM", "Gemma3TextModel"],
        architecture: "gemma3",
        norms: &[
            ATTN,
            Q,
            K,
            ("post_attention_layernorm", "post_attention_norm", Width::Hidden),
            ("pre_feedforward_layernorm", "ffn_norm", Width::Hidden),
            ("post_feedforward_layernorm", "post_ffw_norm", Width::Hidden),
        ],
        norm_shift: 1.0,
        activation: "gelu_pytorch_tanh",
        rope_base: 1_000_000.0,
        head: Some(256),
        context: Some(131_072),
        gemma: true,
        ..PLAIN
    },
    Family { classes: &["MiniCPMForCausalLM"], architecture: "minicpm", neighbours: true, minicpm: true, ..PLAIN },
];

/// The matrices of a layer: name, GGUF's name, rows, columns.
pub(super) const MATRICES: [(&str, &str, Width, Width); 7] = [
    ("self_attn.q_proj", "attn_q", Width::Queries, Width::Hidden),
    ("self_attn.k_proj", "attn_k", Width::Keys, Width::Hidden),
    ("self_attn.v_proj", "attn_v", Width::Keys, Width::Hidden),
    ("self_attn.o_proj", "attn_output", Width::Hidden, Width::Queries),
    ("mlp.gate_proj", "ffn_gate", Width::FeedForward, Width::Hidden),
    ("mlp.up_proj", "ffn_up", Width::FeedForward, Width::Hidden),
    ("mlp.down_proj", "ffn_down", Width::Hidden, Width::FeedForward),
];

/// The family that runs models of `class`.
pub(super) fn of(class: &str) -> Option<&'static Family> {
    const { &FAMILIES }.iter().find(|family| family.classes.contains(&class))
}

/// Every class that is converted.
pub(super) fn classes() -> String {
    FAMILIES.iter().flat_map(|family| family.classes).copied().collect::<Vec<_>>().join(", ")
}
