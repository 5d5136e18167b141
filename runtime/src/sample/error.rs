/// Why nothing was chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is NaN or out of range.
    #[error("the sampling option {option} is {value}; it must be {range}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
    /// There are no logits.
    #[error("there is nothing to choose from: the model gave no logits")]
    Empty,
    /// A logit is NaN or +∞: the computation that made it went wrong, and any choice would be a guess.
    #[error(
        "the logit of token {id} is {value}; the file is damaged or a kernel is wrong: download the model again, or report the kernel"
    )]
    Logit {
        /// The first such token.
        id: u32,
        /// Its logit.
        value: f32,
    },
    /// Logits of too few tokens.
    #[error("the logits of {logits} tokens do not decide the choice; ask for those that the sampler demands")]
    Undecided {
        /// How many logits there are.
        logits: usize,
    },
    /// Every logit is −∞.
    #[error("all {count} tokens are forbidden: every logit is -inf")]
    Forbidden {
        /// How many logits there are.
        count: usize,
    },
}
