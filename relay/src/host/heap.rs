//! How much freed memory the process keeps for itself.

/// Freed memory up to this much, in each of the heaps that glibc makes for threads, stays with the process. Bytes of TCP
/// sessions and files go from thread to thread in pieces of up to 1 MiB; without this each piece is new pages from the kernel, which cost
/// 7% of all processor time with one stream at 3 Gbit/s. Four times what may wait for a lane.
const KEPT_BYTES: libc::c_int = 16 << 20;
/// Larger pieces than this are given back at once, as always: none of the hot path is.
const MAPPED_BYTES: libc::c_int = 4 << 20;

/// Has the process keep memory that is in use again a moment later. Before any thread is started; where the C library
/// is another one, nothing happens.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, bytes) in [(libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_MMAP_THRESHOLD, MAPPED_BYTES)] {
        // SAFETY: takes two numbers by value and changes parameters of the allocator under its own lock (mallopt(3)).
        let taken = unsafe { libc::mallopt(parameter, bytes) };
        debug_assert_eq!(taken, 1, "a parameter and a value that mallopt(3) knows");
    }
}
