//! Prints how fast each kernel codes 10+2, beside how fast this machine copies.
//!
//! ```text
//! cargo run --release -p infinicache-erasure --example throughput
//! ```
//!
//! Rates are of data bytes. Stripes are worked on in turn out of 64 MiB, as an
//! object that streams through is; the copy is of the same bytes.

use std::{
    array,
    hint::black_box,
    time::{Duration, Instant},
};

use infinicache_erasure::{Code, Coder, Kernel};

const DATA: usize = 10;
const PARITY: usize = 2;
const OBJECT: usize = 64 << 20;

fn main() {
    let code = Code::new(DATA, PARITY).expect("a valid code");
    let object: Vec<u8> = (0..OBJECT).map(|i| ((i * 31) >> 3) as u8).collect();

    println!(
        "{:8} {:>9}  {:>18}  {:>18}",
        "kernel", "unit", "encode 10+2", "reconstruct 2"
    );
    for unit in [16 << 10, 64 << 10, 128 << 10] {
        let stripes: Vec<[&[u8]; DATA]> = object
            .chunks_exact(unit * DATA)
            .map(|stripe| array::from_fn(|i| &stripe[i * unit..][..unit]))
            .collect();
        let mut stripe = vec![0; unit * DATA];
        let copy = rate(&stripes, |units| {
            for (from, to) in units.iter().zip(stripe.chunks_exact_mut(unit)) {
                to.copy_from_slice(from);
            }
            black_box(&mut stripe);
        });
        println!("{:8} {:5} KiB  {copy:6.1} GB/s", "memcpy", unit >> 10);

        for kernel in Kernel::available() {
            let coder = Coder::with_kernel(code, kernel);
            let mut out = [(); PARITY].map(|()| vec![0; unit]);
            let encode = rate(&stripes, |units| {
                coder.encode(units, &mut out.each_mut().map(|unit| &mut unit[..]));
                black_box(&mut out);
            });
            // The first two data chunks from all that remain; which bytes those
            // hold does not change the work.
            let have: Vec<_> = (PARITY..DATA + PARITY).collect();
            let lost = coder.reconstruction(&have, &[0, 1]).expect("enough chunks");
            let reconstruct = rate(&stripes, |units| {
                lost.run(units, &mut out.each_mut().map(|unit| &mut unit[..]));
                black_box(&mut out);
            });
            println!(
                "{:8} {:5} KiB  {encode:6.1} GB/s {:4.2}x  {reconstruct:6.1} GB/s {:4.2}x",
                kernel.name(),
                unit >> 10,
                encode / copy,
                reconstruct / copy,
            );
        }
    }
}

/// GB/s of data through `work`, the best of several passes over all stripes.
fn rate(stripes: &[[&[u8]; DATA]], mut work: impl FnMut(&[&[u8]])) -> f64 {
    let bytes: usize = stripes.iter().flatten().map(|unit| unit.len()).sum();
    let best = (0..8)
        .map(|_| {
            let start = Instant::now();
            stripes.iter().for_each(|units| work(units));
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::MAX);
    bytes as f64 / best.as_secs_f64() / 1e9
}
