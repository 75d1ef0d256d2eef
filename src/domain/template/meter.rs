//! Charges for the work of a rendering that the engine does not see.

use minijinja::{Error, State};

/// The engine's fuel for a step. Half a step is an instruction of the engine, the other half the
/// call of an operator or filter. So text costs a step for 128 bytes, each time that it is made
/// or passed, and a mebibyte of it can be transformed and printed.
pub(super) const FUEL_PER_STEP: u64 = 2;

/// What one fuel pays for.
const UNITS_PER_FUEL: u64 = 64 / FUEL_PER_STEP;

/// What an item of a list costs, in units.
pub(super) const ITEM: u64 = 32;

/// Charges for work that the engine does not see.
pub(super) struct Meter<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    units: u64,
}

impl<'s, 't, 'e> Meter<'s, 't, 'e> {
    pub(super) fn new(state: &'s State<'t, 'e>) -> Self {
        Meter { state, units: 0 }
    }

    /// Charges `units`, 64 to a step. Must be called before the work is done.
    ///
    /// # Errors
    /// The steps are used up. They stay so.
    #[inline]
    pub(super) fn charge(&mut self, units: u64) -> Result<(), Error> {
        self.units = self.units.saturating_add(units);
        if self.units < UNITS_PER_FUEL {
            return Ok(());
        }
        let fuel = self.units / UNITS_PER_FUEL;
        self.units %= UNITS_PER_FUEL;
        self.state.consume_fuel(fuel)
    }

    /// Charges for `bytes` that are copied.
    pub(super) fn charge_copy(&mut self, bytes: usize) -> Result<(), Error> {
        self.charge(1 + bytes as u64 / 4)
    }
}
