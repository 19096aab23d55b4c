//! The threads that read recordings.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A piece of work for the threads of a [`ReadPool`]. It may ask the pool whether others wait, and then put off its rest.
pub(super) type Job = Box<dyn FnOnce(&ReadPool) + Send>;

/// How much nicer than the others the threads that read are: they get a tenth of a processor that others want, too.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

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
        give_way();
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

/// Lets this thread give way to those that are waited for: what it reads is needed later, while a message that is due has
/// to be written now, and its reader may be on this machine as well. Where nobody else wants the processor it is as fast.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        // Of the calling thread, on Linux.
        let given =
            getpriority_process(None).and_then(|nice| setpriority_process(None, (nice + NICE).min(19)));
        if let Err(error) = given {
            tracing::debug!("the threads that read keep their priority: {error}");
        }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn who_reads_is_nicer_than_who_asks_for_it() {
        let own = getpriority_process(None).unwrap();
        let pool = ReadPool::new(1).unwrap();
        let (sender, told) = mpsc::channel();
        pool.run(Box::new(move |_| sender.send(getpriority_process(None).unwrap()).unwrap()));
        assert_eq!(told.recv().unwrap(), (own + NICE).min(19));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }
}
