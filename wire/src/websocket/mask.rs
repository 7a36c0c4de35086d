//! Unmasking (RFC 6455, section 5.3): every byte of a client's payload comes xor'ed with one of four key bytes, in turn.

/// Writes `input` unmasked to `out`, which is as long. `key` is the key as of the first byte; the one as of the byte after
/// the last is returned.
///
/// One pass: it reads where the kernel put the bytes and writes where the packets are looked for. In blocks that the
/// compiler turns into vector instructions (some four bytes an instruction), then words, then bytes.
pub fn unmask(key: [u8; 4], input: &[u8], out: &mut [u8]) -> [u8; 4] {
    assert_eq!(input.len(), out.len(), "what comes in goes out");
    let (blocks, rest) = input.as_chunks::<BLOCK>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<BLOCK>();
    let mut wide = [0; BLOCK];
    wide.as_chunks_mut::<4>().0.fill(key);
    for (to, from) in out_blocks.iter_mut().zip(blocks) {
        // By way of a value: the compiler need not ask whether the two overlap.
        let mut block = *from;
        block.iter_mut().zip(&wide).for_each(|(byte, key)| *byte ^= key);
        *to = block;
    }
    let (words, bytes) = rest.as_chunks::<4>();
    let (out_words, out_bytes) = out_rest.as_chunks_mut::<4>();
    let word_key = u32::from_ne_bytes(key);
    for (to, from) in out_words.iter_mut().zip(words) {
        *to = (u32::from_ne_bytes(*from) ^ word_key).to_ne_bytes();
    }
    for ((to, from), key) in out_bytes.iter_mut().zip(bytes).zip(key) {
        *to = from ^ key;
    }
    let mut next = key;
    next.rotate_left(input.len() & 3);
    next
}

/// Bytes at a time: four registers of the least vector unit that x86-64 has.
const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// Every length around a block, in two pieces cut anywhere, gives what a byte at a time gives.
    #[test]
    fn pieces_and_lengths_make_no_difference() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let input: Vec<u8> = (0..200u8).collect();
        for len in [0, 1, 3, 4, 5, 63, 64, 65, 127, 128, 131, 200] {
            let expected: Vec<u8> = (0..len).map(|index| input[index] ^ key[index % 4]).collect();
            for cut in 0..=len {
                let mut out = vec![0; len];
                let (first, second) = out.split_at_mut(cut);
                let next = unmask(key, &input[..cut], first);
                unmask(next, &input[cut..len], second);
                assert_eq!(out, expected, "{len} cut at {cut}");
            }
        }
    }
}
