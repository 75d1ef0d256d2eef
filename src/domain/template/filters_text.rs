//! The filters that give a text or a number.

use minijinja::{Error, Value};

use super::call::Call;
use super::meter::Meter;
use super::number::Number;
use super::operators::{float, integer};
use super::print;
use super::value::{Piece, Shape, fault, undefined};

/// The widest `indent` and the widest field of `format`.
const MAX_WIDTH: usize = 100;

/// The most digits behind the point.
const MAX_DIGITS: usize = 30;

/// What the digits of a float cost, in units. Of a large one there are hundreds.
fn digits_cost(value: f64, digits: usize) -> u64 {
    if value.abs() > 1e18 || digits > 15 {
        8_192
    } else {
        256
    }
}

type Filter = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

/// The filters by name.
pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("lower", |call| Ok(Value::from(call.text()?.to_lowercase()))),
    ("upper", |call| Ok(Value::from(call.text()?.to_uppercase()))),
    ("title", title),
    ("capitalize", capitalize),
    ("trim", trim),
    ("replace", replace),
    ("truncate", truncate),
    ("indent", indent),
    ("format", format),
    ("string", string),
    ("urlencode", urlencode),
    ("safe", |call| Ok(Value::from_safe_string(call.text()?))),
    ("escape", escape),
    ("e", escape),
    ("tojson", to_json),
    ("default", default),
    ("d", default),
    ("abs", abs),
    ("round", round),
    ("int", int),
    ("float", to_float),
];

fn push_capitalized(word: &str, out: &mut String) {
    let mut chars = word.chars();
    if let Some(first) = chars.next() {
        out.extend(first.to_uppercase());
        out.push_str(&chars.as_str().to_lowercase());
    }
}

fn title(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || "-([{<".contains(c)) {
        push_capitalized(word, &mut out);
    }
    Ok(Value::from(out))
}

fn capitalize(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let mut out = String::with_capacity(text.len());
    push_capitalized(&text, &mut out);
    Ok(Value::from(out))
}

fn trim(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    Ok(match call.text_option(1, "chars")? {
        None => Value::from(text.trim()),
        Some(chars) => {
            let chars: Vec<char> = chars
                .as_str()
                .unwrap_or_default()
                .chars()
                .take(64)
                .collect();
            // Each character may be compared with all of them.
            call.meter()
                .charge(text.len().saturating_mul(chars.len()) as u64 / 4)?;
            Value::from(text.trim_matches(&*chars))
        }
    })
}

fn replace(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let (Some(from), Some(to)) = (call.text_option(1, "old")?, call.text_option(2, "new")?) else {
        return Err(fault(
            "`replace` needs two texts: what to replace, and what with",
        ));
    };
    let (from, to) = (
        from.as_str().unwrap_or_default(),
        to.as_str().unwrap_or_default(),
    );
    if from.is_empty() {
        return Err(fault("`replace` cannot replace an empty text"));
    }
    let mut meter = call.meter();
    meter.charge(text.len() as u64)?;
    let grown = text.matches(from).count().saturating_mul(to.len());
    meter.charge(grown as u64)?;
    Ok(Value::from(text.replace(from, to)))
}

fn truncate(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let length = call.count(1, "length", usize::MAX)?.unwrap_or(255);
    let kill_words = call.flag(2, "killwords");
    let end = call.text_option(3, "end")?;
    let end = end.as_ref().and_then(Value::as_str).unwrap_or("...");
    if text.chars().count() <= length {
        return Ok(Value::from(text));
    }
    let room = length.saturating_sub(end.chars().count());
    let cut = text
        .char_indices()
        .nth(room)
        .map_or(text.len(), |(at, _)| at);
    let mut kept = text.get(..cut).unwrap_or_default();
    if !kill_words && let Some(at) = kept.rfind(char::is_whitespace) {
        kept = kept.get(..at).unwrap_or_default().trim_end();
    }
    Ok(Value::from(format!("{kept}{end}")))
}

