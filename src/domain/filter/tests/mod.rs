//! Tables that are written from the reference and not from the code, and laws on arbitrary events.

mod cases;
mod first_failed;
mod laws;
mod refusals;
