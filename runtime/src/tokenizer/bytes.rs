//! GPT-2's byte alphabet: a printable character for each byte, in which byte-level vocabularies are written.

/// The character of each byte: printable Latin-1 is itself, the other 68 bytes follow from U+0100 on
/// (`bytes_to_unicode` of github.com/openai/gpt-2).
const CHARACTERS: [char; 256] = {
    let mut characters = ['\0'; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let printable = matches!(byte as u8, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte as u32 } else { next };
        if !printable {
            next += 1;
        }
        if let Some(character) = char::from_u32(code) {
            characters[byte] = character;
        }
        byte += 1;
    }
    characters
};

/// The byte of each character up to the last one used.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARACTERS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// The character that stands for `byte`.
pub(super) fn character(byte: u8) -> char {
    CHARACTERS[byte as usize]
}

/// The byte that `character` stands for, if it is one of the alphabet's.
pub(super) fn byte(character: char) -> Option<u8> {
    BYTES.get(character as usize).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt_2s() {
        assert_eq!([b' ', b'\n', b'A', 0x7F, 0xAD, 0xFF].map(character), ['Ġ', 'Ċ', 'A', 'ġ', 'Ń', 'ÿ']);
        assert!((0..=255).all(|value| byte(character(value)) == Some(value)));
        assert_eq!((0..=0x10FFFF).filter_map(char::from_u32).filter_map(byte).count(), 256);
    }
}
