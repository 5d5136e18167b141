//! Logits of a text that is fed in pieces.

use tritune::model::{Session, SessionError};

/// Logits `[tokens, vocab]` of all tokens, fed by passes of so many.
pub fn passes(mut session: Session, tokens: &[u32], length: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for pass in tokens.chunks(length) {
        let fed = session.feed_each(pass, 0, |_, row| {
            logits.extend_from_slice(row);
            Ok::<_, SessionError>(())
        });
        fed.unwrap();
    }
    logits
}
