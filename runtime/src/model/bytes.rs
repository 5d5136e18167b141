//! How many bytes a model holds, and how many of them a token reads: generation is no faster than memory gives those.

use std::ops::Range;

use crate::linear::Linear;
use crate::model::Model;
use crate::model::embedding::Embedding;
use crate::model::head::{Head, HeadUse};
use crate::model::kv::KvType;
use crate::model::weights::{FeedForward, Gated, Layer, Projection, Reach, Weights};

/// Bytes of weights, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelBytes {
    /// Ternary matrices of the layers, as they are packed, with their scales.
    pub ternary: u64,
    /// Matrices of the layers in float types.
    pub float: u64,
    /// The head and its copy, or what a token reads first: the copy where there is one; 0 in a model of embeddings.
    pub head: u64,
    /// The table of embeddings, where it is not the head's own memory.
    pub embedding: u64,
    /// Norms, biases and factors.
    pub vectors: u64,
}

impl ModelBytes {
    /// All of them.
    pub fn total(&self) -> u64 {
        let ModelBytes { ternary, float, head, embedding, vectors } = self;
        ternary + float + head + embedding + vectors
    }

    fn add(&mut self, linear: &Linear) {
        match linear {
            Linear::Ternary(_) => self.ternary += linear.bytes() as u64,
            Linear::Float(_) => self.float += linear.bytes() as u64,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// What is in memory, files that are mapped included.
    Model,
    /// What one token of a generation reads.
    Token,
}

impl Weights {
    /// What all weights take, those that are read from the mapped file included.
    pub fn bytes(&self) -> ModelBytes {
        self.count(Of::Model)
    }

    /// What one token of a generation reads: of a mixture the experts that it uses, of the embeddings its own.
    pub fn token_bytes(&self) -> ModelBytes {
        self.count(Of::Token)
    }

    /// What was read of the head in a session: of its copy, of the rows that this left, and of all of them.
    pub fn head_bytes(&self, used: &HeadUse) -> u64 {
        let Some(head) = &self.head else { return 0 };
        let (exact, copy) = stages(head);
        let row = exact / (head.projection.linear.n() as u64).max(1);
        used.full * exact + (used.shortlists + used.undecided) * copy.unwrap_or(0) + used.rows * row
    }

    fn count(&self, of: Of) -> ModelBytes {
        let mut bytes = ModelBytes { vectors: vector(&self.output_norm), ..ModelBytes::default() };
        for layer in &self.layers {
            count_layer(layer, of, &mut bytes);
        }
        if let Some(head) = &self.head {
            let (exact, copy) = stages(head);
            bytes.head = match of {
                Of::Model => exact + copy.unwrap_or(0),
                Of::Token => copy.unwrap_or(exact),
            };
            bytes.vectors += vectors(&head.projection);
        }
        bytes.embedding = match (of, &self.embedding, self.head.as_ref().map(|head| &head.projection.linear)) {
            (Of::Token, embedding, _) => embedding.row_bytes() as u64,
            (Of::Model, Embedding::Float { data, .. }, Some(Linear::Float(head))) if head.is_over(data) => 0,
            (Of::Model, embedding, _) => embedding.bytes() as u64,
        };
        bytes
    }
}

/// Bytes of a head, and of its copy where it has one.
fn stages(Head { projection, coarse }: &Head) -> (u64, Option<u64>) {
    (projection.linear.bytes() as u64, coarse.as_ref().map(|coarse| coarse.bytes() as u64))
}

fn count_layer(layer: &Layer, of: Of, bytes: &mut ModelBytes) {
    let norms = [&layer.attn_norm, &layer.ffn_norm];
    let more = [&layer.q_norm, &layer.k_norm, &layer.attn_post_norm, &layer.ffn_post_norm];
    bytes.vectors += norms.into_iter().chain(more.into_iter().flatten()).map(|norm| vector(norm)).sum::<u64>();
    let mut add = |projection: &Projection| {
        bytes.add(&projection.linear);
        bytes.vectors += vectors(projection);
    };
    [&layer.q, &layer.k, &layer.v, &layer.output].into_iter().for_each(&mut add);
    let mut add_gated = |Gated { gate, up, down }: &Gated| [gate, up, down].into_iter().for_each(&mut add);
    match &layer.feed_forward {
        FeedForward::Dense(gated) => add_gated(gated),
        FeedForward::Mixture { router, experts, used } => {
            // All experts have one shape: any of them stand for those that a token uses.
            let counted = if of == Of::Token { *used } else { experts.len() };
            experts.iter().take(counted).for_each(add_gated);
            add(router);
        }
    }
}

fn vector(vector: &[f32]) -> u64 {
    size_of_val(vector) as u64
}

fn vectors(Projection { norm, bias, scale, linear: _ }: &Projection) -> u64 {
    let vectors = [norm, bias].into_iter().flatten().map(|of| vector(of)).sum::<u64>();
    vectors + scale.map_or(0, |scale| size_of_val(&scale) as u64)
}

impl Model {
    /// Bytes of keys and values that are read while the tokens at `positions` are generated one by one: of each layer all
    /// that its reach lets a token see, its own included.
    pub fn kv_bytes(&self, kv: KvType, positions: Range<usize>) -> u64 {
        let shape = self.config().kv_shape();
        let row = (kv.row_bytes(shape.key_length) + kv.row_bytes(shape.value_length)) as u64 * shape.heads as u64;
        let seen = |layer: &Layer, position: usize| match layer.reach {
            Reach::Whole => position + 1,
            Reach::Window(tokens) => tokens.min(position + 1),
        };
        let rows = |layer: &Layer| positions.clone().map(|position| seen(layer, position) as u64).sum::<u64>();
        self.weights().layers.iter().map(|layer| rows(layer) * row).sum()
    }
}
