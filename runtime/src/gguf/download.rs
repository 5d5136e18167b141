//! Signs of a download that is not finished.

use std::path::{Path, PathBuf};

use super::{Error, File, Kind, Tensor};

/// Endings that browsers and download tools give to a file until it is whole.
const UNFINISHED: [&str; 10] = [
    ".part",
    ".partial",
    "-partial",
    ".crdownload",
    ".download",
    ".opdownload",
    ".incomplete",
    ".aria2__temp",
    ".!ut",
    ".!qB",
];

/// Bytes of zeros that no chance makes.
const ROOM: usize = 4096;

/// What helps against a file that lacks bytes.
pub(super) fn remedy(path: &Path) -> &'static str {
    sign(path).unwrap_or("wait for the download to end, or download it again")
}

/// What a file's name says about missing bytes, and what then helps.
pub(super) fn sign(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy();
    if UNFINISHED.iter().any(|ending| name.ends_with(ending)) {
        Some("its name says that it is still being downloaded: wait until it is whole, and name what comes of it")
    } else if is_piece(&name) {
        Some("its name says that it is a piece of a larger file: join the pieces in order (`cat PIECES > WHOLE.gguf`)")
    } else {
        None
    }
}

/// Whether a name is one that pieces have which `cat` joins: `m.gguf.part1of3`, `m.gguf-split-a`, `m.gguf.001`.
fn is_piece(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let letters = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase());
    let of = |text: &str| text.split_once("of").is_some_and(|(number, count)| digits(number) && digits(count));
    name.rsplit_once(".part").is_some_and(|(_, rest)| of(rest))
        || name.rsplit_once(".gguf-split-").is_some_and(|(_, rest)| letters(rest) || digits(rest))
        || name.rsplit_once(".gguf.").is_some_and(|(_, rest)| digits(rest))
}

/// The file that aria2 keeps beside a download until it is done, where there is one.
pub(super) fn control_file(path: &Path) -> Option<PathBuf> {
    let mut control = path.as_os_str().to_owned();
    control.push(".aria2");
    let control = PathBuf::from(control);
    control.is_file().then_some(control)
}

impl File {
    /// Looks for room that was made for bytes which never came: some tools give a file its full length before they
    /// have downloaded it, and what is missing reads as zeros. Some pages of the file are read, no more.
    ///
    /// Found is what cannot be meant: a ternary tensor that ends in 4096 zero bytes (they say −1 sixteen thousand
    /// times), or a file whose last weights are zeros from end to end. Zeros within a tensor of floats may be meant.
    ///
    /// # Errors
    /// Names the first such tensor.
    pub fn check_filled(&self) -> Result<(), Error> {
        let refuse =
            |tensor: &Tensor| Error::Unfilled { path: self.path_of(tensor).into(), tensor: tensor.name.clone() };
        // TL2 reserves more than it fills.
        let full = |tensor: &&Tensor| tensor.kind.is_ternary() && tensor.kind != Kind::TL2;
        // All at once: one after the other, a disk is slow to find them.
        for tensor in self.tensors().iter().filter(full) {
            let data = self.data(tensor);
            data.slice(data.len().saturating_sub(ROOM)..data.len()).prefetch();
        }
        for tensor in self.tensors().iter().filter(full) {
            if self.data(tensor).last_chunk() == Some(&[0; ROOM]) {
                return Err(refuse(tensor));
            }
        }
        for part in 0..self.parts().len() {
            let of_part = self.tensors().iter().filter(|tensor| tensor.part == part);
            if let Some(last) = of_part.max_by_key(|tensor| tensor.offset)
                && last.name.ends_with(".weight")
                && last.bytes >= ROOM as u64
                && self.data(last).iter().all(|&byte| byte == 0)
            {
                return Err(refuse(last));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Writer};
    use super::*;

    #[test]
    fn names_tell_what_helps() {
        let starts = |name: &str, with: &str| assert!(remedy(Path::new(name)).starts_with(with), "{name}");
        for name in ["m.gguf.part", "m.gguf.crdownload", "a/0f3e.incomplete", "sha256-0f3e-partial"] {
            starts(name, "its name says that it is still");
        }
        for name in ["m.gguf.part1of3", "m.Q4.gguf.part12of20", "m.gguf-split-a", "m.gguf-split-ab", "m.gguf.001"] {
            starts(name, "its name says that it is a piece");
        }
        for name in ["m.gguf", "model.part.gguf", "part", "m.gguf.partner", "m-00001-of-00002.gguf", ""] {
            starts(name, "wait for the download");
        }
    }

    /// What is said of a file with these tensors, each a name, a type, elements, and bytes that are the same.
    fn refusal(tensors: &[(&str, Kind, u64, u8)]) -> Option<String> {
        let mut header = Header::new();
        for (name, kind, elements, _) in tensors {
            header.tensor(*name, &[*elements], *kind).unwrap();
        }
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for (name, kind, elements, byte) in tensors {
            let bytes = kind.bytes(&[*elements]).unwrap().unwrap();
            writer.write_tensor(name, &vec![*byte; bytes as usize]).unwrap();
        }
        let file = File::from_bytes("m.gguf", writer.finish().unwrap()).unwrap();
        file.check_filled().err().map(|error| error.to_string())
    }

    #[test]
    fn room_that_was_never_filled_is_found() {
        let says = |tensors: &[_], name| assert!(refusal(tensors).is_some_and(|line| line.contains(name)), "{name}");
        says(&[("a.weight", Kind::I2_S, 1 << 15, 0), ("b.weight", Kind::F32, 8, 1)], "`a.weight`");
        says(&[("a.weight", Kind::TQ2_0, 1 << 15, 0), ("b.weight", Kind::F32, 8, 1)], "`a.weight`");
        says(&[("a.weight", Kind::F32, 8, 1), ("b.weight", Kind::F16, 2048, 0)], "`b.weight`");
    }

    #[test]
    fn zeros_that_may_be_meant_are_let_be() {
        assert_eq!(refusal(&[("a.weight", Kind::F32, 4096, 0), ("b.weight", Kind::F32, 8, 1)]), None);
        assert_eq!(refusal(&[("a.weight", Kind::F32, 8, 1), ("b.bias", Kind::F32, 4096, 0)]), None);
        assert_eq!(refusal(&[("a.weight", Kind::F32, 1023, 0)]), None);
        assert_eq!(refusal(&[("a.weight", Kind::TL2, 1 << 17, 0), ("b.weight", Kind::F32, 8, 1)]), None);
        // A trit of 0 is the code 1.
        assert_eq!(refusal(&[("a.weight", Kind::I2_S, 1 << 15, 0x55)]), None);
        assert_eq!(refusal(&[]), None);
    }
}
