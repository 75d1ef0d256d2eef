//! Calls of each provider, as it makes them.

mod support;
mod vectors;
