//! A TOML value as JSON: what keys take whose meaning is the domain's.

use toml::de::DeValue;

use super::fault::Flaw;
use crate::domain::json::Json;

/// The value as JSON. Numbers keep their digits; dates and times are strings.
pub(super) fn json(node: &DeValue<'_>) -> Result<Json, Flaw> {
    Ok(match node {
        DeValue::String(text) => Json::String((&**text).into()),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(moment) => Json::String(moment.to_string().into()),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix());
            let large = |_| Flaw::new("this number is too large", "write a smaller one");
            Json::Number(number.map_err(large)?.to_string().into())
        }
        DeValue::Float(digits) => {
            let text = digits.as_str().trim_start_matches('+');
            if !text.parse().is_ok_and(f64::is_finite) {
                let fix = "write a number such as 0.5";
                return Err(Flaw::new("this is not a finite number", fix));
            }
            Json::Number(text.into())
        }
        DeValue::Array(items) => {
            let items = items.iter().map(|item| json(item.get_ref()));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let fields = table.iter().map(|(name, value)| {
                let name: &str = name.get_ref();
                Ok((name.into(), json(value.get_ref())?))
            });
            Json::Object(fields.collect::<Result<_, Flaw>>()?)
        }
    })
}
