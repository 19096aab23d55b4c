//! How many connections and files the system lets this process have open.

/// Takes as many as the system gives at the most. What it gives at first, 1024 on many, is there for old programs;
/// a server needs one for each viewer.
#[cfg(unix)]
pub(super) fn take_all() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("no more files may be open at the same time than at first: {error}");
    }
}

#[cfg(not(unix))]
pub(super) fn take_all() {}
