//! How fast each kernel of this machine codes, beside reed-solomon-erasure and `memcpy`.
//!
//! ```text
//! cargo bench -p infinicache-erasure
//! cargo bench -p infinicache-erasure -- 10+2 64 hot encode
//! ```
//!
//! Rates are GB/s of data bytes on one core: medians of short measurements taken
//! in turn, so that whatever else the machine does disturbs all alike. After each
//! is its ratio to `memcpy` of the same bytes in the same rounds. A *hot* stripe is
//! the same one over and over, as one that has just arrived is in the cache; *cold*
//! stripes are worked on in turn out of more memory than caches hold. Parity and
//! rebuilt units go to memory that was written before.

use std::{
    env,
    hint::black_box,
    iter,
    time::{Duration, Instant},
};

use infinicache_erasure::{Code, Coder, Kernel};
use reed_solomon_erasure::galois_8::ReedSolomon;

const CODES: [&str; 2] = ["10+2", "4+2"];
const UNITS: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 128 << 10, 1 << 20];
const COLD: usize = 128 << 20;

/// Rates that a median is of, and how long each is measured at least.
const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_micros(300);

/// One way of doing something to the stripe of a number. The copy comes first, then the other
/// library, then our kernels.
type Work<'a> = Box<dyn FnMut(usize) + 'a>;

fn main() {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let bytes: Vec<u8> = (0..COLD).map(|i| ((i * 31) >> 3) as u8).collect();
    print!(
        "{:34}{:>14}{:>22}",
        "GB/s of data", "memcpy", "reed-solomon-erasure"
    );
    let kernels = Kernel::available().into_iter();
    println!(
        "{}",
        kernels
            .map(|kernel| format!("{:>14}", kernel.name()))
            .collect::<String>()
    );
    for code in CODES.map(|code| code.parse::<Code>().expect("a valid code")) {
        for unit in UNITS {
            for (heat, bytes) in [("hot", &bytes[..unit * code.data()]), ("cold", &bytes)] {
                let stripes: Vec<Vec<&[u8]>> = bytes
                    .chunks_exact(unit * code.data())
                    .map(|stripe| stripe.chunks_exact(unit).collect())
                    .collect();
                let kib = unit >> 10;
                for (work, lost) in [
                    ("encode", None),
                    ("rebuild 1", Some(1)),
                    ("rebuild 2", Some(2)),
                ] {
                    let line = format!("{:5} {kib:5} KiB  {heat:5}  {work:11}", code.to_string());
                    if !wanted.iter().all(|word| line.contains(&**word)) {
                        continue;
                    }
                    let works = match lost {
                        None => encoders(code, &stripes),
                        Some(lost) => rebuilders(code, &stripes, lost),
                    };
                    println!("{line}{}", rates(works, stripes.len(), unit * code.data()));
                }
            }
        }
    }
}

/// The copy that everything is compared with.
fn memcpy<'a>(stripes: &'a [Vec<&[u8]>]) -> Work<'a> {
    let mut to: Vec<Vec<u8>> = stripes[0].iter().map(|unit| unit.to_vec()).collect();
    let work = move |stripe: usize| {
        for (from, to) in stripes[stripe].iter().zip(&mut to) {
            to.copy_from_slice(from);
        }
        black_box(&mut to);
    };
    Box::new(work)
}

fn encoders<'a>(code: Code, stripes: &'a [Vec<&[u8]>]) -> Vec<Work<'a>> {
    let parity = || vec![stripes[0][0].to_vec(); code.parity()];

    let (library, mut to) = (reed_solomon(code), parity());
    let other: Work<'a> = Box::new(move |stripe| {
        let coded = library.encode_sep(&stripes[stripe], &mut to);
        coded.expect("as many units as the code has");
        black_box(&mut to);
    });
    let ours = Kernel::available().into_iter().map(|kernel| {
        let (coder, mut to) = (Coder::with_kernel(code, kernel), parity());
        let work: Work<'a> = Box::new(move |stripe| {
            coder.encode(&stripes[stripe], &mut slices(&mut to));
            black_box(&mut to);
        });
        work
    });
    [memcpy(stripes), other].into_iter().chain(ours).collect()
}

/// Rebuild the first `lost` data units from all others and as much parity. Which bytes those hold
/// does not change the work, so that data units stand for parity.
fn rebuilders<'a>(code: Code, stripes: &'a [Vec<&[u8]>], lost: usize) -> Vec<Work<'a>> {
    let missing: Vec<usize> = (0..lost).collect();
    let have: Vec<usize> = (lost..code.data() + lost).collect();

    let library = reed_solomon(code);
    // It wants all units in one list, so they are copied, once: its rate is that of hot stripes.
    let mut units: Vec<(Vec<u8>, bool)> = (0..code.width())
        .map(|chunk| (stripes[0][chunk % code.data()].to_vec(), true))
        .collect();
    let other: Work<'a> = Box::new(move |_| {
        units.iter_mut().take(lost).for_each(|unit| unit.1 = false);
        let rebuilt = library.reconstruct_data(&mut units);
        rebuilt.expect("enough units are left");
        black_box(&mut units);
    });
    let ours = Kernel::available().into_iter().map(|kernel| {
        let coder = Coder::with_kernel(code, kernel);
        let reconstruction = coder.reconstruction(&have, &missing);
        let reconstruction = reconstruction.expect("enough units are left");
        let mut to = vec![stripes[0][0].to_vec(); lost];
        let work: Work<'a> = Box::new(move |stripe| {
            reconstruction.run(&stripes[stripe], &mut slices(&mut to));
            black_box(&mut to);
        });
        work
    });
    [memcpy(stripes), other].into_iter().chain(ours).collect()
}

fn reed_solomon(code: Code) -> ReedSolomon {
    ReedSolomon::new(code.data(), code.parity()).expect("codes are within its limits")
}

fn slices(units: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    units.iter_mut().map(Vec::as_mut_slice).collect()
}

/// The medians of `works`, which take turns at `stripes` stripes of `bytes`, as text.
fn rates(mut works: Vec<Work<'_>>, stripes: usize, bytes: usize) -> String {
    let mut rates = vec![Vec::with_capacity(ROUNDS); works.len()];
    let mut at = 0;
    let mut measure = |work: &mut Work<'_>| {
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < ROUND {
            work(at % stripes);
            at += 1;
            done += bytes;
        }
        done as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    // The first round warms up.
    for _ in 0..=ROUNDS {
        for (work, rates) in works.iter_mut().zip(&mut rates) {
            rates.push(measure(work));
        }
    }
    let medians: Vec<f64> = rates
        .iter_mut()
        .map(|rates| median(&mut rates[1..]))
        .collect();
    let widths = [14, 22].into_iter().chain(iter::repeat(14));
    let rate = |(rate, width): (f64, usize)| {
        let ratio = format!("{rate:.1} {:5.2}x", rate / medians[0]);
        format!("{ratio:>width$}")
    };
    medians.iter().copied().zip(widths).map(rate).collect()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
