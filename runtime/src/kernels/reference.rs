//! The plain truth that every kernel must equal.

/// Σ activation · trit for each block of `block` columns, from one row of codes (trit + 1) and one token's activations.
pub fn products<'a>(codes: &'a [u8], activations: &'a [i8], block: usize) -> impl Iterator<Item = i32> + 'a {
    codes.chunks(block).zip(activations.chunks(block)).map(|(codes, activations)| {
        codes.iter().zip(activations).map(|(&code, &x)| (i32::from(code) - 1) * i32::from(x)).sum()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn by_hand() {
        let products = |block| super::products(&[0, 1, 2, 2], &[-128, 5, 127, 1], block).collect::<Vec<_>>();
        assert_eq!(products(4), [128 + 127 + 1]);
        assert_eq!(products(2), [128, 128]);
    }
}