fn indent(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let width = call.count(1, "width", MAX_WIDTH)?.unwrap_or(4);
    let (first, blank) = (call.flag(2, "first"), call.flag(3, "blank"));
    let lines = text.split('\n').count();
    call.meter()
        .charge((text.len() + lines.saturating_mul(width)) as u64)?;
    let mut out = String::new();
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        if (n > 0 || first) && (blank || !line.trim().is_empty()) {
            out.extend(std::iter::repeat_n(' ', width));
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

/// `%s`, `%d`, `%f` and `%%`, with a width and a number of digits, as in `%-10s` or `%8.2f`.
fn format(call: &mut Call) -> Result<Value, Error> {
    let pattern = call.text()?;
    let mut arguments = call.take_all().into_iter().skip(1);
    let mut meter = call.meter();
    let mut out = String::new();
    let mut rest = &*pattern;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        meter.charge(256)?;
        let spec_len = after
            .find(|c: char| !"-.0123456789".contains(c))
            .unwrap_or(after.len());
        let (spec, conversion) = after.split_at(spec_len);
        let mut left = conversion.chars();
        let conversion = left.next();
        rest = left.as_str();
        if (spec, conversion) == ("", Some('%')) {
            out.push('%');
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| fault("`format` has too few values"))?;
        let (width, digits) = spec.split_once('.').unwrap_or((spec, ""));
        let digits = match digits {
            "" => None,
            digits => Some(digits.parse().unwrap_or(usize::MAX)),
        };
        let text = converted(&value, conversion, digits, &mut meter)?;
        let to_left = width.starts_with('-');
        let zeros = width.starts_with('0');
        let width: usize = match width.trim_start_matches('-') {
            "" => 0,
            width => width.parse().unwrap_or(usize::MAX),
        };
        if width > MAX_WIDTH {
            return Err(fault(format!("a width of `format` is at most {MAX_WIDTH}")));
        }
        meter.charge(text.len() as u64)?;
        match (to_left, zeros) {
            (true, _) => out.push_str(&format!("{text:<width$}")),
            (false, true) => out.push_str(&format!("{text:0>width$}")),
            (false, false) => out.push_str(&format!("{text:>width$}")),
        }
    }
    out.push_str(rest);
    if arguments.next().is_some() {
        return Err(fault("`format` has too many values"));
    }
    Ok(Value::from(out))
}

fn converted(
    value: &Value,
    conversion: Option<char>,
    digits: Option<usize>,
    meter: &mut Meter,
) -> Result<String, Error> {
    if digits.is_some_and(|digits| digits > MAX_DIGITS) {
        return Err(fault(format!(
            "`format` writes at most {MAX_DIGITS} digits"
        )));
    }
    match conversion {
        Some('s') => Ok(print::text(value, meter)?.into_owned()),
        Some('d') => match number(value, meter)? {
            Number::Integer(value) => Ok(value.to_string()),
            number => Ok(format!("{:.0}", number.as_f64().trunc())),
        },
        Some('f') => {
            let (digits, value) = (digits.unwrap_or(6), number(value, meter)?.as_f64());
            meter.charge(digits_cost(value, digits))?;
            Ok(format!("{value:.digits$}"))
        }
        _ => Err(fault("`format` knows `%s`, `%d`, `%f` and `%%`")),
    }
}

fn string(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    if value.as_str().is_some() {
        return Ok(value);
    }
    Ok(Value::from(print::text(&value, &mut call.meter())?))
}

fn push_encoded(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(HEX.get(usize::from(digit)).map(|hex| char::from(*hex)));
            }
        }
    }
}

/// Percent-encoding (RFC 3986, 2); `/` stays. Of a map, `name=value` joined by `&`.
fn urlencode(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let mut meter = call.meter();
    let mut out = String::new();
    match Piece::Value(&value).shape() {
        Shape::Undefined => return Err(undefined()),
        Shape::Map(fields) => {
            for (name, part) in fields.iter() {
                if !out.is_empty() {
                    out.push('&');
                }
                let text = match part.shape() {
                    Shape::Text(text) => text.to_owned(),
                    _ => {
                        let mut text = String::new();
                        print::write_json(part, None, &mut text, &mut meter)?;
                        text
                    }
                };
                meter.charge(1 + 3 * (name.len() + text.len()) as u64)?;
                push_encoded(name, &mut out);
                out.push('=');
                push_encoded(&text, &mut out);
            }
        }
        _ => {
            let text = print::text(&value, &mut meter)?;
            meter.charge(3 * text.len() as u64)?;
            push_encoded(&text, &mut out);
        }
    }
    Ok(Value::from(out))
}

