//! The numbers of a rendering.

use minijinja::Error;

use super::meter::Meter;

/// A number of a document or of the engine.
#[derive(Clone, Copy)]
pub(super) enum Number<'a> {
    Integer(i128),
    Float(f64),
    /// As it was written.
    Written(&'a str),
}

impl<'a> Number<'a> {
    /// An integer or a float. An integer that does not fit stays as it was written. Charged, as
    /// the digits may fill the event.
    pub(super) fn resolved(self, meter: &mut Meter) -> Result<Number<'a>, Error> {
        let Number::Written(text) = self else {
            return Ok(self);
        };
        meter.charge(text.len() as u64 / 2)?;
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return Ok(text.parse().map_or(self, Number::Integer));
        }
        Ok(match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Number::Float(value),
            _ => self,
        })
    }

    /// The nearest float. Of one that is not resolved the digits are read again.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Integer(value) => value as f64,
            Number::Float(value) => value,
            Number::Written(text) => text.parse().unwrap_or(0.0),
        }
    }
}
