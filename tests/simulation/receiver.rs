//! Receivers that behave and misbehave.

use std::time::Duration;

use outboxd::domain::attempt::ErrorKind;
use outboxd::domain::engine::Outcome;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// The default of `delivery.timeout`.
pub const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Receiver {
    Healthy,
    Slow,
    Hung,
    Flaky,
    Refusing,
    Busy,
    Gone,
    /// Attempts do not get out of the daemon, or do by half.
    Local,
}

impl Receiver {
    pub fn any(rng: &mut SmallRng) -> Receiver {
        use Receiver::*;
        let all = [
            Healthy, Healthy, Healthy, Healthy, Slow, Hung, Hung, Flaky, Flaky, Refusing, Refusing,
            Busy, Gone, Local, Local,
        ];
        all[rng.random_range(0..all.len())]
    }

    /// How long an attempt takes, and what comes of it.
    pub fn answer(self, rng: &mut SmallRng) -> (Duration, Outcome) {
        let quick = Duration::from_micros(rng.random_range(500..80_000));
        match self {
            Receiver::Healthy => (quick, status(200, None)),
            Receiver::Slow => {
                let took = Duration::from_millis(rng.random_range(900..5000));
                (took, status(200, None))
            }
            Receiver::Hung => (TIMEOUT, failed(ErrorKind::Timeout)),
            Receiver::Flaky if rng.random_bool(0.5) => (quick, status(500, None)),
            Receiver::Flaky => (quick, status(204, None)),
            Receiver::Refusing => (quick, failed(ErrorKind::Connect)),
            Receiver::Busy => {
                let wait = Duration::from_millis(rng.random_range(0..400_000));
                let code = if rng.random_bool(0.5) { 429 } else { 503 };
                (quick, status(code, Some(wait)))
            }
            Receiver::Local if rng.random_bool(0.3) => (quick, status(200, None)),
            Receiver::Local if rng.random_bool(0.1) => (TIMEOUT, Outcome::LOCAL),
            Receiver::Local => (quick, Outcome::LOCAL),
            Receiver::Gone => (quick, status(410, None)),
        }
    }
}

fn status(status: u16, retry_after: Option<Duration>) -> Outcome {
    Outcome {
        status: Some(status),
        error: (!(200..300).contains(&status)).then_some(ErrorKind::Status),
        retry_after,
        permanent: false,
    }
}

fn failed(kind: ErrorKind) -> Outcome {
    Outcome {
        status: None,
        error: Some(kind),
        retry_after: None,
        permanent: false,
    }
}

/// Exponentially distributed around a mean.
pub fn about(mean: Duration, rng: &mut impl Rng) -> Duration {
    let draw: f64 = rng.random_range(1e-6..1.0);
    mean.mul_f64(-draw.ln())
}
