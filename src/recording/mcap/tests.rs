//! Whole files, opened and played.

mod damage;
mod hostile;
mod index;
mod lookback;
mod order;
