//! Memory that is given back to the kernel when something large is done with.

/// Gives back to the kernel what is free: parsing the kernel's types, or answering a question of history, takes tens of
/// megabytes for a moment.
pub fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function has no preconditions, and may be called from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has all threads share the free memory of few arenas: with one for each, what a thread of a moment took stays taken.
pub fn share() {
    /// The engine's and one for all others.
    #[cfg(target_env = "gnu")]
    const ARENAS: libc::c_int = 2;
    #[cfg(target_env = "gnu")]
    // SAFETY: it only sets a number that the allocator looks at when a thread asks for memory first (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
