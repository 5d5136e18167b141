//! Floats that begin on a cache line: vectors that lie across two lines take two loads.

/// Floats of a cache line.
const LINE: usize = 16;

/// A buffer that grows to what the largest matrix needs, then stays.
#[derive(Debug, Default)]
pub(super) struct Aligned(Vec<f32>);

impl Aligned {
    /// The first so many floats; what they hold is unspecified where more than ever before are asked for.
    pub(super) fn grown(&mut self, floats: usize) -> &mut [f32] {
        if self.0.len() < floats + LINE {
            self.0.resize(floats + LINE, 0.0);
        }
        let start = self.start();
        &mut self.0[start..start + floats]
    }

    /// As many floats as were asked for at least once, or none.
    pub(super) fn get(&self, floats: usize) -> &[f32] {
        let start = self.start().min(self.0.len());
        &self.0[start..start + floats]
    }

    /// Floats before the first that begins a line. The allocator gives no part of a float.
    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_from_the_start_of_a_line() {
        let mut buffer = Aligned::default();
        assert!(buffer.get(0).is_empty());
        for floats in [0, 1, 15, 16, 17, 1000, 3] {
            buffer.grown(floats).fill(floats as f32);
            assert!(buffer.get(floats).iter().all(|&x| x == floats as f32));
            assert_eq!(buffer.get(floats).as_ptr() as usize % 64, 0);
        }
    }
}
