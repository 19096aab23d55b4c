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
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Wakes the threads that have nothing to do, each its own. The one that was busy last is at the end, and is woken
    /// first: more of what it needs is still in the caches of its processor.
    idle: Vec<Arc<Condvar>>,
    closed: bool,
}

struct Owner(Arc<Shared>);

impl ReadPool {
    /// Starts so many threads, one at least.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { jobs: Mutex::default() });
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
        if jobs.closed {
            return;
        }
        jobs.waiting.push_back(job);
        let thread = jobs.idle.pop();
        drop(jobs);
        if let Some(thread) = thread {
            thread.notify_one();
        }
    }

    /// Whether work waits for a thread.
    pub(super) fn is_wanted(&self) -> bool {
        !self.shared.lock().waiting.is_empty()
    }

    fn work(&self) {
        let woken = Arc::new(Condvar::new());
        let mut jobs = self.shared.lock();
        loop {
            if jobs.closed {
                return;
            }
            let Some(job) = jobs.waiting.pop_front() else {
                jobs.idle.push(Arc::clone(&woken));
                let is_idle = |jobs: &mut Jobs| jobs.idle.iter().any(|idle| Arc::ptr_eq(idle, &woken));
                jobs = woken.wait_while(jobs, is_idle).unwrap_or_else(PoisonError::into_inner);
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
        jobs.idle.drain(..).for_each(|thread| thread.notify_one());
    }
}

impl fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// What takes longer never comes.
    const LONG: Duration = Duration::from_secs(60);

    fn wait_until(is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LONG);
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_that_did_something_last_is_woken_first() {
        let pool = ReadPool::new(3).unwrap();
        let (who, did) = mpsc::channel();
        let run = || {
            wait_until(|| pool.shared.lock().idle.len() == 3);
            let who = who.clone();
            pool.run(Box::new(move |_| who.send(thread::current().id()).unwrap()));
            did.recv_timeout(LONG).unwrap()
        };
        let first = run();
        assert!((0..100).all(|_| run() == first));
    }

    #[test]
    fn each_thread_takes_a_job_while_others_are_busy() {
        let pool = ReadPool::new(3).unwrap();
        let (began, beginnings) = mpsc::channel();
        let (ends, end) = (0..3).map(|_| mpsc::channel::<()>()).unzip::<_, _, Vec<_>, Vec<_>>();
        for end in end {
            let began = began.clone();
            pool.run(Box::new(move |_| {
                began.send(()).unwrap();
                end.recv().unwrap_or_default();
            }));
        }
        (0..3).for_each(|_| beginnings.recv_timeout(LONG).unwrap());
        // Work that waited for a thread is done as well, and a fault is no end.
        let (done, jobs) = mpsc::channel();
        for number in 0..10 {
            let done = done.clone();
            pool.run(Box::new(move |_| {
                assert_ne!(number, 3);
                done.send(number).unwrap();
            }));
        }
        assert!(pool.is_wanted());
        drop(ends);
        (0..9).for_each(|_| assert_ne!(jobs.recv_timeout(LONG).unwrap(), 3));
    }

    #[test]
    fn threads_end_with_the_pool() {
        let pool = ReadPool::new(2).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        wait_until(|| shared.strong_count() == 0);
    }
}
