//! Lets the simulated worlds' source of random bytes be found by those who look for it by name while
//! the program runs (`src/sim/interposed.rs`).

fn main() {
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=getrandom");
    println!("cargo::rerun-if-changed=build.rs");
}
