//! SHA-512's compression function, FIPS 180-4, section 6.4.2, on eight blocks in AVX-512's registers.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::avx512::K;
use super::{Block, LANES, State};

/// Eight blocks, and the states that they are compressed into.
pub struct Eight<'a> {
    /// The processor's instructions.
    pub simd: V4,
    /// Is changed.
    pub state: &'a mut State<LANES>,
    /// A word of each block in a register.
    pub block: &'a Block<LANES>,
}

impl NullaryFnOnce for Eight<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let simd = self.simd.avx512f;
        let add = |one, other| simd._mm512_add_epi64(one, other);
        macro_rules! xor {
            ($one:expr, $two:expr, $three:expr) => {
                simd._mm512_ternarylogic_epi64::<0x96>($one, $two, $three)
            };
        }
        macro_rules! ror {
            ($word:expr, $by:literal) => {
                simd._mm512_ror_epi64::<$by>($word)
            };
        }
        macro_rules! sums {
            ($word:expr, $one:literal $two:literal $three:literal) => {
                xor!(ror!($word, $one), ror!($word, $two), ror!($word, $three))
            };
        }
        macro_rules! shifts {
            ($word:expr, $one:literal $two:literal $three:literal) => {
                xor!(ror!($word, $one), ror!($word, $two), simd._mm512_srli_epi64::<$three>($word))
            };
        }
        macro_rules! schedule {
            ($now:ident $next:ident $ninth:ident $fourteenth:ident) => {
                let before = add($now, shifts!($next, 1 8 7));
                $now = add(before, add($ninth, shifts!($fourteenth, 19 61 6)));
            };
        }
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $w:ident, $k:ident) => {
                let constant = simd._mm512_set1_epi64($k.cast_signed());
                let choice = simd._mm512_ternarylogic_epi64::<0xca>($e, $f, $g);
                let majority = simd._mm512_ternarylogic_epi64::<0xe8>($a, $b, $c);
                let word = add(add($h, add($w, constant)), choice);
                let first = add(word, sums!($e, 14 18 41));
                $d = add($d, first);
                $h = add(first, add(sums!($a, 28 34 39), majority));
            };
        }
        let start: [__m512i; 8] = self.state.map(cast);
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
        let [
            mut w0,
            mut w1,
            mut w2,
            mut w3,
            mut w4,
            mut w5,
            mut w6,
            mut w7,
            mut w8,
            mut w9,
            mut w10,
            mut w11,
            mut w12,
            mut w13,
            mut w14,
            mut w15,
        ] = self.block.map(cast);
        let [scheduled @ .., last] = &K;
        for &[k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15] in scheduled {
            round!(a b c d e f g h, w0, k0);
            schedule!(w0 w1 w9 w14);
            round!(h a b c d e f g, w1, k1);
            schedule!(w1 w2 w10 w15);
            round!(g h a b c d e f, w2, k2);
            schedule!(w2 w3 w11 w0);
            round!(f g h a b c d e, w3, k3);
            schedule!(w3 w4 w12 w1);
            round!(e f g h a b c d, w4, k4);
            schedule!(w4 w5 w13 w2);
            round!(d e f g h a b c, w5, k5);
            schedule!(w5 w6 w14 w3);
            round!(c d e f g h a b, w6, k6);
            schedule!(w6 w7 w15 w4);
            round!(b c d e f g h a, w7, k7);
            schedule!(w7 w8 w0 w5);
            round!(a b c d e f g h, w8, k8);
            schedule!(w8 w9 w1 w6);
            round!(h a b c d e f g, w9, k9);
            schedule!(w9 w10 w2 w7);
            round!(g h a b c d e f, w10, k10);
            schedule!(w10 w11 w3 w8);
            round!(f g h a b c d e, w11, k11);
            schedule!(w11 w12 w4 w9);
            round!(e f g h a b c d, w12, k12);
            schedule!(w12 w13 w5 w10);
            round!(d e f g h a b c, w13, k13);
            schedule!(w13 w14 w6 w11);
            round!(c d e f g h a b, w14, k14);
            schedule!(w14 w15 w7 w12);
            round!(b c d e f g h a, w15, k15);
            schedule!(w15 w0 w8 w13);
        }
        let &[k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15] = last;
        round!(a b c d e f g h, w0, k0);
        round!(h a b c d e f g, w1, k1);
        round!(g h a b c d e f, w2, k2);
        round!(f g h a b c d e, w3, k3);
        round!(e f g h a b c d, w4, k4);
        round!(d e f g h a b c, w5, k5);
        round!(c d e f g h a b, w6, k6);
        round!(b c d e f g h a, w7, k7);
        round!(a b c d e f g h, w8, k8);
        round!(h a b c d e f g, w9, k9);
        round!(g h a b c d e f, w10, k10);
        round!(f g h a b c d e, w11, k11);
        round!(e f g h a b c d, w12, k12);
        round!(d e f g h a b c, w13, k13);
        round!(c d e f g h a b, w14, k14);
        round!(b c d e f g h a, w15, k15);
        let end = [a, b, c, d, e, f, g, h];
        for ((place, start), word) in self.state.iter_mut().zip(start).zip(end) {
            *place = cast(add(start, word));
        }
    }
}
