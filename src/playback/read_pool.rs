//! The threads that read recordings.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A piece of work for the threads of a [`ReadPool`]. It may ask the pool whether others wait, and then put off its rest.
pub(super) type Job = Box<dyn FnOnce(&ReadPool) + Send>;

/// A few threads that read for many timelines in turn. Cheap to clone; the threads end with the last clone
/// outside of them.
#[derive(Clone)]
pub struct ReadPool {
    shared: Arc<Shared>,
    /// Ends the threads when the last one outside of them is gone. The threads have none.
    _owner: Option<Arc<Owner>>,
}

struct Shared {
    jobs: Mutex<Jobs>,
    ready: Condvar,
}

struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

struct Owner(Arc<Shared>);

impl ReadPool {
    /// Starts so many threads, one at least.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let jobs = Jobs { waiting: VecDeque::new(), closed: false };
        let shared = Arc::new(Shared { jobs: Mutex::new(jobs), ready: Condvar::new() });
        // Made first, so that threads that were started end where another one can't be.
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        for _ in 0..threads.max(1) {
            let pool = ReadPool { shared: Arc::clone(&shared), _owner: None };
            std::thread::Builder::new().name("fgplay-reader".into()).spawn(move || pool.work())?;
        }
        Ok(ReadPool { shared, _owner: Some(owner) })
    }

    /// Lets a thread do it when there is one free. After the end of the pool nothing is done any more.
    pub(super) fn run(&self, job: Job) {
        let mut jobs = self.shared.lock();
        if !jobs.closed {
            jobs.waiting.push_back(job);
        }
        drop(jobs);
        self.shared.ready.notify_one();
    }

    /// Whether work waits for a thread.
    pub(super) fn is_wanted(&self) -> bool {
        !self.shared.lock().waiting.is_empty()
    }

    fn work(&self) {
        let mut jobs = self.shared.lock();
        loop {
            if jobs.closed {
                return;
            }
            let Some(job) = jobs.waiting.pop_front() else {
                jobs = self.shared.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(jobs);
            // A fault in one job, which was printed, is no reason not to read for others.
            catch_unwind(AssertUnwindSafe(|| job(self))).unwrap_or_default();
            jobs = self.shared.lock();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Jobs run without the lock, so that no panic leaves it in between.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Owner {
    /// Threads that are stuck in a read are not waited for.
    fn drop(&mut self) {
        let mut jobs = self.0.lock();
        jobs.closed = true;
        jobs.waiting.clear();
        drop(jobs);
        self.0.ready.notify_all();
    }
}

impl fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPool").finish_non_exhaustive()
    }
}
