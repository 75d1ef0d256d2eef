//! What an endpoint gets of an event, and how its answers are read, where that is not the default.
//!
//! `definition` reads the keys of a definition; `super::render` makes a request of an event by them.

mod checked;
mod consent;
mod cut;
mod definition;
mod escape;
mod expiry;
mod format;
mod pace;
mod preset;
mod problem;
mod root;
mod shown;

pub use checked::{EARLIER_KEYS, Given, Shaping};
pub use consent::Consents;
pub use cut::cut;
pub use definition::{Around, KEYS, is_json, read};
pub use expiry::{expire, next_expiry};
pub use format::{Format, Verb};
pub use pace::Pace;
pub use preset::{NAMES as PRESETS, Preset};
pub use problem::{BadShaping, Problem};
pub use root::Root;
