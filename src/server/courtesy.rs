//! Lets other threads go first, as far as that costs little.

use std::cell::RefCell;
use std::time::Instant;

use super::budget::Budget;

thread_local! {
    /// Of each thread that writes to clients.
    static COURTESY: RefCell<Budget> = RefCell::new(Budget::new(Instant::now()));
}

/// Gives way after a large write: to clients on the same machine above all, who would otherwise not begin to read
/// before everything is written to everybody. Where the processors are busy with something else, that takes long, and is done
/// seldom: what is due has to be written.
pub(super) fn give_way() {
    COURTESY.with_borrow_mut(|budget| budget.spend_on(std::thread::yield_now));
}