/// With an output that escapes: what would be printed. Else HTML.
fn escape(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    if value.is_safe() {
        return Ok(value);
    }
    if call.is_escaped() {
        return Ok(Value::from_safe_string(call.escaped(&value)?));
    }
    let mut meter = call.meter();
    let text = print::text(&value, &mut meter)?;
    meter.charge(6 * text.len() as u64)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Ok(Value::from(out))
}

fn to_json(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let indent = call.count(1, "indent", 8)?;
    let mut out = String::new();
    print::write_json(Piece::Value(&value), indent, &mut out, &mut call.meter())?;
    // The texts in it are the event's: what escapes them escapes the whole.
    Ok(match call.is_escaped() {
        true => Value::from(out),
        false => Value::from_safe_string(out),
    })
}

fn default(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let other = call
        .option(1, "default_value")
        .unwrap_or_else(|| Value::from(""));
    let falsy = call.flag(2, "boolean");
    Ok(if value.is_undefined() || (falsy && !value.is_true()) {
        other
    } else {
        value
    })
}

fn number<'a>(value: &'a Value, meter: &mut Meter) -> Result<Number<'a>, Error> {
    match Piece::Value(value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Number(number) => match number.resolved(meter)? {
            Number::Written(_) => Err(fault("the number has too many digits to calculate with")),
            number => Ok(number),
        },
        other => Err(fault(format!(
            "a number is needed here, not {}",
            other.kind()
        ))),
    }
}

fn abs(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    match number(&value, &mut call.meter())? {
        Number::Integer(value) => value
            .checked_abs()
            .map(integer)
            .ok_or_else(|| fault("`abs` has no result: it is too large")),
        number => float(number.as_f64().abs(), "abs"),
    }
}

fn round(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let digits = call.count(1, "precision", MAX_DIGITS)?.unwrap_or(0);
    let method = call.text_option(2, "method")?;
    let number = match number(&value, &mut call.meter())? {
        Number::Integer(value) => return Ok(integer(value)),
        number => number.as_f64(),
    };
    call.meter().charge(digits_cost(number, digits))?;
    let scale = 10f64.powi(i32::try_from(digits).unwrap_or(0));
    let rounded = match method.as_ref().and_then(Value::as_str).unwrap_or("common") {
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        // Through decimal digits, so that 1.005 does not become what its double hides.
        "common" => format!("{number:.digits$}").parse().unwrap_or(number),
        _ => {
            return Err(fault(
                "the method of `round` is \"common\", \"ceil\" or \"floor\"",
            ));
        }
    };
    float(rounded, "round")
}

fn int(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let other = call.option(1, "default");
    let found = match Piece::Value(&value).shape() {
        Shape::Undefined => return Err(undefined()),
        Shape::Bool(value) => Some(integer(i128::from(value))),
        Shape::Number(_) => Some(match number(&value, &mut call.meter())? {
            Number::Integer(value) => integer(value),
            number => whole(number.as_f64())?,
        }),
        Shape::Text(text) => match Number::Written(text.trim()).resolved(&mut call.meter())? {
            Number::Integer(value) => Some(integer(value)),
            Number::Float(value) => Some(whole(value)?),
            Number::Written(_) => None,
        },
        _ => None,
    };
    found
        .or(other)
        .ok_or_else(|| fault("the value is not a number, and `int` has no default"))
}

fn whole(value: f64) -> Result<Value, Error> {
    if value.abs() < 1e38 {
        Ok(integer(value as i128))
    } else {
        Err(fault("the number has too many digits to calculate with"))
    }
}

fn to_float(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let other = call.option(1, "default");
    let found = match Piece::Value(&value).shape() {
        Shape::Undefined => return Err(undefined()),
        Shape::Bool(value) => Some(f64::from(u8::from(value))),
        Shape::Number(number) => Some(number.resolved(&mut call.meter())?.as_f64()),
        Shape::Text(text) => {
            call.meter().charge(text.len() as u64 / 2)?;
            text.trim().parse().ok()
        }
        _ => None,
    };
    match found {
        Some(value) => float(value, "float"),
        None => other.ok_or_else(|| fault("the value is not a number, and `float` has no default")),
    }
}
