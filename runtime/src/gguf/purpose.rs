//! GGUF files that hold something other than a model.

use std::fmt;

use super::value::Value;
use super::{Error, File};

/// What a file holds that is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Changes to a model (LoRA).
    Adapter,
    /// Directions to push a model's activations in.
    ControlVector,
    /// What reads images or sound for a language model.
    Projector,
    /// How much each weight counts, for quantising.
    Imatrix,
    /// A tokenizer alone.
    Vocabulary,
    /// Metadata alone.
    NoTensors,
}

impl File {
    /// What the file holds, where that is no model, and what tells.
    fn other_purpose(&self) -> Option<(Purpose, String)> {
        let text = |key: &str| match self.value(key) {
            Some(Value::String(text)) => text.as_str(),
            _ => "",
        };
        let key = |start: &str| {
            let found = self.metadata().iter().find(|(key, _)| key.starts_with(start));
            found.map(|(key, _)| format!("it has the key `{key}`"))
        };
        let tensor = |end: &str| {
            let found = self.tensors().iter().find(|tensor| tensor.name.ends_with(end));
            found.map(|tensor| format!("it has the tensor `{}`", tensor.name))
        };
        let said = |key: &str, value: &str| (text(key) == value).then(|| format!("`{key}` is `{value}`"));
        let is = |purpose: Purpose| move |because: String| (purpose, because);

        said("general.type", "adapter")
            .or_else(|| key("adapter."))
            .or_else(|| tensor(".lora_a"))
            .map(is(Purpose::Adapter))
            .or_else(|| said("general.architecture", "controlvector").map(is(Purpose::ControlVector)))
            .or_else(|| {
                let projector = said("general.type", "mmproj").or_else(|| said("general.architecture", "clip"));
                projector.map(is(Purpose::Projector))
            })
            .or_else(|| said("general.type", "imatrix").or_else(|| key("imatrix.")).map(is(Purpose::Imatrix)))
            .or_else(|| {
                let empty = self.tensors().is_empty().then(|| "it has no tensors".to_owned());
                let vocabulary = self.value("tokenizer.ggml.tokens").is_some();
                empty.map(is(if vocabulary { Purpose::Vocabulary } else { Purpose::NoTensors }))
            })
    }

    /// Refuses a file that holds no model but something that goes with one.
    ///
    /// # Errors
    /// Says what it holds, what tells, and what to name instead.
    pub fn check_model(&self) -> Result<(), Error> {
        match self.other_purpose() {
            Some((found, because)) => Err(Error::Purpose { path: self.path().into(), found, because }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Adapter => {
                "an adapter (LoRA), which changes a model and is none: merge it into its model, or name a model"
            }
            Purpose::ControlVector => "a control vector, which steers a model and is none: name a model",
            Purpose::Projector => {
                "the part of a model that reads images or sound (mmproj): name the file of its language model"
            }
            Purpose::Imatrix => "an importance matrix, with which models are quantised: name a model",
            Purpose::Vocabulary => {
                "a vocabulary without weights: `tritune tokenize` can use it; to run a model, name a file that has both"
            }
            Purpose::NoTensors => "metadata without weights: name a file that has weights",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Kind, Writer};
    use super::*;

    fn purpose(keys: &[(&str, &str)], tensor: Option<&str>) -> Option<Purpose> {
        let mut header = Header::new();
        for (key, value) in keys {
            header.set(*key, value.to_string());
        }
        if let Some(tensor) = tensor {
            header.tensor(tensor, &[1], Kind::F32).unwrap();
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        if let Some(tensor) = tensor {
            writer.write_tensor(tensor, &[1; 4]).unwrap();
        }
        let file = File::from_bytes("m.gguf", writer.finish().unwrap()).unwrap();
        file.other_purpose().map(|(purpose, _)| purpose)
    }

    #[test]
    fn keys_and_names_tell_what_a_file_is_for() {
        let weights = Some("output.weight");
        assert_eq!(purpose(&[("general.architecture", "llama")], weights), None);
        assert_eq!(purpose(&[("general.type", "model")], weights), None);
        assert_eq!(purpose(&[("general.type", "adapter")], weights), Some(Purpose::Adapter));
        assert_eq!(purpose(&[("adapter.type", "lora")], weights), Some(Purpose::Adapter));
        assert_eq!(purpose(&[], Some("blk.0.attn_q.weight.lora_a")), Some(Purpose::Adapter));
        assert_eq!(purpose(&[("general.architecture", "controlvector")], weights), Some(Purpose::ControlVector));
        assert_eq!(purpose(&[("general.architecture", "clip")], weights), Some(Purpose::Projector));
        assert_eq!(purpose(&[("general.type", "mmproj")], weights), Some(Purpose::Projector));
        assert_eq!(purpose(&[("general.type", "imatrix")], weights), Some(Purpose::Imatrix));
        assert_eq!(purpose(&[("tokenizer.ggml.tokens", "")], None), Some(Purpose::Vocabulary));
        assert_eq!(purpose(&[("general.architecture", "llama")], None), Some(Purpose::NoTensors));
    }
}
