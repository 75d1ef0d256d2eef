//! The arguments of a filter, an operator or a test.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{AutoEscape, Error, State, Value};

use super::meter::Meter;
use super::number::Number;
use super::print;
use super::value::{Piece, Shape, fault, undefined};

/// The auto-escape name of outputs that pass printed text through a function.
pub(super) const ESCAPED: &str = "escaped";

/// One call, with what it may use of the rendering.
pub(super) struct Call<'a, 't, 'e> {
    pub(super) state: &'a mut State<'t, 'e>,
    arguments: Vec<Value>,
    named: Option<Kwargs>,
    used: usize,
}

impl<'a, 't, 'e> Call<'a, 't, 'e> {
    pub(super) fn new(
        state: &'a mut State<'t, 'e>,
        arguments: Rest<ValueOrKwargs>,
    ) -> Result<Self, Error> {
        state.consume_fuel(1)?;
        let mut arguments = arguments.into_values();
        let named = arguments
            .last()
            .filter(|last| last.as_object().is_some())
            .and_then(|last| Kwargs::try_from(last.clone()).ok());
        if named.is_some() {
            arguments.pop();
        }
        Ok(Call {
            state,
            arguments,
            named,
            used: 0,
        })
    }

    /// Refuses arguments that nothing asked for.
    pub(super) fn check_used(&self) -> Result<(), Error> {
        if self.arguments.len() > self.used {
            return Err(fault("there are too many arguments"));
        }
        match &self.named {
            Some(named) => named
                .assert_all_used()
                .map_err(|_| fault("a named argument is unknown")),
            None => Ok(()),
        }
    }

    pub(super) fn meter(&self) -> Meter<'_, 't, 'e> {
        Meter::new(self.state)
    }

    /// The positional argument at `n`, the value itself being 0.
    pub(super) fn optional(&mut self, n: usize) -> Option<Value> {
        self.used = self.used.max(n + 1);
        self.arguments.get(n).cloned()
    }

    fn required(&mut self, n: usize) -> Result<Value, Error> {
        self.optional(n)
            .ok_or_else(|| fault("an argument is missing"))
    }

    pub(super) fn first(&mut self) -> Result<Value, Error> {
        self.required(0)
    }

    pub(super) fn second(&mut self) -> Result<Value, Error> {
        self.required(1)
    }

    pub(super) fn third(&mut self) -> Result<Value, Error> {
        self.required(2)
    }

    pub(super) fn fourth(&mut self) -> Result<Value, Error> {
        self.required(3)
    }

    /// All positional arguments.
    pub(super) fn take_all(&mut self) -> Vec<Value> {
        self.used = usize::MAX;
        std::mem::take(&mut self.arguments)
    }

    /// An argument that may be given by place or by name.
    pub(super) fn option(&mut self, n: usize, name: &str) -> Option<Value> {
        self.optional(n).or_else(|| self.named(name))
    }

    /// An argument that is given by name.
    pub(super) fn named(&self, name: &str) -> Option<Value> {
        self.named
            .as_ref()?
            .get::<Option<Value>>(name)
            .ok()
            .flatten()
    }

    pub(super) fn flag(&mut self, n: usize, name: &str) -> bool {
        self.option(n, name).is_some_and(|value| value.is_true())
    }

    /// A small number, such as a width.
    ///
    /// # Errors
    /// It is not an integer from 0 to `most`.
    pub(super) fn count(
        &mut self,
        n: usize,
        name: &str,
        most: usize,
    ) -> Result<Option<usize>, Error> {
        let Some(value) = self.option(n, name) else {
            return Ok(None);
        };
        if let Shape::Number(number) = Piece::Value(&value).shape()
            && let Number::Integer(count) = number.resolved(&mut self.meter())?
            && let Ok(count) = usize::try_from(count)
            && count <= most
        {
            return Ok(Some(count));
        }
        Err(fault(format!("`{name}` is an integer from 0 to {most}")))
    }

    /// The value as text, for filters on text.
    ///
    /// # Errors
    /// It is undefined, or a list or map.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        let value = self.first()?;
        match Piece::Value(&value).shape() {
            Shape::Undefined => Err(undefined()),
            shape @ (Shape::List(_) | Shape::Map(_) | Shape::Other) => {
                Err(fault(format!("text is needed here, not {}", shape.kind())))
            }
            _ => {
                let mut meter = self.meter();
                let text = print::text(&value, &mut meter)?;
                meter.charge_copy(text.len())?;
                Ok(text.into_owned())
            }
        }
    }

    /// An argument that is text.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn text_option(&mut self, n: usize, name: &str) -> Result<Option<Value>, Error> {
        match self.option(n, name) {
            None => Ok(None),
            Some(value) if value.as_str().is_some() => Ok(Some(value)),
            Some(_) => Err(fault(format!("the argument `{name}` is text"))),
        }
    }

    /// Whether printed texts pass through a function.
    pub(super) fn is_escaped(&self) -> bool {
        matches!(self.state.auto_escape(), AutoEscape::Custom(name) if name == ESCAPED)
    }

    /// A value as it would be printed.
    pub(super) fn escaped(&mut self, value: &Value) -> Result<String, Error> {
        let text = print::text(value, &mut self.meter())?.into_owned();
        self.meter().charge(text.len() as u64)?;
        if value.is_safe() {
            return Ok(text);
        }
        self.state.format(Value::from(text))
    }
}
