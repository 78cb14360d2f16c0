//! What figures are made of, and the host they were measured on.

/// The middle one, or of two the upper.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The least.
pub(crate) fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The kernel's name, release and architecture.
pub(crate) fn kernel() -> String {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine()))
}

/// How many processors there are for this process.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Whether `BENCH_ONLY`, where it is given, names the figure.
pub(crate) fn wanted(id: &str) -> bool {
    std::env::var("BENCH_ONLY").map_or(true, |ids| ids.split(',').any(|one| one == id))
}
