//! Whole files, opened and played.

mod attachments;
mod damage;
mod hostile;
mod index;
mod inspect;
mod lookback;
mod order;
mod sharing;
