//! Templates of hostile authors: what they may cost, and what holds for any of them.

mod hostile;
mod properties;
