//! The codes: a row for each kind of error of each type. A code that was once given means the same for ever; new kinds take
//! new numbers.

use super::Area;
#[cfg(feature = "chat")]
use crate::chat;
use crate::device::DeviceError;
use crate::engine::{GenerationError, StateError};
use crate::kernels::SelectionError;
use crate::layer::LayerError;
use crate::linear::LinearError;
use crate::memory::MemoryError;
use crate::model::{ConfigError, SessionError, WeightsError};
use crate::quant::QuantError;
use crate::tensor::TensorError;
use crate::tune::TuneError;
use crate::{gguf, quant, sample, tokenizer};

/// The system's word on a file or a stream.
pub(super) const IO: &str = "TT0501";

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code: `TT`, two digits of the area, two of the kind.
    pub code: &'static str,
    /// What it is about.
    pub area: Area,
    /// What it is called in the area's type.
    pub name: &'static str,
    /// What it means.
    pub what: &'static str,
}

/// Codes of a type's variants; of those in `through`, which hold another error with a code, that one's.
macro_rules! coded {
    ($(#[$gate:meta])* $type:ty, $area:ident: $($name:ident $code:literal $what:literal),* ; through $($(#[$arm:meta])* $pattern:pat => $source:ident),*) => {
        $(#[$gate])*
        impl $type {
            /// The code of this kind of error, the same in all versions; `docs/errors.md` lists them.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $code,)*
                    $($(#[$arm])* $pattern => $source.code(),)*
                }
            }

            const CODES: &'static [Code] =
                &[$(Code { code: $code, area: Area::$area, name: stringify!($name), what: $what }),*];
        }
    };
}

coded!(MemoryError, Memory:
    SizeOverflow "TT0101" "more bytes than a block can have",
    AlignmentUnsupported "TT0102" "an alignment that cannot be had",
    OutOfMemory "TT0103" "the system has no memory",
    LimitReached "TT0104" "the pool's own limit is reached";
    through
);

coded!(DeviceError, Device:
    Absent "TT0201" "the build has no kernels for the device",
    Unknown "TT0202" "no device has this name";
    through
);

coded!(quant::Error, Quantization:
    Unknown "TT0301" "the type of weights is not known",
    NotFloat "TT0302" "the type is no float type",
    NotTernary "TT0303" "the type is not ternary",
    Shape "TT0304" "the type cannot have such a shape",
    Size "TT0305" "the bytes are of another size than the shape",
    Code "TT0306" "a code is no trit",
    Scale "TT0307" "a scale is not finite",
    NotTrits "TT0308" "weights are not trits times a scale",
    NotFinite "TT0309" "weights are not finite",
    HalfRange "TT0310" "a scale is beyond half precision",
    Target "TT0311" "nothing is written in this type",
    Count "TT0312" "codes or scales are not as many as the shape needs",
    Granularity "TT0313" "the type has scales for other blocks",
    Blocks "TT0314" "blocks of scales do not fit the rows",
    Tiles "TT0315" "the tiles of a lookup type are not known for the shape",
    Lookup "TT0316" "an index of a lookup type is out of its table",
    Inexact "TT0317" "a scale is not exact in half precision";
    through
);

coded!(QuantError, Quantization:
    Pack "TT0330" "the layout cannot hold the weights",
    NotFinite "TT0331" "a value to be quantised is not finite",
    Threshold "TT0332" "the threshold cannot be",
    Code "TT0333" "a code is no trit",
    Scale "TT0334" "a scale is not finite",
    Step "TT0335" "a step cannot be",
    Percentile "TT0336" "a percentile cannot be",
    Unseen "TT0337" "a calibrator has seen nothing";
    through Self::Tensor(source) => source, Self::Trits(source) => source
);

coded!(TensorError, Tensor:
    Length "TT0401" "elements are not as many as the shape has",
    Overflow "TT0402" "a shape of more elements than can be counted",
    Memory "TT0403" "there is no memory for a tensor",
    DType "TT0404" "a tensor is of another type",
    Cast "TT0405" "a type is not made of another",
    Value "TT0406" "a value is not one of the type",
    Strided "TT0407" "elements do not lie in order",
    Reshape "TT0408" "a view of another number of elements",
    Rows "TT0409" "rows that are not there",
    Rank "TT0410" "another number of dimensions",
    Empty "TT0411" "a dimension is 0",
    Fit "TT0412" "two shapes do not fit",
    Devices "TT0413" "two tensors lie on different devices",
    Foreign "TT0414" "elements of a type that tensors do not have";
    through Self::Device(source) => source
);

coded!(gguf::Error, Gguf:
    Io "TT0601" "the file cannot be read",
    Folder "TT0602" "a folder was named, not a file",
    Foreign "TT0603" "the file is something else than GGUF",
    Unfinished "TT0604" "the file is still being downloaded",
    BigEndian "TT0605" "the file is big-endian",
    Version "TT0606" "the version of GGUF is not known",
    Ends "TT0607" "the file ends too soon",
    Limit "TT0608" "a count is larger than any model's",
    Text "TT0609" "a text is not UTF-8",
    ValueType "TT0610" "a value has an unknown type",
    Bool "TT0611" "a bool is neither 0 nor 1",
    Duplicate "TT0612" "a name occurs twice",
    MissingKey "TT0613" "a key is missing",
    WrongType "TT0614" "a key has another type",
    Alignment "TT0615" "the alignment cannot be",
    MissingTensor "TT0616" "a tensor is missing",
    Shape "TT0617" "a tensor's shape cannot be",
    Misaligned "TT0618" "a tensor does not lie where tensors may lie",
    Truncated "TT0619" "the file lacks its last bytes",
    Unfilled "TT0620" "a tensor was never written",
    Purpose "TT0621" "the file is no model",
    NotFirst "TT0622" "the file is a later part of a split model",
    PartName "TT0623" "the name of a part is not one of a split model",
    MissingParts "TT0624" "parts of a split model are missing",
    Part "TT0625" "a part is of another model",
    PartTensor "TT0626" "two parts have the same tensor",
    PartTensors "TT0627" "the parts have another number of tensors",
    Conflict "TT0628" "a tensor's type and its room contradict each other",
    Another "TT0629" "a tensor's type is another than it says",
    Shared "TT0630" "a type number has two meanings, and the file does not tell which";
    through
);

coded!(tokenizer::Error, Tokenizer:
    Model "TT0701" "the tokenizer model is not known",
    PreTokenizer "TT0702" "the pre-tokenizer is not known",
    NoPreTokenizer "TT0703" "the file names no pre-tokenizer",
    NotByteLevel "TT0704" "the vocabulary is not of bytes",
    Key "TT0705" "a key is not understood",
    Empty "TT0706" "the vocabulary is empty",
    Length "TT0707" "lists of the vocabulary differ in length",
    SpecialId "TT0708" "a special token is not in the vocabulary",
    NoSuchToken "TT0709" "a token that must be is not there",
    Token "TT0710" "a token cannot be",
    Merge "TT0711" "a merge cannot be",
    Bytes "TT0712" "not every byte has a token",
    TooLarge "TT0713" "the vocabulary is too large",
    Unwritable "TT0714" "a text has no tokens",
    Word "TT0715" "a word is too long",
    Id "TT0716" "an id is not in the vocabulary",
    Library "TT0717" "the tokenizer library refused";
    through Self::Gguf(source) => source, Self::File { source, .. } => source
);

coded!(TuneError, Tuning:
    NoCandidates "TT0801" "there is no kernel to measure",
    Space "TT0802" "a space of kernels is damaged",
    Supervisor "TT0803" "the process that measures failed";
    through
);

coded!(LayerError, Layer:
    Empty "TT0901" "a layer without inputs or outputs",
    Input "TT0902" "an input of another shape",
    NotFinite "TT0903" "an input is not finite",
    Overflow "TT0904" "results are not finite",
    Matrix "TT0905" "the tensor is no matrix",
    Option "TT0906" "an option does not fit the layer",
    Number "TT0907" "a number cannot be";
    through Self::Linear(source) => source, Self::Weights(source) => source, Self::Quant(source) => source,
        Self::Tensor(source) => source
);

coded!(ConfigError, Model:
    Architecture "TT1001" "the architecture is not known",
    Unsupported "TT1002" "a key asks for what is not implemented",
    Unread "TT1003" "a key of the architecture is not known",
    Absurd "TT1004" "a key has a value that cannot be",
    Ignored "TT1005" "a key that was to be passed over is not there";
    through Self::Gguf(source) => source
);

coded!(WeightsError, Model:
    Shape "TT1011" "a tensor has another shape than the metadata say",
    Unknown "TT1012" "a tensor has no place in the architecture",
    Decode "TT1013" "a tensor cannot be decoded",
    NotFinite "TT1014" "a norm, scale or bias is not finite",
    RopeFactor "TT1015" "a factor of rope cannot be",
    Memory "TT1016" "there is no memory for packed weights",
    Linear "TT1017" "a matrix cannot be packed";
    through Self::Gguf(source) => source
);

coded!(SessionError, Session:
    NoContext "TT1101" "a context of no tokens",
    Memory "TT1102" "there is no memory for keys and values",
    Embedder "TT1103" "logits of a model of embeddings",
    Generator "TT1104" "an embedding by a model that predicts tokens",
    Empty "TT1105" "no tokens to feed",
    Token "TT1106" "a token is not in the vocabulary",
    Overrun "TT1107" "more tokens than the context has room for",
    Pass "TT1108" "more tokens than are predicted together",
    Forward "TT1109" "the forward pass failed: numbers were not finite";
    through
);

coded!(sample::Error, Sampling:
    Option "TT1201" "an option is out of range",
    Empty "TT1202" "there are no logits",
    Logit "TT1203" "a logit is NaN or infinite",
    Undecided "TT1204" "the logits do not decide the choice",
    Forbidden "TT1205" "every token is forbidden";
    through
);

coded!(#[cfg(feature = "chat")] chat::Error, Chat:
    Unknown "TT1301" "there is no chat template",
    NoDefault "TT1302" "there are chat templates for special purposes alone",
    Name "TT1303" "no chat template has this name",
    Long "TT1304" "the chat template is too long",
    Syntax "TT1305" "the chat template cannot be read",
    Render "TT1306" "the chat template fails",
    Endless "TT1307" "the chat template does not end",
    Injection "TT1308" "a message would become a control token";
    through Self::Tokenizer(source) => source, Self::Gguf(source) => source, Self::File { source, .. } => source
);

coded!(StateError, State:
    Foreign "TT1401" "the bytes are no session's state",
    Version "TT1402" "the state is of another version",
    Model "TT1403" "the state is of another model",
    Type "TT1404" "the state has keys and values of another type",
    Room "TT1405" "the state has more tokens than there is room for",
    Damaged "TT1406" "the state is damaged",
    Rope "TT1407" "the state has positions of another length of context",
    Memory "TT1408" "there is no memory for a state";
    through
);

coded!(SelectionError, Kernel:
    NotCompiled "TT1501" "the kernel is not compiled in",
    NotHere "TT1502" "the machine does not run the instruction set",
    Forced "TT1503" "the forced kernel cannot be used",
    ForcedIsa "TT1504" "no kernel of the forced instruction set can be used",
    Fault "TT1505" "a kernel failed its self-check",
    None "TT1506" "no kernel serves the matrix";
    through
);

coded!(LinearError, Kernel:
    Shape "TT1511" "input, weights and output do not fit",
    NotFinite "TT1512" "activations are not finite",
    Pack "TT1513" "weights cannot be packed",
    Call "TT1514" "a kernel refused its call";
    through Self::Selection { source, .. } => source, Self::Decode(source) => source, Self::Memory(source) => source
);

coded!(GenerationError, Generation:
    Stop "TT1601" "a stop string is empty";
    through Self::Session(source) => source, Self::Sample(source) => source, Self::Tokenizer(source) => source,
        #[cfg(feature = "chat")] Self::Chat(source) => source
);

/// All codes, in order.
pub fn codes() -> impl Iterator<Item = Code> {
    let io = &[Code { code: IO, area: Area::Io, name: "Io", what: "the system refused" }][..];
    #[cfg(feature = "chat")]
    let chat = chat::Error::CODES;
    #[cfg(not(feature = "chat"))]
    let chat: &[Code] = &[];
    let all = [
        MemoryError::CODES,
        DeviceError::CODES,
        quant::Error::CODES,
        QuantError::CODES,
        TensorError::CODES,
        io,
        gguf::Error::CODES,
        tokenizer::Error::CODES,
        TuneError::CODES,
        LayerError::CODES,
        ConfigError::CODES,
        WeightsError::CODES,
        SessionError::CODES,
        sample::Error::CODES,
        chat,
        StateError::CODES,
        SelectionError::CODES,
        LinearError::CODES,
        GenerationError::CODES,
    ];
    all.into_iter().flatten().copied()
}
