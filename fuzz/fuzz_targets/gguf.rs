//! A GGUF file of any bytes: opened, understood, its tensors decoded, its vocabulary used, run where it is a model.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tritune::gguf::File;
use tritune::kernels::Selection;
use tritune::model::{Model, Session, SessionOptions};
use tritune::quant::{float, trits};
use tritune::threads::Pool;
use tritune::tokenizer::{Special, Tokenizer};

static SELECTION: LazyLock<Selection> = LazyLock::new(|| Selection::new(None, 1).expect("kernels"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = File::from_bytes("fuzz.gguf", bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        let data = file.data(tensor);
        let (k, n) = (tensor.k() as usize, tensor.n() as usize);
        if tensor.kind.is_ternary() {
            let _ = trits::decode(tensor.kind, &data, n, k);
        } else if data.len().is_multiple_of(n) {
            let mut row = vec![0.0; k.min(1 << 20)];
            let _ = float::decode(tensor.kind, &data[..data.len() / n], &mut row);
        }
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&file)
        && let Ok(ids) = tokenizer.encode("The rest <s> of it\n is 1815 Ä", Special::Parse)
    {
        tokenizer.decode(&ids).expect("ids of its own");
    }
    let _ = (file.check_model(), file.check_filled());
    if let Ok(model) = Model::from_gguf(&file, &SELECTION, Pool::new(1), &|_, _| ()) {
        let options = SessionOptions { kv: None, context: Some(2) };
        let mut session = Session::new(&model, options).expect("a small context");
        if let Ok(logits) = session.feed(&[0, model.config().vocab as u32 - 1]) {
            assert!(logits.iter().all(|logit| logit.is_finite()));
        }
    }
});
