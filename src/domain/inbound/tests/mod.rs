//! Calls of each provider, as it makes them.

mod definitions;
mod handshakes;
mod hostile;
mod presets;
mod support;
mod vectors;
mod vectors_more;
