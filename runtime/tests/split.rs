//! A model in several files is the same model.

use std::fs;
use std::path::Path;

use tritune::gguf::{File, Header, Writer};
use tritune::kernels::Selection;
use tritune::model::{Model, Session, SessionOptions};
use tritune::threads::Pool;
use tritune::tokenizer::{Special, Tokenizer};

const DEMO: &[u8] = include_bytes!("../demo/austen-5m-i2_s.gguf");

/// Writes a model in as many parts as there are numbers of tensors, as gguf-split does: metadata in the first.
fn split(file: &File, tensors: &[usize], folder: &Path) {
    let mut rest = file.tensors();
    for (number, &count) in tensors.iter().enumerate() {
        let (these, others) = rest.split_at(count);
        rest = others;
        let mut header = Header::new();
        if number == 0 {
            file.metadata().iter().for_each(|(key, value)| _ = header.set(key, value.clone()));
        }
        header.set("split.no", number as u16).set("split.count", tensors.len() as u16);
        header.set("split.tensors.count", file.tensors().len() as i32);
        for tensor in these {
            header.tensor(&tensor.name, &tensor.shape, tensor.kind).unwrap();
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for tensor in these {
            writer.write_tensor(&tensor.name, &file.data(tensor)).unwrap();
        }
        let name = format!("austen-{:05}-of-{:05}.gguf", number + 1, tensors.len());
        fs::write(folder.join(name), writer.finish().unwrap()).unwrap();
    }
    assert!(rest.is_empty(), "{} tensors are left over", rest.len());
}

fn logits(file: &File) -> Vec<f32> {
    let ids = Tokenizer::from_gguf(file).unwrap().encode("It was", Special::Parse).unwrap();
    let model = Model::from_gguf(file, &Selection::new(None, 2).unwrap(), Pool::new(2), &|_, _| ()).unwrap();
    let mut session = Session::new(&model, SessionOptions::default()).unwrap();
    session.feed(&ids).unwrap().to_vec()
}

#[test]
fn a_split_model_computes_what_it_does_in_one_piece() {
    let demo = File::from_static("demo", DEMO).unwrap();
    let (expected, all) = (logits(&demo), demo.tensors().len());
    for tensors in [[20, 30, all - 50], [0, 1, all - 1]] {
        let folder = tempfile::tempdir().unwrap();
        split(&demo, &tensors, folder.path());
        let file = File::open(folder.path().join("austen-00001-of-00003.gguf")).unwrap();
        assert_eq!((file.parts().len(), file.tensors().len()), (3, all));
        assert_eq!(file.metadata(), demo.metadata());
        assert_eq!(logits(&file), expected);
    }
}
