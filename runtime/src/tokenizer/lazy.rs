//! A file's tokenizer, made when it is needed, or by a thread of its own meanwhile.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Error, Tokenizer};
use crate::gguf::File;

/// A file's tokenizer. Clones share it.
///
/// Large vocabularies take some tenths of a second, as long as loading packed weights does.
#[derive(Clone, Debug)]
pub struct LazyTokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    made: OnceLock<Tokenizer>,
    thread: Mutex<Option<JoinHandle<Result<Tokenizer, Error>>>>,
}

impl LazyTokenizer {
    /// One that is made when it is first asked for.
    pub fn new(file: &File) -> Self {
        LazyTokenizer::with(file, None)
    }

    /// One that a new thread begins to make now; where the system gives none, as [`LazyTokenizer::new`].
    pub fn spawn(file: &File) -> Self {
        let make = {
            let file = file.clone();
            move || Tokenizer::from_gguf(&file)
        };
        LazyTokenizer::with(file, thread::Builder::new().name("tokenizer".into()).spawn(make).ok())
    }

    fn with(file: &File, thread: Option<JoinHandle<Result<Tokenizer, Error>>>) -> Self {
        LazyTokenizer(Arc::new(Inner { file: file.clone(), made: OnceLock::new(), thread: Mutex::new(thread) }))
    }

    /// The tokenizer, as soon as there is one. Of several who ask at once, one makes it.
    ///
    /// # Errors
    /// A vocabulary that is missing or not understood.
    pub fn get(&self) -> Result<&Tokenizer, Error> {
        let Inner { file, made, thread } = &*self.0;
        if let Some(tokenizer) = made.get() {
            return Ok(tokenizer);
        }
        let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokenizer) = made.get() {
            return Ok(tokenizer);
        }
        let result = match thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // There is no thread, or it has ended without a result.
            None | Some(Err(_)) => Tokenizer::from_gguf(file),
        };
        let tokenizer = result?;
        Ok(made.get_or_init(|| tokenizer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &[u8] = include_bytes!("../../demo/austen-5m-i2_s.gguf");

    #[test]
    fn it_is_made_once_here_or_on_a_thread() {
        let file = File::from_static("demo", DEMO).unwrap();
        for lazy in [LazyTokenizer::new(&file), LazyTokenizer::spawn(&file)] {
            let other = lazy.clone();
            let places = thread::scope(|scope| {
                let asked = [&lazy, &other].map(|lazy| scope.spawn(|| std::ptr::from_ref(lazy.get().unwrap()).addr()));
                asked.map(|thread| thread.join().unwrap())
            });
            assert_eq!(places[0], places[1]);
            assert_eq!(places[0], std::ptr::from_ref(lazy.get().unwrap()).addr());
        }
    }

    #[test]
    fn what_is_wrong_is_told_each_time() {
        let header = crate::gguf::Header::new();
        let bytes = crate::gguf::Writer::new(Vec::new(), header).unwrap().finish().unwrap();
        let file = File::from_bytes("empty", bytes).unwrap();
        for lazy in [LazyTokenizer::new(&file), LazyTokenizer::spawn(&file)] {
            let texts = [(); 2].map(|()| lazy.get().unwrap_err().to_string());
            assert_eq!(texts[0], texts[1]);
        }
    }
}
