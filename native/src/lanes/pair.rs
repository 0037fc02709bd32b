//! SHA-512's compression function, FIPS 180-4, section 6.4.2, on two blocks.
//!
//! Both take little more time than one by itself. A register has two words of the message
//! schedule, each of both blocks, so that it takes half as many instructions; the rounds take one
//! half after the other.

use std::arch::x86_64::{__m128i, __m256i};

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::avx512::K;
use super::{Block, State};

/// The round constants as the words stand in their registers.
static CONSTANTS: [[[u64; 4]; 8]; 5] = doubled();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "of constants")]
const fn doubled() -> [[[u64; 4]; 8]; 5] {
    let mut constants = [[[0; 4]; 8]; 5];
    let mut place = 0;
    while place < 40 {
        let [one, other] = [K[place / 8][place % 8 * 2], K[place / 8][place % 8 * 2 + 1]];
        constants[place / 8][place % 8] = [one, one, other, other];
        place += 1;
    }
    constants
}

/// Two blocks, and the states that they are compressed into.
pub struct Pair<'a> {
    /// The processor's instructions.
    pub simd: V4,
    /// Is changed.
    pub state: &'a mut State<2>,
    /// Two words of both blocks go into a register.
    pub block: &'a Block<2>,
}

impl NullaryFnOnce for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let simd = self.simd.avx512f;
        let (avx, avx2) = (self.simd.avx, self.simd.avx2);
        let add = |one, other| self.simd.sse2._mm_add_epi64(one, other);
        let add_words = |one, other| avx2._mm256_add_epi64(one, other);
        macro_rules! sums {
            ($word:expr, $one:literal $two:literal $three:literal) => {
                simd._mm_ternarylogic_epi64::<0x96>(
                    simd._mm_ror_epi64::<$one>($word),
                    simd._mm_ror_epi64::<$two>($word),
                    simd._mm_ror_epi64::<$three>($word),
                )
            };
        }
        macro_rules! shifts {
            ($words:expr, $one:literal $two:literal $three:literal) => {
                simd._mm256_ternarylogic_epi64::<0x96>(
                    simd._mm256_ror_epi64::<$one>($words),
                    simd._mm256_ror_epi64::<$two>($words),
                    avx2._mm256_srli_epi64::<$three>($words),
                )
            };
        }
        // The words of a register and of the one after it, from the second on.
        macro_rules! from_second {
            ($words:ident $next:ident) => {
                simd._mm256_alignr_epi64::<2>($next, $words)
            };
        }
        macro_rules! schedule {
            ($now:ident $next:ident $eighth:ident $tenth:ident $fourteenth:ident) => {
                let before = add_words($now, from_second!($eighth $tenth));
                let before = add_words(before, shifts!(from_second!($now $next), 1 8 7));
                $now = add_words(before, shifts!($fourteenth, 19 61 6));
            };
        }
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:expr) => {
                let choice = simd._mm_ternarylogic_epi64::<0xca>($e, $f, $g);
                let majority = simd._mm_ternarylogic_epi64::<0xe8>($a, $b, $c);
                let sums = sums!($e, 14 18 41);
                // What is known last is added last, twice: it takes less time than to wait for it.
                $d = add(add(add(add($d, $h), $word), choice), sums);
                $h = add(add(add(add($h, $word), majority), choice), sums);
                $h = add($h, sums!($a, 28 34 39));
            };
        }
        macro_rules! two_rounds {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $words:ident, $constants:ident) => {
                let words = add_words($words, cast($constants));
                let (word, next) =
                    (avx._mm256_castsi256_si128(words), avx2._mm256_extracti128_si256::<1>(words));
                round!($a $b $c $d $e $f $g $h, word);
                round!($h $a $b $c $d $e $f $g, next);
            };
        }
        let start: [__m128i; 8] = self.state.map(cast);
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
        let words: [[[u64; 2]; 2]; 8] = cast(*self.block);
        let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7]: [__m256i; 8] =
            words.map(cast);
        let [scheduled @ .., last] = &CONSTANTS;
        for &[k0, k1, k2, k3, k4, k5, k6, k7] in scheduled {
            two_rounds!(a b c d e f g h, w0, k0);
            schedule!(w0 w1 w4 w5 w7);
            two_rounds!(g h a b c d e f, w1, k1);
            schedule!(w1 w2 w5 w6 w0);
            two_rounds!(e f g h a b c d, w2, k2);
            schedule!(w2 w3 w6 w7 w1);
            two_rounds!(c d e f g h a b, w3, k3);
            schedule!(w3 w4 w7 w0 w2);
            two_rounds!(a b c d e f g h, w4, k4);
            schedule!(w4 w5 w0 w1 w3);
            two_rounds!(g h a b c d e f, w5, k5);
            schedule!(w5 w6 w1 w2 w4);
            two_rounds!(e f g h a b c d, w6, k6);
            schedule!(w6 w7 w2 w3 w5);
            two_rounds!(c d e f g h a b, w7, k7);
            schedule!(w7 w0 w3 w4 w6);
        }
        let &[k0, k1, k2, k3, k4, k5, k6, k7] = last;
        two_rounds!(a b c d e f g h, w0, k0);
        two_rounds!(g h a b c d e f, w1, k1);
        two_rounds!(e f g h a b c d, w2, k2);
        two_rounds!(c d e f g h a b, w3, k3);
        two_rounds!(a b c d e f g h, w4, k4);
        two_rounds!(g h a b c d e f, w5, k5);
        two_rounds!(e f g h a b c d, w6, k6);
        two_rounds!(c d e f g h a b, w7, k7);
        let end = [a, b, c, d, e, f, g, h];
        for ((place, start), word) in self.state.iter_mut().zip(start).zip(end) {
            *place = cast(add(start, word));
        }
    }
}
