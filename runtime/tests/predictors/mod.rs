//! The fixtures that predict tokens.

/// Of `fixtures`, without `.gguf`.
pub const PREDICTORS: [&str; 6] = [
    "bitnet-2b4t-i2_s",
    "bitnet-3b-i2_s-ragged",
    "llama-falcon3-i2_s",
    "llama-trilm-tq1_0",
    "llama-trilm-tq2_0",
    "qwen3-bonsai-q2_0",
];
