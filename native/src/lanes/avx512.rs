//! SHA-512's compression function, FIPS 180-4, section 6.4.2, on eight blocks in AVX-512's registers.
//!
//! No secret decides over a branch or an address. `pulp` finds out whether the processor has the
//! instructions, and has them used nowhere else, without `unsafe` here.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::{Block, State};

/// The round constants.
#[rustfmt::skip]
const K: [[u64; 16]; 5] = [
    [0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694],
    [0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65, 0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70],
    [0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b, 0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8],
    [0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec, 0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b],
    [0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817],
];

/// A processor that has AVX-512.
#[derive(Clone, Copy)]
pub struct Lanes(V4);

impl Lanes {
    /// `None` where the processor has no such instructions.
    pub fn found() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// The eight states after one more block each.
    pub fn compress(self, state: &State, block: &Block) -> State {
        self.0.vectorize(Compression { simd: self.0, state, block })
    }
}

struct Compression<'a> {
    simd: V4,
    state: &'a State,
    block: &'a Block,
}

impl NullaryFnOnce for Compression<'_> {
    type Output = State;

    #[inline(always)]
    fn call(self) -> State {
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
        for (number, &[k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15]) in
            K.iter().enumerate()
        {
            if number > 0 {
                schedule!(w0 w1 w9 w14);
                schedule!(w1 w2 w10 w15);
                schedule!(w2 w3 w11 w0);
                schedule!(w3 w4 w12 w1);
                schedule!(w4 w5 w13 w2);
                schedule!(w5 w6 w14 w3);
                schedule!(w6 w7 w15 w4);
                schedule!(w7 w8 w0 w5);
                schedule!(w8 w9 w1 w6);
                schedule!(w9 w10 w2 w7);
                schedule!(w10 w11 w3 w8);
                schedule!(w11 w12 w4 w9);
                schedule!(w12 w13 w5 w10);
                schedule!(w13 w14 w6 w11);
                schedule!(w14 w15 w7 w12);
                schedule!(w15 w0 w8 w13);
            }
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
        }
        let end = [a, b, c, d, e, f, g, h];
        let mut sums = start;
        for (sum, word) in sums.iter_mut().zip(end) {
            *sum = add(*sum, word);
        }
        sums.map(cast)
    }
}
