//! Shaping: what an endpoint gets of an event, and how its answers are read.

mod answers;
mod carried;
mod credentials;
mod example;
mod filters;
mod hostile;
mod official;
mod presets;
mod services;
mod styles;
mod templates;
mod urls;
