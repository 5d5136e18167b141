//! Whether a model reads as it should: what is wrong with a misread file is fluent nonsense, not an error.

use tritune::gguf::{File, Kind, ReadOptions};
use tritune::kernels::Selection;
use tritune::model::{HeadMode, KvType, LoadOptions, Model, Session, SessionError, SessionOptions};
use tritune::pack::Section;
use tritune::threads::Pool;
use tritune::tokenizer::Special;
use tritune::vector::log_sum_exp;

/// What every model of English reads well: it is in all corpora (Pride and Prejudice, 1813).
const SENTENCE: &str = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be \
                        in want of a wife.";

/// A perplexity that no sound model has on [`SENTENCE`], as a power of the size of the vocabulary: who knows of a language
/// but how frequent its tokens are has about its power of 0.6 (600 of 32000), who guesses has all of it, and weights in
/// the wrong order are worse than guessing, since they are sure of what they say. Measured: the demo 0.34 (13 of 2048),
/// SmolLM2-135M 0.26 (16 of 49152); the demo in the wrong layout 1.18 (8000), random weights 1.06 and more.
const NONSENSE: f64 = 0.75;

/// So many times better must the other layout be: they do not differ by a little.
const CLEARLY: f64 = 10.0;

/// A warning, where the file has I2_S weights, nothing was said about their layout, and the other one reads clearly better.
/// Costs a pass over one sentence; a second load where that says that something is wrong.
pub(crate) fn layout(file: &File, model: &Model, selection: &Selection) -> Option<String> {
    mark(file)?;
    let tokens = model.tokenizer().ok()?.encode(SENTENCE, Special::Parse).ok()?;
    let as_is = perplexity(model, &tokens)?;
    let nonsense = (model.config().vocab as f64).powf(NONSENSE);
    if as_is < nonsense {
        return None;
    }
    let used = file.options().i2s_layout.unwrap_or_default();
    let other = file.with_options(ReadOptions { i2s_layout: Some(used.other()), ..file.options().clone() }).ok()?;
    let pool = Pool::new(model.pool().threads());
    // All logits are asked for.
    let options = LoadOptions { head: HeadMode::Full, ..LoadOptions::default() };
    let read = perplexity(&Model::from_gguf_with(&other, selection, pool, options, &|_, _| ()).ok()?, &tokens)?;
    (read < nonsense && read * CLEARLY < as_is).then(|| {
        format!(
            "{} reads as nonsense (perplexity {as_is:.0} of a plain sentence), but with the other layout of I2_S as a text \
             does ({read:.1}): add --i2s-layout {}, or make a file that needs no such option with `tritune quantize IN \
             OUT i2_s --i2s-layout {}`",
            file.path().display(),
            used.other(),
            used.other(),
        )
    })
}

/// What a file of packed weights holds where nothing was wrong with the layout of I2_S that the model is read in.
pub(crate) fn mark(file: &File) -> Option<Section> {
    let is_asked = file.options().i2s_layout.is_none() && file.tensors().iter().any(|tensor| tensor.kind == Kind::I2_S);
    is_asked.then(|| Section::mark("i2s-layout", "reads well"))
}

/// How well a model foresees the tokens after the first; infinite where it computes no numbers. `None` where it does not
/// foresee tokens, or has no room for them.
fn perplexity(model: &Model, tokens: &[u32]) -> Option<f64> {
    let options = SessionOptions { kv: Some(KvType::F32), context: Some(tokens.len()) };
    let mut session = Session::new(model, options).ok()?;
    let (mut surprise, mut scored) = (0.0, 0);
    let fed = session.feed_each::<SessionError>(tokens, 0, |token, logits| {
        if let Some(&next) = tokens.get(token + 1) {
            surprise += log_sum_exp(logits) - f64::from(*logits.get(next as usize).unwrap_or(&f32::NEG_INFINITY));
            scored += 1;
        }
        Ok(())
    });
    match fed {
        Ok(()) if scored > 0 => Some((surprise / f64::from(scored)).exp()),
        Err(SessionError::Forward { .. }) => Some(f64::INFINITY),
        _ => None,
    }
}
